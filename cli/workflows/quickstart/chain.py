"""The whole chain, small, by calling what the other commands call: `dmix quickstart`.

Effects are measured by counts, relative to the base model, and the shipped default plans a mixture from
them. With `--full`, a farm is collected and an agent trained on it instead.

Every stage finds out by itself what is done already, so running it again redoes nothing. The
files that the stages read (model, proxy, training, environment) are written beside the warehouse,
for people who want to continue by hand.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from dmix.cli.show.result import Result
from dmix.cli.workflows.quickstart import sizes, stages
from dmix.cli.workflows.quickstart.answer import answer_result
from dmix.cli.workflows.quickstart.files import Files, write_files
from dmix.cli.workflows.quickstart.runs import has_started, judge_all, second_process, train_all
from dmix.warehouse_schema.errors import InputError, InterruptedRunError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.etl.spark.executors import Automatic
    from dmix.training.run.summary import RunSummary

CONTROLLERS = (f"plan:{sizes.NAME}", "natural", "source-share:0.5")
FULL_CONTROLLERS = (f"agent:{sizes.NAME}", "natural", "naive")


def quickstart(
    *,
    data: Path | None = None,
    out: Path = Path("demo"),
    seeds: int = 2,
    full: bool = False,
    master: str | None = None,
    progress: Progress,
) -> Result:
    """Runs the whole chain at small size in a warehouse of its own; the value has summaries by controller.

    Args:
        data: Folder of your own text, with sub-folders `source*` and `target*`; generated text when left out.
        out: Folder for files, warehouse and report.
        seeds: Number of runs per controller.
        full: Collect a farm and train an agent on it, instead of using the shipped default.
        master: Spark master.
        progress: Receives lines for people.

    Raises:
        InputError: If a field has no text, or `out` has runs of the other chain.
        InterruptedRunError: If it was stopped; the same call resumes it.
    """
    # a model this small gains nothing from a second thread, and waits for it where cores are busy
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from dmix.etl.spark.executors import Automatic
    from dmix.training.report import write_report
    from dmix.warehouse_schema.catalog.sync import sync

    if seeds < 1:
        raise InputError(f"seeds is {seeds}, expected at least 1")
    executor = Automatic(master=master, app="dmix quickstart")
    files = Files(out.absolute())
    warehouse = Warehouse.at(files.folder / "warehouse")
    _refuse_mixed(warehouse, full=full)
    controllers = FULL_CONTROLLERS if full else CONTROLLERS
    jobs = [(name, seed) for name in controllers for seed in range(seeds)]
    with second_process(wanted=not all(has_started(warehouse, *job) for job in jobs)) as helper:
        runs = _chain(
            executor, warehouse, files, data=data, full=full, jobs=jobs, helper=helper, progress=progress
        )
    sync(warehouse)  # the report is made from it
    shown = [summary.run_id for summaries in runs.values() for summary in summaries]
    report = write_report(warehouse, runs=shown, out=files.folder / "report.html")
    return answer_result(runs, report.path, warehouse)


def _chain(
    executor: "Automatic",
    warehouse: Warehouse,
    files: Files,
    *,
    data: Path | None,
    full: bool,
    jobs: list[tuple[str, int]],
    helper: Executor | None,
    progress: Progress,
) -> dict[str, list["RunSummary"]]:
    """All stages but the report; the runs of each controller."""
    stage = partial(_stage, 6 if full else 5, progress)
    with stage(1, "text and evaluation items"):
        write_files(files, data, progress=progress)
    with stage(2, "classify the text and shard it into streams"):
        stages.make_dataset(executor, warehouse, files, progress=progress)
    with stage(3, "a base model, pre-trained on the source"):
        stages.make_base(warehouse, files, progress=progress)
    if full:
        with stage(4, "trajectories, and feedback from proxies"):
            stages.collect_feedback(warehouse, files, master=executor.master, progress=progress)
        with stage(5, "the agent, by supervised fine-tuning"):
            stages.make_agent(warehouse, progress=progress)
        named = "runs: agent, natural and naive mixing"
    else:
        with stage(4, "effects of domains on objectives, by counts"):
            stages.count_effects(warehouse, files, progress=progress)
        named = "runs: the plan (dmix-base), natural and half-and-half mixing"
    with stage(6 if full else 5, f"{num_text(len(jobs), 'run')}: {named}"):
        runs = train_all(warehouse, files, jobs, helper, progress=progress)
        judge_all(warehouse, files, runs, progress=progress)
        return runs


def _refuse_mixed(warehouse: Warehouse, *, full: bool) -> None:
    """Raises `InputError` where runs of the two chains would not have the same scales."""
    started = (warehouse.run("plan-0") / "events.jsonl").is_file()
    scaled = (warehouse.feedback(sizes.NAME) / "environment.yaml").is_file()
    if full and started and not scaled:
        raise InputError(
            f"{warehouse.root} has runs without --full, which use no scales from a farm; choose "
            "another --out for --full"
        )


@contextmanager
def _stage(stages: int, progress: Progress, number: int, title: str) -> Iterator[None]:
    progress(f"[{number}/{stages}] {title}")
    started = monotonic()
    try:
        yield
    except InterruptedRunError:
        raise InterruptedRunError(
            f"stopped in stage {number} of {stages}; run the same command to resume"
        ) from None
    progress(f"[{number}/{stages}] done in {monotonic() - started:.0f} s")
