"""Runs and what is known of them: `dmix train`, `dmix eval`, `dmix report`, `dmix sql`, `dmix mix plan`."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.cli.show.notebook import run_monitor
from dmix.cli.show.result import Result
from dmix.cli.workflows.datasets import check_kept_out
from dmix.cli.workflows.preflight import check_controller, check_model, check_steps
from dmix.cli.workflows.project_files import in_words
from dmix.training.evaluation.item_tasks import read_item_task
from dmix.training.evaluation.settings import KINDS, EvaluationSettings, check_tasks, task_names
from dmix.training.model.settings import (
    MAY_CHANGE,
    TrainingSettings,
    check_loggers,
    check_lora,
    load_training,
)
from dmix.training.run.request import RunRequest, new_run_folder, resolve_model, run_config_file, with_rate
from dmix.warehouse_schema.errors import (
    CatalogError,
    InputError,
    LockHeldError,
    NotFoundError,
    StorageError,
    TrainingError,
)
from dmix.warehouse_schema.files.events import read_events_backwards
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.sizes import size_text

if TYPE_CHECKING:
    from dmix.cli.show.run_end import Aftermath
    from dmix.training.run.config import RunConfig
    from dmix.training.run.summary import RunSummary
    from dmix.warehouse_schema.catalog.catalog import Catalog

Progress = Callable[[str], None]


def evaluate_models(
    warehouse: Warehouse,
    *,
    run_id: str | None = None,
    steps: Sequence[str] = (),
    model: str | None = None,
    tasks: Sequence[str] = (),
    items: Sequence[Path] = (),
    kind: str = KINDS[0],
    settings: EvaluationSettings,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Scores models of a run, or another model, on benchmarks.

    Args:
        warehouse: Where the run is.
        run_id: Run whose models are evaluated; scores are kept with it.
        steps: Steps of the run, or `all`; the newest model when left out.
        model: A model of no run.
        tasks: Tasks of lm-evaluation-harness or evalplus, or groups of them.
        items: Files of evaluation items.
        kind: Form of the items.
        settings: Limits, precision, shots.
        dry_run: Say what would be scored, and score nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If run, step, model or file does not exist.
        InputError: If arguments contradict each other, or there is nothing to evaluate on.
    """
    if (run_id is None) == (model is None):
        raise InputError("give either --run ID or --model, the model to evaluate")
    if steps and run_id is None:
        raise InputError("--step is a step of a run; name the run with --run")
    if not tasks and not items:
        raise InputError("nothing to evaluate on; give --task NAME or --items FILE")
    names = task_names(tuple(tasks))
    item_tasks = [read_item_task(path, kind=kind) for path in items]
    if run_id is not None:
        check_steps(warehouse, run_id, steps)
    check_model(warehouse, model)
    if not dry_run:
        check_tasks(names, items=bool(items), settings=settings)
    from dmix.training.evaluation.benchmark import benchmark_models
    from dmix.training.evaluation.candidates import model_candidate, run_candidates
    from dmix.warehouse_schema.catalog.catalog import sync_at_end

    if run_id is not None:
        candidates = run_candidates(warehouse.require(), run_id, steps)
    else:
        candidates = [model_candidate(resolve_model(str(model), warehouse))]
    if dry_run:
        counts = {
            task.name: min(len(task.records), settings.limit or len(task.records)) for task in item_tasks
        }
        plan = [
            {"step": candidate.step, "model": candidate.origin, "task": task, "items": counts.get(task)}
            for candidate in candidates
            for task in (*counts, *names)
        ]
        result = Result(plan)
        result.table(["step", "model", "task", "items"], [tuple(row.values()) for row in plan])
        return result
    found = benchmark_models(
        candidates,
        tasks=names,
        item_tasks=item_tasks,
        settings=settings,
        keep=None if run_id is None else (warehouse, run_id),
        progress=progress,
    )
    if run_id is not None:
        sync_at_end(warehouse, warn=progress)
    rows = [
        (evaluation.step, score.task, score.metric, score.value, score.stderr, score.items)
        for evaluation in found
        for score in evaluation.scores
    ]
    columns = ["step", "task", "metric", "value", "stderr", "items"]
    result = Result([dict(zip(columns, row, strict=True)) for row in rows], found)
    result.table(columns, rows)
    return result


