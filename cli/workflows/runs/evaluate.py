"""Scores of models on benchmarks: `dmix eval`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dmix.cli.show.result import Result
from dmix.cli.workflows.preflight import check_model, check_steps
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


def evaluate_models(
    warehouse: Warehouse,
    *,
    run_id: str | None = None,
    steps: Sequence[str] = (),
    model: str | None = None,
    tasks: Sequence[str] = (),
    items: Sequence[Path] = (),
    kind: str = KINDS[0],
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
        accept_changes: Go on although items or the model that the run started from changed.
        settings: Limits, precision, shots.
        dry_run: Say what would be scored, and score nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If run, step, model or file does not exist.
        InputError: If arguments contradict each other, or there is nothing to evaluate on.
    """
    if (run_id is None) == (model is None):
        raise InputError("name the model to evaluate with either --run ID or --model")
    if steps and run_id is None:
        raise InputError("--step is a step of a run; name the run with --run")
    if not tasks and not items:
        raise InputError("there is no task to evaluate on; give --task NAME or --items FILE")
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
        return _plan_result(candidates, names, item_tasks, limit=settings.limit)
    found = benchmark_models(
        candidates,
        tasks=names,
        item_tasks=item_tasks,
        settings=settings,
        keep=None if run_id is None else (warehouse, run_id),
        accept_changes=accept_changes,
        progress=progress,
    )
    if run_id is not None:
        sync_at_end(warehouse, warn=progress)
    return _scores_result(found)


def _plan_result(
    candidates: "Sequence[Candidate]", names: Sequence[str], items: "Sequence[ItemTask]", *, limit: int | None
) -> Result:
    counts = {task.name: min(len(task.records), limit or len(task.records)) for task in items}
    plan = [
        {"step": candidate.step, "model": candidate.origin, "task": task, "items": counts.get(task)}
        for candidate in candidates
        for task in (*counts, *names)
    ]
    result = Result(plan)
    result.table(["step", "model", "task", "items"], [tuple(row.values()) for row in plan])
    return result


def _scores_result(found: "Sequence[Evaluation]") -> Result:
    rows = [
        (evaluation.step, score.task, score.metric, score.value, score.stderr, score.items)
        for evaluation in found
        for score in evaluation.scores
    ]
    columns = ["step", "task", "metric", "value", "stderr", "items"]
    result = Result([dict(zip(columns, row, strict=True)) for row in rows], found)
    result.table(columns, rows)
    return result
