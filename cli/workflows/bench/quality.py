"""The comparison of controllers on real text: `dmix bench quality`."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.cli.show.result import Result
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.progress import Progress

if TYPE_CHECKING:
    from dmix.training.comparison.runs.comparison import StageReport
    from dmix.training.comparison.runs.study import Study

STAGES = (
    "yardstick",
    "probes",
    "effects",
    "rivals",
    "online",
    "worlds",
    "rungs",
    "headroom",
    "farm",
    "screening",
    "paper",
    "confirmation",
)
DEFAULT_STAGES = ("headroom", "farm", "screening")


def compare_controllers(
    *,
    data: Path,
    setting_names: Sequence[str] = (),
    tier: str = "small",
    stages: Sequence[str] = (),
    work: Path = Path("quality-work"),
    results: Path | None = None,
    workers: int = 2,
    hours: float | None = None,
    master: str | None = None,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Compares controllers on real text; the value has the reports of the stages by setting.

    Args:
        data: Folder with corpora and evaluation items.
        setting_names: Setting files, or their names; `origin` and `field` when left out.
        tier: Size of the comparison: `smoke`, `small` or `full`.
        stages: Stages to run; `headroom`, `farm` and `screening` when left out.
        work: Working folder for text, warehouse and runs.
        results: Folder for tables and base models.
        workers: Number of single-threaded processes.
        hours: Hours after which no new run starts.
        master: Spark master.
        dry_run: Count the runs, and train nothing.
        progress: Receives lines for people.

    Raises:
        InputError: If a stage, tier or setting is unknown, or a stage needs one that has not run.
        NotFoundError: If data or the protocol do not exist.
    """
    if not data.is_dir():
        raise InputError(f"--data {data} is not a folder; give the folder with the corpora and items")
    if unknown := set(stages) - set(STAGES):
        raise InputError(f"stage is {min(unknown)!r}, expected one of {', '.join(STAGES)}")
    from dmix.training.comparison.data.settings import load_setting

    all_loaded = [load_setting(name) for name in setting_names or ("origin", "field")]
    # after the refusals, since it takes a second to import
    from dmix.training.comparison.runs.comparison import Request, reports, run_comparison, study_of, to_json

    request = Request(
        tier=tier,
        stages=[stage for stage in STAGES if stage in (stages or DEFAULT_STAGES)],
        data=data,
        work=work,
        results=results or Path("benchmarks") / "results" / "quality" / tier,
        workers=workers,
        until=None if hours is None else time.monotonic() + 3600 * hours,
    )

    def prepare(study: "Study") -> None:
        _prepare(study, stages=request.stages, master=master)

    found = {
        loaded.settings.name: reports(study_of(loaded, request, progress))
        if dry_run
        else run_comparison(loaded, request, prepare=prepare, progress=progress)
        for loaded in all_loaded
    }
    if not dry_run:
        from dmix.training.comparison.pages.page import write_page

        write_page(request.results, request.results)
        progress(f"pages: {request.results}")
    documents = [to_json(loaded, found[loaded.settings.name]) for loaded in all_loaded]
    return _comparison_result({"tier": tier, "workers": workers, "settings": documents}, found)


def _comparison_result(facts: dict[str, Any], found: Mapping[str, "Sequence[StageReport]"]) -> Result:
    """A row for each setting and stage: what is done and what is left."""
    result, workers = Result(facts, found), facts["workers"]
    columns = ("setting", "stage", "runs", "done", "failed", "tokens left", f"hours left on {workers}")
    rows: list[tuple[Any, ...]] = [
        (
            name,
            report.stage,
            report.planned,
            report.done,
            report.failed,
            report.tokens_left,
            _hours(report.core_hours_left / workers),
        )
        for name, reports in found.items()
        for report in reports
    ]
    result.table(columns, rows, title="The comparison so far")
    if any(math.isnan(report.core_hours_left) for reports in found.values() for report in reports):
        result.line(
            "unknown hours: no run of this comparison is finished, and its base model is not made yet, so "
            "nothing says how long a run takes; the column 'tokens left' is known. After the first run, this "
            "command shows the hours"
        )
    return result


def _hours(hours: float) -> float | str:
    """Hours for a table; a word where they are not known."""
    return "unknown" if math.isnan(hours) else round(hours, 2)


def _prepare(study: "Study", *, stages: Sequence[str], master: str | None) -> None:
    """Makes what the stages of one setting need."""
    from dmix.cli.workflows.data.comparison import prepare_comparison, stop_spark
    from dmix.cli.workflows.effects.comparison import count_domains, measure_effects, measure_world

    every_base = bool({"rivals", "confirmation"} & set(stages))
    prepare_comparison(study, master=master, every_base=every_base)
    if {"rivals", "online", "confirmation"} & set(stages) and study.loaded.settings.protocol == 3:
        count_domains(study)
    if "effects" in stages:
        measure_effects(study)
    if {"worlds", "rungs"} & set(stages):
        measure_world(study)
    stop_spark()