def report_runs(
    warehouse: Warehouse,
    *,
    runs: Sequence[str] = (),
    out: Path | None = None,
    watch: bool = False,
    every: float = 15.0,
    progress: Progress,
) -> Result:
    """Writes one HTML file about runs and their data.

    Args:
        warehouse: Where the runs are.
        runs: Runs to show; the newest ones when left out.
        out: File to write; in the folder of the one run, else in the warehouse, when left out.
        watch: Write the file again and again until no run in it is under way.
        every: Seconds between two pages of `watch`.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If there is no such run.
    """
    from dmix.training.report import watch_report, write_report

    if watch:
        written = watch_report(warehouse, runs=runs, out=out, seconds=every, progress=progress)
    else:
        written = write_report(warehouse, runs=runs, out=out)
    facts = {
        "path": str(written.path),
        "runs": list(written.runs),
        "running": list(written.running),
        "bytes": written.size_bytes,
    }
    result = Result(facts, written)
    count = len(written.runs)
    result.line(f"report on {count} run{'' if count == 1 else 's'}, {size_text(written.size_bytes)}")
    return result


def train_run(
    warehouse: Warehouse,
    *,
    model: str | None = None,
    environment: Path | None = None,
    agent: str | None = None,
    controller: str | None = None,
    run_id: str | None = None,
    resume: bool = False,
    back: bool = False,
    accept_changes: bool = False,
    trust_controller: bool = False,
    dataset: str | None = None,
    training: Path | None = None,
    loggers: Sequence[str] = (),
    request: RunRequest,
    ranks: int | None = None,
    allow_unscreened: bool = False,
    dry_run: bool = False,
    given: Mapping[str, Any],
    progress: Progress,
) -> Result | None:
    """Starts a run, goes on with it, or finds it finished; None on all ranks but the first.

    Args:
        warehouse: Where the dataset is and the run goes.
        model: Model file, checkpoint folder, model of the warehouse, or hub id.
        environment: Environment file.
        agent: Agent that steers the run.
        controller: What steers instead.
        run_id: Name of the run; made from the time when left out.
        resume: Go on with the run where its newest checkpoint is.
        back: Go on from the checkpoint before the newest.
        accept_changes: Go on although items or the code of the controller changed.
        trust_controller: Run the code of the run's `python:` controller.
        dataset: Id or name; may be left out when there is one.
        training: Training file.
        loggers: Where metrics go, in place of those of the training file.
        request: Steps, sizes, seed, guard.
        ranks: Ranks that a dry run plans the memory for.
        allow_unscreened: Go on with a warning where evaluation items were not kept out of the dataset.
        dry_run: Say what it would take, and train nothing.
        given: What the user gave of all that a resumed run takes from its configuration, by parameter.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If something that is named does not exist.
        InputError: If arguments contradict each other, differ from those of a run that goes on, or cannot
            be used.
        TrainingError: If the run failed twice in the same way, or fails.
    """
    asked_to_resume = resume
    if resume and run_id is None:
        raise InputError("--resume needs the run to go on with; name it with --run")
    if back and not resume:
        raise InputError("--back says where --resume goes on; give both")
    if run_id is not None and not resume and not dry_run and has_started(warehouse, run_id):
        resume = True
        if is_finished(warehouse, run_id):
            return finish_run(warehouse, _summary(warehouse, run_id), progress=progress)
        _changes(given, warehouse, run_id, may_change=False)
        _refuse_a_third_failure(warehouse, run_id)
    if run_id is not None and resume:
        run_config_file(warehouse.require(), run_id)
        check_loggers(loggers)
        if dry_run:
            from dmix.training.run.config import read_config

            return run_plan(warehouse, read_config(warehouse, run_id), ranks=ranks)
        changes = _changes(given, warehouse, run_id, may_change=asked_to_resume)
        return _resume(
            warehouse,
            run_id,
            loggers=loggers,
            trust_controller=trust_controller,
            back=back,
            accept_changes=accept_changes,
            changes=changes,
            progress=progress,
        )
    resolved = new_run(
        warehouse,
        model=model,
        environment=environment,
        agent=agent,
        controller=controller,
        run_id=run_id,
        dataset=dataset,
        training=training,
        loggers=loggers,
        request=request,
    )
    if environment is not None:
        from dmix.training.run.ranks import is_first_rank

        check_kept_out(
            warehouse,
            resolved.dataset,
            environment,
            allow_unscreened=allow_unscreened,
            progress=progress if is_first_rank() else lambda line: None,
        )
    if dry_run:
        return run_plan(warehouse, resolved, ranks=ranks)
    from dmix.training.run.launch import start_run

    with run_monitor(title=f"run {resolved.run_id}") as monitor:
        summary = start_run(warehouse, resolved, progress=progress, monitor=monitor)
    return finish_run(warehouse, summary, progress=progress)


