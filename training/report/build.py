"""Reads the catalog, draws the page and publishes the file."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dmix import __version__
from dmix.training.report import facts
from dmix.training.report.bands import ranked_domains
from dmix.training.report.facts import Reader
from dmix.training.report.page import page
from dmix.training.report.sections import Section, data_section, overview_section, run_section
from dmix.warehouse_schema.catalog import Catalog
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.layout import Warehouse, publish_bytes

logger = logging.getLogger(__name__)

# Runs in a report whose runs were not named: more make a page that nobody reads.
DEFAULT_RUNS = 8


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report that was written.

    Attributes:
        path: The HTML file.
        runs: Ids of the runs in it, in order.
        size_bytes: Size of the file.
    """

    path: Path
    runs: tuple[str, ...]
    size_bytes: int


def write_report(
    warehouse: Warehouse, *, runs: Sequence[str] = (), out: Path | None = None, now: datetime | None = None
) -> Report:
    """Writes the report as one HTML file, whole or not at all.

    Args:
        warehouse: What to report on.
        runs: Ids of the runs to show; the newest ones (proxies left out) when empty.
        out: The file; by default `report.html` in the run's folder for one named run, else in the
            warehouse.
        now: Time that the page states, the current one by default.

    Raises:
        NotFoundError: If the warehouse or a named run does not exist.
        InputError: If `out` is a folder.
        StorageError: If the file cannot be written.
    """
    warehouse.require()
    if out is not None and out.is_dir():
        raise InputError(f"--out {out} is a folder; name a file in it, for example {out / 'report.html'}")
    with Catalog.open_reader(warehouse) as catalog:
        chosen, html = render_report(catalog, warehouse=warehouse, runs=runs, now=now or datetime.now(UTC))
    if out is None:
        out = (warehouse.run(runs[0]) if len(runs) == 1 else warehouse.root) / "report.html"
    content = html.encode()
    publish_bytes(out.absolute(), content)
    logger.info("wrote %s (%d runs, %.1f MB)", out, len(chosen), len(content) / 1e6)
    return Report(path=out.absolute(), runs=tuple(chosen), size_bytes=len(content))


def render_report(
    catalog: Reader, *, warehouse: Warehouse, runs: Sequence[str], now: datetime
) -> tuple[list[str], str]:
    """Ids of the runs shown, and the page.

    Raises:
        NotFoundError: If a named run does not exist.
    """
    known = facts.run_ids(catalog)
    chosen = facts.choose_runs(known, wanted=runs, limit=DEFAULT_RUNS)
    shown = [facts.read_run(catalog, run_id) for run_id in chosen]
    of_runs = {run.dataset for run in shown}
    datasets = [d for d in facts.read_datasets(catalog) if not runs or d.dataset in of_runs]
    ranks = ranked_domains(shown)
    sections: list[Section] = [overview_section(shown)] if shown else []
    sections += [run_section(run, ranks) for run in shown]
    sections.append(data_section(facts.read_corpora(catalog), datasets))
    left_out = len(known) - len(chosen)
    banner = None
    if not known:
        banner = "No run yet: this page shows the data alone. 'dmix train' starts one."
    elif left_out and not runs:
        banner = (
            f"{len(chosen)} of {len(known)} runs are shown; 'dmix report --run ID' shows the ones you name."
        )
    subtitle = f"{warehouse.root} · written {now:%Y-%m-%d %H:%M} UTC by dmix {__version__}"
    title = f"dmix report: {chosen[0]}" if len(chosen) == 1 else "dmix report"
    return chosen, page(title=title, subtitle=subtitle, sections=sections, banner=banner)
