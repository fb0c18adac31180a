"""Random SQL against readers: 2,000 statements that try to write, none of which may."""

from pathlib import Path
from typing import Any

from tests.soak import Unit
from tests.warehouse_schema.catalog.sql_fuzz import try_statements

from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.files.layout import Warehouse

STATEMENTS = 2_000


def statements_write_nothing(folder: Path) -> dict[str, Any]:
    """Half of them with a reader that may touch files."""
    warehouse = Warehouse.at(folder / "w")
    log = EventLog(warehouse.run("r1") / "events.jsonl", run_id="r1", attempt=1)
    log.write("run_started", kind="guided", controller="naive", config={}, space=[["source", "a"]])
    sync(warehouse)
    victim = folder / "victim"
    victim.mkdir()
    (victim / "a.csv").write_text("x\n1\n")
    facts = {}
    for allow_io in (False, True):
        found = try_statements(warehouse, victim, count=STATEMENTS // 2, seed=7 + allow_io, allow_io=allow_io)
        facts |= {f"{name}{'_with_io' if allow_io else ''}": count for name, count in found.items()}
    return facts


UNITS = [Unit("sql/statements-write-nothing", statements_write_nothing)]
