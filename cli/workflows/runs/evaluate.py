"""Scores of models on benchmarks: `dmix eval`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dmix.cli.show.result import Result
from dmix.cli.workflows.preflight import check_environment, check_model, check_steps
from dmix.training.evaluation.item_tasks import read_item_task
from dmix.training.evaluation.settings import KINDS, EvaluationSettings, check_tasks, task_names
from dmix.training.run.request import resolve_model
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress

if TYPE_CHECKING:
    from dmix.training.evaluation.benchmark import Evaluation
    from dmix.training.evaluation.candidates import Candidate
    from dmix.training.evaluation.item_tasks import ItemTask
    from dmix.training.evaluation.objective_tasks import ObjectiveTask


def evaluate_models(
    warehouse: Warehouse,
    *,
    run_id: str | None = None,
    steps: Sequence[str] = (),
    model: str | None = None,
    tasks: Sequence[str] = (),
    items: Sequence[Path] = (),
    kind: str = KINDS[0],
    environment: Path | None = None,
    accept_changes: bool = False,
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
        environment: Environment file; its objectives score the models of the run.
        accept_changes: Go on although items or the model that the run started from changed.
        settings: Limits, precision, shots.
        dry_run: Say what would be scored, and score nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If run, step, model or file does not exist.
        InputError: If arguments contradict each other, or there is nothing to evaluate on.
    """
    if (run_id is None) == (model is None):
        raise InputError("no model was given; give either --run ID or --model")
    if steps and run_id is None:
        raise InputError("--step needs a run; give it with --run")
    if not tasks and not items and environment is None:
        raise InputError(
            "there is no task to evaluate on; give --task NAME, --items FILE or --environment FILE"
        )
    if environment is not None and run_id is None:
        raise InputError("--environment needs the tokenizer of a run's dataset; give the run with --run")
    names = task_names(tuple(tasks))
    item_tasks = [read_item_task(path, kind=kind) for path in items]
    if run_id is not None:
        check_steps(warehouse, run_id, steps)
    check_model(warehouse, model)
    check_environment(environment)
    if not dry_run:
        check_tasks(names, items=bool(items), settings=settings)
    from dmix.training.evaluation.benchmark import benchmark_models
    from dmix.training.evaluation.candidates import model_candidate, run_candidates
    from dmix.training.evaluation.objective_tasks import read_objective_tasks
    from dmix.warehouse_schema.catalog.sync import sync_at_end

    objectives = [] if environment is None else read_objective_tasks(environment)
    if run_id is not None:
        candidates = run_candidates(warehouse.require(), run_id, steps)
    else:
        candidates = [model_candidate(resolve_model(str(model), warehouse))]
    if dry_run:
        return _plan_result(candidates, names, item_tasks, objectives, limit=settings.limit)
    found = benchmark_models(
        candidates,
        tasks=names,
        item_tasks=item_tasks,
        objectives=objectives,
        settings=settings,
        keep=None if run_id is None else (warehouse, run_id),
        accept_changes=accept_changes,
        progress=progress,
    )
    if run_id is not None:
        sync_at_end(warehouse, warn=progress)
    return _scores_result(found, objectives)


def _plan_result(
    candidates: "Sequence[Candidate]",
    names: Sequence[str],
    items: "Sequence[ItemTask]",
    objectives: "Sequence[ObjectiveTask]",
    *,
    limit: int | None,
) -> Result:
    sizes = {task.name: len(task.records) for task in items}
    sizes |= {task.name: task.num_items for task in objectives}
    counts = {task: min(size, limit or size) for task, size in sizes.items()}
    plan = [
        {"step": candidate.step, "model": candidate.origin, "task": task, "items": counts.get(task)}
        for candidate in candidates
        for task in (*counts, *names)
    ]
    result = Result(plan)
    result.table(["step", "model", "task", "items"], [tuple(row.values()) for row in plan])
    return result


def _scores_result(found: "Sequence[Evaluation]", objectives: "Sequence[ObjectiveTask]") -> Result:
    rows = [
        (evaluation.step, score.task, score.metric, score.value, score.stderr, score.items)
        for evaluation in found
        for score in evaluation.scores
    ]
    columns = ["step", "task", "metric", "value", "stderr", "items"]
    result = Result([dict(zip(columns, row, strict=True)) for row in rows], found)
    result.table(columns, rows)
    _add_changes(result, found, objectives)
    return result


def _add_changes(
    result: Result, found: "Sequence[Evaluation]", objectives: "Sequence[ObjectiveTask]"
) -> None:
    """A table that answers whether the model learned and forgot between the first and the last step."""
    from dmix.training.evaluation.objective_tasks import change_of

    steps = sorted({evaluation.step for evaluation in found if evaluation.step is not None})
    if not objectives:
        return
    if len(steps) < 2:
        result.line(
            "to see the change of each score, add --step all, which also scores the model before training"
        )
        return
    first, last = steps[0], steps[-1]
    items = {(evaluation.task, evaluation.step): evaluation.item_scores for evaluation in found}
    rows = []
    for task in objectives:
        change = change_of(items[task.name, first], items[task.name, last])
        beyond = "yes" if change.beyond_noise else "no"
        rows.append((task.name, task.role, change.before, change.after, change.change, change.stderr, beyond))
    columns = ["objective", "role", f"step {first}", f"step {last}", "change", "stderr", "beyond noise"]
    result.table(
        columns,
        rows,
        title="Change of score in nats per token. If a target score rises, the model learned. If a general "
        "score falls, it forgot",
    )
