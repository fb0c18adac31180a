"""Runs the stages of one setting, as far as time allows, and keeps the results up to date."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from dmix.training.comparison.data.prepare import RUN_DATASET, base_name, run_training
from dmix.training.comparison.data.settings import LoadedSetting
from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.data.tiers import tier_named
from dmix.training.comparison.effects.design import PROBES, probe_steps
from dmix.training.comparison.effects.judgement import JUDGING, Stored, judge, yardstick_scales
from dmix.training.comparison.effects.promises import EFFECTS, PROMISES, read_table
from dmix.training.comparison.effects.tables import judged_page
from dmix.training.comparison.effects.world_plans import HELD_OUT
from dmix.training.comparison.runs.facts import find_scales, write_facts
from dmix.training.comparison.runs.headroom import restore_feedback
from dmix.training.comparison.runs.protocol import (
    PROTOCOL_FILE,
    THIRD_PROTOCOL_FILE,
    CommittedProtocol,
    Protocol,
    ThirdProtocol,
    WorldsProtocol,
    code_version,
    committed_protocol,
    promised,
)
from dmix.training.comparison.runs.stages import batches, check_stage, planned_runs, run_space
from dmix.training.comparison.runs.study import Study
from dmix.training.comparison.runs.trials import finalists
from dmix.training.comparison.units.queue import missing_units, run_queue
from dmix.training.comparison.units.recipes import current_rows
from dmix.training.comparison.units.store import Row, compact, read_runs, read_tables
from dmix.training.comparison.yardstick.admission import admission_page, admissions
from dmix.training.comparison.yardstick.csv_rows import csv_rows
from dmix.training.model.estimate.shapes import shape_of
from dmix.training.model.estimate.speed import estimated_speed, trains_in_bf16
from dmix.warehouse_schema.errors import NotFoundError
from dmix.warehouse_schema.files.layout import publish_bytes
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifests import read_dataset_manifest
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

# How old the tables of the results may get while a queue runs.
_PUBLISH_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """How far a stage is.

    Attributes:
        stage: Its name.
        planned: Runs when all goes well.
        done: Runs that are finished.
        failed: Runs whose last attempt failed.
        tokens_left: Tokens of the runs that are not done.
        core_hours_left: Hours of one core for them; NaN where nothing says how long a run takes.
    """

    stage: str
    planned: int
    done: int
    failed: int
    tokens_left: int
    core_hours_left: float


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a call of `dmix bench quality` asks for.

    Attributes:
        tier: Name of the tier.
        stages: Stages to run, in order.
        data: Folder of corpora and items.
        work: Folder for everything that can be made again.
        results: Folder of the results.
        workers: Processes.
        until: `time.monotonic()` from which no unit is started; None for no limit.
    """

    tier: str
    stages: Sequence[str]
    data: Path
    work: Path
    results: Path
    workers: int
    until: float | None = None


def study_of(loaded: LoadedSetting, request: Request, progress: Progress) -> Study:
    """The setting at the tier and in the folders of a request."""
    paths = StudyPaths.of(loaded.settings.name, work=request.work, results=request.results)
    tier = tier_named(request.tier)
    return Study(paths=paths, loaded=loaded, tier=tier, data=request.data, progress=progress)


def run_comparison(
    loaded: LoadedSetting, request: Request, *, prepare: Callable[[Study], None], progress: Progress
) -> list[StageReport]:
    """Prepares a setting and runs stages until they are done, fail or have no time left.

    A stage that is not finished ends the call: the next one needs what it finds.

    Args:
        loaded: The setting.
        request: What is asked for.
        prepare: Makes the datasets, base models and trajectories of a study that are missing.
        progress: Receives lines for people.

    Raises:
        InputError: If a stage is asked for before the one that it needs, or text is too little.
        NotFoundError: If data or the protocol do not exist.
        LockHeldError: If another queue works on this setting.
    """
    study = study_of(loaded, request, progress)
    for stage in request.stages:
        check_stage(study, stage)
    protocol = _protocol(loaded, request.stages)
    with held_lock(study.paths.lock, what=f"the queue in {study.paths.work}", of_job=True):
        prepare(study)
        if loaded.settings.protocol != 3:
            restore_feedback(study)
        try:
            for stage in request.stages:
                if not _run_stage(study, stage, request=request, protocol=protocol):
                    break
        finally:
            publish(study, tier=request.tier)
        return reports(study)


