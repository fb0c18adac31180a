"""Reads the catalog, draws the page and publishes the file."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dmix import __version__
from dmix.training.report.figures.bands import ranked_domains
from dmix.training.report.page.data_sections import data_section, farm_section
from dmix.training.report.page.effect_sections import effects_section, promise_parts
from dmix.training.report.page.page import page
from dmix.training.report.page.parts import Section
from dmix.training.report.page.run_sections import first_open, overview_section, run_section
from dmix.training.report.queries import run_facts
from dmix.training.report.queries.data_facts import (
    read_corpora,
    read_datasets,
    read_lone_start,
)
from dmix.training.report.queries.effects import read_effects
from dmix.training.report.queries.farm_facts import read_farms
from dmix.training.report.queries.judged import with_comparable
from dmix.training.report.queries.optimum import regmix_optima
from dmix.training.report.queries.reader import Reader
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.changes import accepted_changes
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes
from dmix.warehouse_schema.sizes import num_text

logger = logging.getLogger(__name__)

# Runs in a report whose runs were not named: more make a page that nobody reads.
DEFAULT_RUNS = 8


# The same for sets of trajectories.
MAX_FARMS = 4

# The same for estimates of effects.
MAX_EFFECTS = 3


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report that was written.

    Attributes:
        path: The HTML file.
        runs: Ids of the runs in it, in order.
        running: Of these, the runs that are under way.
        size_bytes: Size of the file.
    """

    path: Path
    runs: tuple[str, ...]
    running: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A page before it is written; `runs` and `running` as in `Report`."""

    html: str
    runs: tuple[str, ...]
    running: tuple[str, ...]


def write_report(
    warehouse: Warehouse,
    *,
    runs: Sequence[str] = (),
    out: Path | None = None,
    now: datetime | None = None,
    reload_seconds: float | None = None,
) -> Report:
    """Writes the report as one HTML file, whole or not at all.

    Args:
        warehouse: What to report on.
        runs: Ids of the runs to show; the newest ones (proxies left out) when empty.
        out: The file; by default `report.html` in the run's folder for one named run, else in the
            warehouse.
        now: Time that the page states, the current one by default.
        reload_seconds: How often the page loads itself anew while a run that it shows is under
            way; never by default.

    Raises:
        NotFoundError: If the warehouse or a named run does not exist.
        InputError: If `out` is a folder.
        StorageError: If the file cannot be written.
    """
    warehouse.require()
    if out is not None and out.is_dir():
        raise InputError(f"--out {out} is a folder; give a file in it, for example {out / 'report.html'}")
    with Catalog.open_reader(warehouse) as catalog:
        rendered = render_report(
            catalog,
            warehouse=warehouse,
            runs=runs,
            now=now or datetime.now(UTC),
            reload_seconds=reload_seconds,
        )
    if out is None:
        out = (warehouse.run(runs[0]) if len(runs) == 1 else warehouse.root) / "report.html"
    content = rendered.html.encode()
    publish_bytes(out.absolute(), content)
    logger.info("wrote %s (%s, %.1f MB)", out, num_text(len(rendered.runs), "run"), len(content) / 1e6)
    return Report(path=out.absolute(), runs=rendered.runs, running=rendered.running, size_bytes=len(content))


def render_report(
    catalog: Reader,
    *,
    warehouse: Warehouse,
    runs: Sequence[str],
    now: datetime,
    reload_seconds: float | None = None,
) -> Rendered:
    """The page on these runs, or on the newest ones.

    Raises:
        NotFoundError: If a named run does not exist.
    """
    known = run_facts.run_ids(catalog)
    chosen = run_facts.choose_runs(known, wanted=runs, limit=DEFAULT_RUNS)
    shown = [run_facts.read_run(catalog, run_id) for run_id in chosen]
    pool = with_comparable(catalog, shown)
    running = tuple(run.run_id for run in shown if run.status == "running")
    of_runs = {run.dataset for run in shown}
    datasets = [d for d in read_datasets(catalog) if not runs or d.dataset in of_runs]
    farms = read_farms(catalog, datasets=of_runs if runs else None)
    optima = regmix_optima(catalog, warehouse, datasets=sorted(of_runs))
    ranks = ranked_domains(shown)
    corpora = {
        d.dataset: d.corpora[0].rpartition("@")[0].removesuffix("-source") for d in datasets if d.corpora
    }
    sections: list[Section] = []
    if shown:
        sections.append(overview_section(shown, warehouse=warehouse.root, corpora=corpora, pool=pool))
    opened = first_open(shown)
    sections += [
        run_section(
            run,
            ranks,
            optima.get(run.dataset),
            promise=promise_parts(run, pool),
            opened=run.run_id == opened,
        )
        for run in shown
    ]
    effects = read_effects(catalog, datasets=of_runs if runs else None)
    sections += [effects_section(found) for found in effects[:MAX_EFFECTS]]
    sections += [farm_section(farm) for farm in farms[:MAX_FARMS]]
    sections.append(data_section(read_corpora(catalog), datasets, read_lone_start(catalog)))
    html = page(
        title=f"dmix report: {chosen[0]}" if len(chosen) == 1 else "dmix report",
        subtitle=f"{warehouse.root} · written {now:%Y-%m-%d %H:%M:%S} UTC by dmix {__version__}",
        sections=sections,
        banners=_banners(
            known=known, shown=len(chosen), named=bool(runs), farms=len(farms), effects=len(effects)
        )
        + _changed(warehouse, shown={*chosen, *(farm.set_name for farm in farms)}),
        reload_seconds=reload_seconds if running else None,
    )
    return Rendered(html=html, runs=tuple(chosen), running=running)


def _changed(warehouse: Warehouse, *, shown: Collection[str]) -> list[str]:
    """A sentence for each change of content that was accepted under what the page shows."""
    return [
        f"{place}: {change.digests}. The user accepted this change. Do not compare scores from before "
        "with scores from after the change."
        for place, change in accepted_changes(warehouse)
        if place.split()[-1] in shown
    ]


def _banners(*, known: Mapping[str, str], shown: int, named: bool, farms: int, effects: int) -> list[str]:
    """What the page leaves out, in sentences; `known` is the kind of every run by id."""
    found = []
    if not known:
        found.append(
            "There is no run yet, so this page shows only the data. To start a run, use 'dmix train'."
        )
    elif shown < len(known) and not named:
        bases = sum(kind == "base" for kind in known.values())
        what = f" ({bases} of them base models)" if bases else ""
        found.append(
            f"This page shows {shown} of {num_text(len(known), 'run')}{what}. To choose runs, use "
            "'dmix report --run ID'."
        )
    if farms > MAX_FARMS:
        found.append(f"This page shows {MAX_FARMS} of {farms} sets of trajectories.")
    if effects > MAX_EFFECTS:
        found.append(f"This page shows the {MAX_EFFECTS} newest of {effects} estimates of effects.")
    return found