def has_started(warehouse: Warehouse, run_id: str) -> bool:
    """Whether a run of that name wrote events."""
    return (warehouse.run(run_id) / "events.jsonl").is_file()


def _summary(warehouse: Warehouse, run_id: str) -> "RunSummary":
    from dmix.training.run.summary import summarise

    return summarise(warehouse.run(run_id) / "events.jsonl")


def is_finished(warehouse: Warehouse, run_id: str) -> bool:
    """Whether a run ended and its model is there."""
    last = next(read_events_backwards(warehouse.run(run_id) / "events.jsonl"), {"event": ""})
    return last["event"] == "run_done" and (warehouse.run(run_id) / "model").is_dir()


def _refuse_a_third_failure(warehouse: Warehouse, run_id: str) -> None:
    """Ends a command that a scheduler repeats, where the run failed twice in the same way.

    Raises:
        TrainingError: If its last two attempts ended at the same step with the same words.
    """
    ends = [
        event
        for event in read_events_backwards(warehouse.run(run_id) / "events.jsonl")
        if event["event"] in ("run_started", "run_failed", "run_done")
    ][:4]
    kinds = [event["event"] for event in ends]
    if kinds != ["run_failed", "run_started", "run_failed", "run_started"]:
        return
    if (ends[0]["step"], ends[0]["detail"]) == (ends[2]["step"], ends[2]["detail"]):
        raise TrainingError(
            f"run {run_id} failed twice at step {ends[0]['step']}: {ends[0]['detail']}. Mend the cause, then"
            f" try once more with 'dmix train --run {run_id} --resume', or go back a checkpoint with --back"
        )


def _changes(
    given: Mapping[str, Any], warehouse: Warehouse, run_id: str, *, may_change: bool
) -> dict[str, Any]:
    """What a run that goes on takes anew: steps, and training settings of `MAY_CHANGE`.

    Raises:
        InputError: If one does; it names the setting, its old and its new value.
    """
    from dmix.training.run.config import read_config
    from dmix.training.run.watching.steering import absolute_spec

    before = read_config(warehouse, run_id)
    changes: dict[str, Any] = {}
    known = {
        "model": before.model,
        "agent": before.controller,
        "controller": before.controller,
        "training": dataclasses.replace(before.training, batch_size=1, loggers=()),
        "environment": None,
        "samples_per_step": str(before.step_samples),
        "dataset": None,
    }
    for name, value in given.items():
        old, new = known.get(name, getattr(before, name, None)), value
        if name == "model":
            new = resolve_model(str(value), warehouse)
        elif name == "agent":
            new = absolute_spec(f"agent:{value}")
        elif name in ("controller", "shadow"):
            new = absolute_spec(str(value))
        elif name == "training":
            given_training = with_rate(load_training(value), before.model)
            new = dataclasses.replace(given_training, batch_size=1, loggers=())
            names = [field.name for field in dataclasses.fields(new)]
            differing = [key for key in names if getattr(old, key) != getattr(new, key)]
            if may_change:
                changes |= {key: getattr(new, key) for key in differing if key in MAY_CHANGE}
                differing = [key for key in differing if key not in MAY_CHANGE]
            if not differing:
                continue
            name = differing[0]
            old, new = getattr(old, name), getattr(new, name)
        elif name == "samples_per_step" and value == "auto":
            continue  # the same request gave the size that the run has
        elif name in ("environment", "dataset", "guard"):
            continue  # content is compared where the run goes on; auto names another value than it gives
        if old == new:
            continue
        if name == "steps" and may_change:
            changes[name] = new
            continue
        hint = "give --resume to change it" if name in ("steps", *MAY_CHANGE) else "choose another --run"
        raise InputError(
            f"run {run_id} was started with {name.replace('_', '-')} {old!r}, now it is {new!r};"
            f" leave it as it was, or {hint}"
        )
    return changes


def _resume(
    warehouse: Warehouse,
    run_id: str,
    *,
    loggers: Sequence[str],
    trust_controller: bool,
    back: bool,
    accept_changes: bool,
    changes: Mapping[str, Any],
    progress: Progress,
) -> Result | None:
    """Goes on with a run, whose configuration decides everything but where metrics go and `changes`."""
    from dmix.training.run.launch import resume_run

    with run_monitor(title=f"run {run_id}") as monitor:
        summary = resume_run(
            warehouse,
            run_id,
            loggers=loggers,
            trust_controller=trust_controller,
            back=back,
            accept_changes=accept_changes,
            changes=changes,
            progress=progress,
            monitor=monitor,
        )
    return finish_run(warehouse, summary, progress=progress)


