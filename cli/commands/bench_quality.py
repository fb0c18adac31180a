"""`dmix bench quality`: the comparison of controllers on real text."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dmix.cli.show.options import FiniteFloat, config_option, dry_run_option, json_option, master_option
from dmix.cli.show.output import say, show_json, show_table
from dmix.cli.workflows.data.comparison import prepare_comparison, stop_spark
from dmix.cli.workflows.effects.comparison import measure_effects, measure_world
from dmix.warehouse_schema.errors import InputError

if TYPE_CHECKING:
    from dmix.training.comparison.runs.comparison import StageReport
    from dmix.training.comparison.runs.study import Study

STAGES = (
    "yardstick",
    "probes",
    "effects",
    "worlds",
    "headroom",
    "farm",
    "screening",
    "paper",
    "confirmation",
)
DEFAULT_STAGES = ("headroom", "farm", "screening")


@click.command()
@config_option
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Data folder with corpora and evaluation items; paths in setting files are relative to it.",
)
@click.option(
    "--setting",
    "settings",
    multiple=True,
    metavar="NAME|FILE",
    help="Setting file, or its name under benchmarks/quality. Repeat the flag for several.  [default:"
    " origin, field]",
)
@click.option(
    "--tier",
    type=click.Choice(("smoke", "small", "full")),
    default="small",
    show_default=True,
    help="Size of the comparison. smoke: minutes. small: hours on two cores. full: a cluster.",
)
@click.option(
    "--stage",
    "stages",
    multiple=True,
    type=click.Choice(STAGES),
    help="Stage to run. Repeat the flag for several.  [default: headroom, farm and screening]",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    default="quality-work",
    show_default=True,
    metavar="DIR",
    help="Working folder for text, warehouse and runs; dmix can rebuild it.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for tables and base models; keep it.  [default: benchmarks/results/quality/TIER]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Number of single-threaded processes.",
)
@click.option("--hours", type=FiniteFloat(min=0), help="Hours after which no new run starts.")
@master_option
@json_option
@dry_run_option
def quality(
    *,
    data: Path,
    settings: tuple[str, ...],
    tier: str,
    stages: tuple[str, ...],
    work: Path,
    results: Path | None,
    workers: int,
    hours: float | None,
    master: str | None,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Compare controllers on real text: headroom study, farm, screening, one confirmation.

    Every finished run is stored, so you can stop the command, start it again, and read the tables at
    any time. The confirmation runs only on request. It needs a committed, unchanged protocol.yaml
    beside the setting file. Settings of the third protocol have three stages of their own.
    yardstick decides which objectives may judge. effects compares the promises of counts and gradients
    with runs of fresh mixtures. probes trains short runs, which effects then judges, too. Settings of a
    world have the stage worlds alone.

    Example: dmix bench quality --data ../data --setting origin --stage headroom --hours 2 --dry-run
    """
    if not data.is_dir():
        raise InputError(f"--data {data} is no folder; name the folder of corpora and items")
    from dmix.training.comparison.data.settings import load_setting

    all_loaded = [load_setting(name) for name in settings or ("origin", "field")]
    from dmix.training.comparison.runs.comparison import Request, reports, run_comparison, study_of, to_json

    started = time.monotonic()
    request = Request(
        tier=tier,
        stages=[stage for stage in STAGES if stage in (stages or DEFAULT_STAGES)],
        data=data,
        work=work,
        results=results or Path("benchmarks") / "results" / "quality" / tier,
        workers=workers,
        until=None if hours is None else started + 3600 * hours,
    )

    def prepare(study: "Study") -> None:
        prepare_comparison(study, master=master)
        if "effects" in request.stages:
            measure_effects(study)
        if "worlds" in request.stages:
            measure_world(study)
        stop_spark()

    found: dict[str, list[StageReport]] = {}
    documents: list[dict[str, Any]] = []
    for loaded in all_loaded:
        if dry_run:
            report = reports(study_of(loaded, request, say))
        else:
            report = run_comparison(loaded, request, prepare=prepare, progress=say)
        found[loaded.settings.name] = report
        documents.append(to_json(loaded, report))
    if not dry_run:
        from dmix.training.comparison.pages.page import write_page

        write_page(request.results, request.results)
        say(f"pages: {request.results}")
    if as_json:
        show_json({"tier": tier, "workers": workers, "settings": documents})
    else:
        _show(found, workers=workers)


def _show(found: "dict[str, list[StageReport]]", *, workers: int) -> None:
    rows = [
        (
            name,
            report.stage,
            report.planned,
            report.done,
            report.failed,
            report.tokens_left,
            round(report.core_hours_left / workers, 2),
        )
        for name, stages in found.items()
        for report in stages
    ]
    columns = ("setting", "stage", "runs", "done", "failed", "tokens left", f"hours left on {workers}")
    show_table(columns, rows, title="The comparison so far")