def publish(study: Study, *, tier: str) -> None:
    """Brings all finished units into the results."""
    objectives = tuple(o.name for o in study.loaded.settings.in_layer("feedback"))
    scales = find_scales(study.paths, study.loaded, read_tables(study.paths))
    tables = compact(study.paths, scales, objectives=objectives)
    third = study.loaded.settings.protocol == 3
    if third:
        _publish_admissions(study, tables)
        _publish_promises(study, tables)
    agents = () if third else ("rl",) if "rl" in study.tier.controllers else ()
    pair = next((finalists(study, agent=agent) for agent in agents), None)
    write_facts(
        study.paths,
        study.loaded,
        scales,
        tier=tier,
        planned=planned_runs(study),
        finalists=pair,
        promised=study.loaded.settings.world is None
        and promised(study.loaded.file.parent / PROTOCOL_FILE, study.loaded.settings.name),
    )


def _publish_admissions(study: Study, tables: Mapping[str, Sequence[Row]]) -> None:
    """Writes which objectives the runs so far admit."""
    settings, results = study.loaded.settings, study.paths.results
    found = admissions(settings, study.tier, tables)
    if found:
        publish_bytes(results / "yardstick.csv", csv_rows(found).encode())
        publish_bytes(results / "yardstick.md", admission_page(settings, study.tier, found).encode())


def _publish_promises(study: Study, tables: Mapping[str, Sequence[Row]]) -> None:
    """Writes how well each estimator's promises rank the fresh mixtures that were run so far."""
    settings, results = study.loaded.settings, study.paths.results
    current = [row for row in tables["runs"] if _inputs_of(row) == study.inputs]
    promises, effects = (
        [row for row in read_table(results, name) if row["inputs"] == study.inputs]
        for name in (PROMISES, EFFECTS)
    )
    stored = Stored(settings, study.tier, run_space(study), {**tables, "runs": current}, promises, effects)
    found = judge(stored)
    if found:
        publish_bytes(results / "effects.csv", csv_rows(found).encode())
        admitted = yardstick_scales(stored, JUDGING) is not None
        page = judged_page(settings, found, planned=study.tier.fresh, admitted=admitted)
        publish_bytes(results / "effects.md", page.encode())


def _inputs_of(row: Row) -> str:
    inputs: str = json.loads(row["spec"])["inputs"]
    return inputs


def reports(study: Study) -> list[StageReport]:
    """How far every stage is, by the runs whose recipe is still the study's.

    Needs no preparation, but knows the speed better after some runs. Where the data are not all there,
    as before they are fetched, all stored runs count.
    """
    runs = current_rows(
        read_runs(study.paths),
        loaded=study.loaded,
        tier=study.tier,
        inputs=_inputs_if_known(study),
        paths=study.paths,
    )
    settings = study.loaded.settings
    tokens = settings.run_samples * settings.seq_len
    seconds = _seconds_a_run(
        study,
        [row["seconds"] for row in runs if row["status"] == "done" and row["part"] not in PROBES],
        tokens,
    )
    found = []
    for stage, planned in planned_runs(study).items():
        part = _part_of_a_run(study, stage)
        own = [row["seconds"] for row in runs if row["status"] == "done" and row["stage"] == stage]
        each = sum(own) / len(own) if own else seconds * part
        # a unit may have several attempts; the last one, or the one that finished, counts
        last = {row["unit_id"]: row["status"] for row in runs if row["stage"] == stage}
        states = list(last.values())
        left = max(0, planned - states.count("done"))
        found.append(
            StageReport(
                stage=stage,
                planned=planned,
                done=states.count("done"),
                failed=states.count("failed"),
                tokens_left=round(left * tokens * part),
                core_hours_left=left * each / 3600,
            )
        )
    return found