def new_run(
    warehouse: Warehouse,
    *,
    model: str | None = None,
    environment: Path | None = None,
    agent: str | None = None,
    controller: str | None = None,
    run_id: str | None = None,
    dataset: str | None = None,
    training: Path | None = None,
    loggers: Sequence[str] = (),
    request: RunRequest,
) -> "RunConfig":
    """The configuration of a run that has not started; arguments and errors as of `train_run`."""
    if model is None:
        raise InputError("--model is missing; give a model file, a checkpoint folder or a hub id")
    spec = controller_spec(agent, controller)
    if agent is not None and environment is None:
        raise InputError("an agent decides by feedback; give the environment file with --environment")
    check_controller(warehouse, spec)
    if request.shadow is not None:
        check_controller(warehouse, request.shadow)
    if run_id is not None:
        new_run_folder(warehouse, run_id)
    from dmix.training.run.config import make_config

    return make_config(
        warehouse,
        request,
        model=model,
        controller=spec,
        training=training_settings(training, loggers),
        environment=environment,
        dataset=dataset,
        run_id=run_id,
    )


def training_settings(path: Path | None, loggers: Sequence[str]) -> TrainingSettings:
    """The training file with the loggers of the flag, whose packages are there."""
    settings = load_training(path)
    if loggers:
        settings = dataclasses.replace(settings, loggers=tuple(dict.fromkeys(loggers)))
    check_loggers(settings.loggers)
    if settings.lora is not None:
        check_lora()
    return settings


def controller_spec(agent: str | None, controller: str | None) -> str:
    """The one of both that was given, as a controller.

    Raises:
        InputError: If both or none were given.
    """
    if (agent is None) == (controller is None):
        given = "both were given" if agent is not None else "none was given"
        raise InputError(f"one of --agent and --controller decides the mixtures, {given}; give exactly one")
    if agent is None:
        return str(controller)
    return agent if agent.partition(":")[0] == "effect" else f"agent:{agent}"


def finish_run(warehouse: Warehouse, summary: "RunSummary", *, progress: Progress) -> Result | None:
    """Brings the run into the catalog; what it came to on the first rank, None on others."""
    from dmix.training.run.ranks import is_first_rank
    from dmix.warehouse_schema.catalog.catalog import sync_at_end

    if not is_first_rank():
        return None
    sync_at_end(warehouse, warn=progress)
    after_it = _aftermath(warehouse, summary)
    facts = {**summary.to_json(), "utility": after_it and after_it.utility}
    facts["verdicts"] = {name: found.word for name, found in after_it.verdicts.items()} if after_it else {}
    result = Result(facts, summary)
    rows: list[tuple[Any, ...]] = [
        (name, before, after, after - before, after_it.word(name) if after_it else "")
        for name, before, after in zip(
            summary.objectives, summary.feedback_TD[0], summary.feedback_TD[-1], strict=True
        )
    ]
    if rows:
        result.table(["objective", "score before", "score after", "change", "verdict"], rows)
    result.line(
        f"run {summary.run_id}: {summary.steps} steps, {summary.tokens:,} tokens"
        f" ({summary.source_tokens:,} of the source), loss {summary.loss:.3f} in the last step;"
        f" {summary.ending}"
    )
    for line in after_it.lines if after_it else ():
        result.line(line)
    return result


def _aftermath(warehouse: Warehouse, summary: "RunSummary") -> "Aftermath | None":
    """What comes after a run; None where the catalog does not know it as yet."""
    from dmix.cli.show.run_end import aftermath

    if not summary.finished:
        return None
    try:
        return aftermath(warehouse, summary.run_id, kind=summary.kind)
    except (LockHeldError, CatalogError, StorageError, NotFoundError, IndexError):
        return None


def ask(
    warehouse: Warehouse, query: str, *, allow_io: bool = False, memory_gb: float | None = None
) -> tuple[list[str], list[tuple]]:
    """Columns and rows of the catalog's answer to one question in SQL.

    Args:
        warehouse: The warehouse to ask.
        query: One statement of DuckDB's SQL.
        allow_io: Let the query read files, and COPY write them outside the warehouse.
        memory_gb: Memory that it may take, in GB; a quarter of the machine's when left out.

    Raises:
        NotFoundError: If the warehouse does not exist.
        InputError: If it is not exactly one query, or DuckDB refuses it.
    """
    with asked(warehouse, query, allow_io=allow_io, memory_gb=memory_gb) as catalog:
        return catalog.query(query)


