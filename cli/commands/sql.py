"""`dmix sql`: one question to the catalog."""

import difflib
import re
import sys

import click

from dmix.cli.show.options import FiniteFloat, config_option, json_option, warehouse_option
from dmix.cli.show.output import say, show_rows
from dmix.warehouse_schema.files.layout import Warehouse

_OF_A_RUN = re.compile(r"\brun_id\s*=\s*'([^']*)'", re.IGNORECASE)


def missing_run(query: str, warehouse: Warehouse) -> str:
    """Which runs there are, where a query without rows asked for one that is not there; else empty."""
    from dmix.cli.workflows.runs.ask import ask

    wanted = _OF_A_RUN.findall(query)
    if not wanted:
        return ""
    _, rows = ask(warehouse, "SELECT run_id FROM runs ORDER BY started_at DESC NULLS LAST, run_id")
    known = [run_id for (run_id,) in rows]
    missing = [run_id for run_id in wanted if run_id not in known]
    if not missing:
        return ""
    near = difflib.get_close_matches(missing[0], known, n=1)
    meant = f"; did you mean '{near[0]}'?" if near else ""
    more = f" and {len(known) - 20} more" if len(known) > 20 else ""
    there = f"known runs: {', '.join(known[:20])}{more}" if known else "there is no run yet"
    return f"no run is called '{missing[0]}'{meant} ({there})"


@click.command()
@config_option
@click.argument("query")
@warehouse_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "list", "json", "jsonl", "csv"]),
    default="table",
    show_default=True,
    help="Output format on stdout. 'table' cuts long cells. If rows do not fit, 'table' shows them as "
    "a list.",
)
@json_option
@click.option(
    "--allow-io",
    is_flag=True,
    help="Allow the query to read files. Also allow COPY (query) TO 'file' to write outside the warehouse.",
)
@click.option(
    "--memory-gb",
    type=FiniteFloat(min=0.5),
    help="Memory limit of the query in GB. Default: a quarter of the machine's memory.",
)
def sql(
    query: str,
    *,
    warehouse: Warehouse,
    form: str,
    as_json: bool,
    allow_io: bool,
    memory_gb: float | None,
    config: str | None,
) -> None:
    """Query the catalog (the database of the warehouse) in DuckDB's SQL. QUERY is one statement, or '-'.

    With '-', dmix reads the statement from stdin. The answer includes unfinished runs. "SHOW TABLES" lists
    the views. To see the meaning of all columns: "SELECT table_name, column_name, comment FROM
    duckdb_columns() WHERE database_name = current_database()".

    Example: dmix sql "SELECT corpus, version, documents FROM corpora"
    """
    from dmix.cli.workflows.runs.ask import ask

    text = sys.stdin.read() if query == "-" else query
    columns, rows = ask(warehouse, text, allow_io=allow_io, memory_gb=memory_gb)
    if not rows and (hint := missing_run(text, warehouse)):
        say(hint)
    show_rows(columns, rows, form="json" if as_json else form)