def _part_of_a_run(study: Study, stage: str) -> float:
    """How much of a run the runs of a stage train."""
    settings = study.loaded.settings
    return probe_steps(settings) / settings.steps if stage == "probes" else 1.0


def to_json(loaded: LoadedSetting, found: Sequence[StageReport]) -> dict[str, Any]:
    """Plain values of the reports of a setting."""
    return {"setting": loaded.settings.name, "stages": [asdict(report) for report in found]}


def _run_stage(study: Study, stage: str, *, request: Request, protocol: CommittedProtocol | None) -> bool:
    """Runs the batches of a stage; False if some of its runs are not done."""
    commit, published = code_version(), time.monotonic()

    def ended(line: str) -> None:
        nonlocal published
        study.progress(line)
        if time.monotonic() - published > _PUBLISH_SECONDS:
            publish(study, tier=request.tier)
            published = time.monotonic()

    for units in batches(study, stage, protocol=protocol):
        outcome = run_queue(
            units,
            study.paths,
            study.loaded,
            workers=request.workers,
            until=request.until,
            commit=commit,
            progress=ended,
        )
        if outcome.done or outcome.failed:
            publish(study, tier=request.tier)
        left = len(missing_units(units, study.paths))
        if left:
            why = "time is up" if outcome.left else f"{outcome.failed} of its runs failed"
            study.progress(
                f"stage {stage}: {num_text(left, 'run')} left, {why}; run the same command to resume"
            )
            return False
    study.progress(f"stage {stage} is done")
    return True


def _inputs_if_known(study: Study) -> str | None:
    try:
        return study.inputs
    except NotFoundError:
        return None


def _protocol(loaded: LoadedSetting, stages: Sequence[str]) -> CommittedProtocol | None:
    """What the stages need to have been promised; None if they need nothing."""
    file = loaded.file.parent / PROTOCOL_FILE
    if loaded.settings.world == HELD_OUT:
        return committed_protocol(file, WorldsProtocol)
    if "confirmation" not in stages:
        return None
    if loaded.settings.protocol == 3:
        return committed_protocol(loaded.file.parent / THIRD_PROTOCOL_FILE, ThirdProtocol)
    return committed_protocol(file, Protocol)


def _seconds_a_run(study: Study, seconds: Sequence[float], tokens: int) -> float:
    """Mean of the finished runs; else estimated by the base model; else that of other settings.

    NaN where there is none of these.
    """
    if seconds:
        return sum(seconds) / len(seconds)
    try:
        manifest = read_dataset_manifest(study.paths.warehouse, RUN_DATASET)
        model = str(study.paths.warehouse.model(base_name(study.loaded.settings.run_base)))
        bf16 = trains_in_bf16(run_training(study.loaded))
        with threadpool_limits(1):  # as each process of the queue
            shape = shape_of(model, manifest)
            speed = estimated_speed(shape, seq_len=manifest.seq_len, bf16=bf16, kept=False)
        return tokens / speed.tokens_per_second
    except NotFoundError:
        return tokens * _seconds_a_token_elsewhere(study)


def _seconds_a_token_elsewhere(study: Study) -> float:
    """Mean over the stored runs of the settings beside this one; NaN where there are none."""
    seconds, tokens = 0.0, 0
    columns = ["status", "seconds", "source_tokens", "target_tokens"]
    for path in sorted(study.paths.results.parent.glob("*/runs.parquet")):
        for row in pq.read_table(path, columns=columns, partitioning=None).to_pylist():
            if row["status"] == "done":
                seconds += row["seconds"]
                tokens += row["source_tokens"] + row["target_tokens"]
    return seconds / tokens if tokens else float("nan")
