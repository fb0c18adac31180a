"""`dmix eval`: scores of models on benchmarks."""

from pathlib import Path

import click

from dmix.cli.show.options import (
    config_option,
    dry_run_option,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.output import say, show_json, show_table
from dmix.cli.workflows.preflight import check_model, check_steps
from dmix.training.evaluation.item_tasks import read_item_task
from dmix.training.evaluation.settings import KINDS, EvaluationSettings, check_tasks, task_names
from dmix.training.run.request import resolve_model
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


@click.command("eval")
@config_option
@warehouse_option
@click.option(
    "--run", "run_id", metavar="ID", help="Run whose models are evaluated; scores are kept with it."
)
@click.option(
    "--step",
    "steps",
    multiple=True,
    metavar="K|all",
    help="Step of the run, may be repeated; 0 is the model before any step. The newest model if left out.",
)
@click.option(
    "--model", metavar="PATH|NAME|HUB-ID", help="A model that is of no run; scores are shown alone."
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME",
    help="Task of lm-evaluation-harness, humaneval or mbpp (run by evalplus), or a group: general, math,"
    " code. May be repeated.",
)
@click.option(
    "--items",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of evaluation items (.jsonl, .jsonl.gz), a task that needs no network; may be repeated.",
)
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default=KINDS[0],
    show_default=True,
    help="Form of the items: question, choices and label; or question and answer.",
)
@settings_options(EvaluationSettings)
@json_option
@dry_run_option
def evaluate(
    *,
    warehouse: Warehouse,
    run_id: str | None,
    steps: tuple[str, ...],
    model: str | None,
    tasks: tuple[str, ...],
    items: tuple[Path, ...],
    kind: str,
    settings: EvaluationSettings,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Score models of a run on benchmarks; the catalog's view `evaluations` has the scores.

    Scores that are there already are not computed again. Tasks by name fetch their items from the
    hub; --items takes a file.

    Example: dmix eval --run agent-1 --step all --items arc_easy.jsonl.gz
    """
    if (run_id is None) == (model is None):
        raise InputError("give either --run ID or --model, the model to evaluate")
    if steps and run_id is None:
        raise InputError("--step is a step of a run; name the run with --run")
    if not tasks and not items:
        raise InputError("nothing to evaluate on; give --task NAME or --items FILE")
    names = task_names(tasks)
    item_tasks = [read_item_task(path, kind=kind) for path in items]
    if run_id is not None:
        check_steps(warehouse, run_id, steps)
    check_model(warehouse, model)
    if not dry_run:
        check_tasks(names, items=bool(items), settings=settings)
    from dmix.training.evaluation.benchmark import benchmark_models
    from dmix.training.evaluation.candidates import model_candidate, run_candidates
    from dmix.warehouse_schema.catalog.catalog import sync

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
        if as_json:
            show_json(plan)
        else:
            show_table(["step", "model", "task", "items"], [tuple(row.values()) for row in plan])
        return
    found = benchmark_models(
        candidates,
        tasks=names,
        item_tasks=item_tasks,
        settings=settings,
        keep=None if run_id is None else (warehouse, run_id),
        progress=say,
    )
    if run_id is not None:
        sync(warehouse)
    rows = [
        (evaluation.step, score.task, score.metric, score.value, score.stderr, score.items)
        for evaluation in found
        for score in evaluation.scores
    ]
    columns = ["step", "task", "metric", "value", "stderr", "items"]
    if as_json:
        show_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        show_table(columns, rows)