def ask_for_arrow(
    warehouse: Warehouse, query: str, *, allow_io: bool = False, memory_gb: float | None = None
) -> Result:
    """The same answer; the result's value is an Arrow table, its table the first rows."""
    with asked(warehouse, query, allow_io=allow_io, memory_gb=memory_gb) as catalog:
        table = catalog.arrow(query)
    result = Result(table.to_pylist(), table)
    result.table(table.column_names, [tuple(row.values()) for row in result.facts])
    return result


@contextmanager
def asked(
    warehouse: Warehouse, query: str, *, allow_io: bool, memory_gb: float | None
) -> "Iterator[Catalog]":
    """A reader for one question, whose memory is bounded."""
    from dmix.warehouse_schema.catalog.bounds import bounded_memory, default_memory_bytes
    from dmix.warehouse_schema.catalog.catalog import Catalog

    if not query.strip():
        raise InputError("got no SQL; give one statement, for example 'SHOW TABLES'")
    limit_bytes = default_memory_bytes() if memory_gb is None else int(memory_gb * 1e9)
    with Catalog.open_reader(warehouse, allow_io=allow_io, memory_bytes=limit_bytes // 2) as catalog:
        with bounded_memory(limit_bytes):
            yield catalog


def run_plan(warehouse: Warehouse, config: "RunConfig", *, ranks: int | None = None) -> Result:
    """What a run would take; the time only where the model fits into this machine.

    Args:
        warehouse: Where the dataset is.
        config: The run.
        ranks: Ranks to plan for; those of this launch if None.
    """
    import psutil
    from composer.utils import dist

    from dmix.mixing.space.domains import DomainSpace
    from dmix.training.model.estimate import measure_speed
    from dmix.training.model.memory import (
        computes_in_bf16,
        device_memory,
        disk_of_run,
        memory_per_rank,
        shape_of,
    )
    from dmix.training.run.config import check_controllers, describe, expected_passes
    from dmix.training.run.launch import model_of
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    manifest, model = read_dataset_manifest(warehouse, config.dataset), model_of(config)
    check_controllers(warehouse, config, DomainSpace.of_dataset(manifest))
    ranks = dist.get_world_size() if ranks is None else ranks
    shape = shape_of(model, manifest, lora=config.training.lora)
    memory = memory_per_rank(
        shape,
        config.training,
        ranks=ranks,
        seq_len=manifest.seq_len,
        bf16=computes_in_bf16(config.training),
    )
    tokens = config.steps * config.step_samples * manifest.seq_len
    batches = config.steps * config.step_samples // config.batch_size
    disk = disk_of_run(shape, config.training, steps=config.steps, batches=batches)
    # timing needs weights, gradients and activations on this device
    room = device_memory() or psutil.virtual_memory().available
    fits = (
        2 * memory_per_rank(shape, config.training, ranks=1, seq_len=manifest.seq_len, bf16=False).total
        < room
    )
    speed = measure_speed(model, manifest, config.training) if fits else None
    hours = None if speed is None else speed.hours(tokens)
    coverage = expected_passes(config, manifest)
    facts = {
        "run_id": config.run_id,
        "runs": 1,
        "steps": config.steps,
        "step_samples": config.step_samples,
        "batch_size": config.batch_size,
        "batches": batches,
        "tokens": tokens,
        "parameters": shape.parameters,
        "ranks": ranks,
        "memory_bytes": {**dataclasses.asdict(memory), "total": memory.total},
        "disk_bytes": dataclasses.asdict(disk),
        "hours": hours,
        "coverage": {"source": coverage.source, "target": coverage.target},
    }
    result = Result(facts, config)
    result.line(describe(config, manifest))
    result.line(
        f"{shape.parameters:,} parameters, {batches:,} batches; a rank of {ranks} needs about"
        f" {memory.total / 2**30:.2g} GiB:"
    )
    result.table(
        ["memory of a rank", "GiB"],
        [(name, size / 2**30) for name, size in dataclasses.asdict(memory).items()],
    )
    result.line(f"disk: {disk}; checkpoints_kept and keep of the training file change it")
    if speed is None:
        result.line("the model is too large for this machine to time it; run this where it will be trained")
    else:
        result.line(
            f"{speed.tokens_per_second:,.0f} tokens per second in this process:"
            f" {in_words(3600 * speed.hours(tokens))}, scoring left out"
        )
    return result
