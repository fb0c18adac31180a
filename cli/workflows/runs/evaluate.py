"""Scores of models on benchmarks: `dmix eval`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dmix.cli.show.output import Coloured
from dmix.cli.show.result import Result
from dmix.cli.show.run_end import STYLES
from dmix.cli.workflows.preflight import check_environment, check_model, check_steps
from dmix.training.evaluation.item_tasks import read_item_task
from dmix.training.evaluation.settings import KINDS, EvaluationSettings, check_tasks, task_names
from dmix.training.run.request import resolve_model
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.cli.workflows.runs.standing import Standing
    from dmix.training.evaluation.candidates import Candidate
    from dmix.training.evaluation.item_tasks import ItemTask
    from dmix.training.evaluation.objective_tasks import ObjectiveTask
    from dmix.training.evaluation.stored import Evaluation


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
    _refuse_contradictions(
        run_id=run_id, model=model, steps=bool(steps), tasks=bool(tasks or items), environment=environment
    )
    names = task_names(tuple(tasks))
    item_tasks = [read_item_task(path, kind=kind) for path in items]
    if run_id is not None:
        check_steps(warehouse, run_id, steps)
    check_model(warehouse, model)
    check_environment(environment)
    if not dry_run:
        check_tasks(names, items=bool(items), settings=settings)
    objectives = _objective_tasks(environment)
    given: dict[str, ItemTask | ObjectiveTask | None] = {
        **{task.name: task for task in item_tasks},
        **{task.name: task for task in objectives},
        **dict.fromkeys(names),
    }
    models, known = _models_and_scores(warehouse, run_id, steps, model, tasks=given, settings=settings)
    standing = _standing(warehouse, run_id, objectives)
    if dry_run:
        result = _plan_result(models, given, known, limit=settings.limit)
        extra = standing and standing.natural_to_score([step for step, _ in models], settings)
        if extra:
            natural, tasks_of_it = extra
            result.line(
                f"dmix also scores the last model of run {natural.run_id} on "
                f"{num_text(len(tasks_of_it), 'objective')}, for the difference from natural mixing"
            )
        return result
    asked = [(step, task) for step, _ in models for task in given]
    unique = len(given) == len(names) + len(item_tasks) + len(objectives)
    if unique and all(one in known for one in asked):  # at once, without torch
        progress("the scores exist already")
        found = [known[one] for one in asked]
    else:
        from dmix.training.evaluation.benchmark import benchmark_models

        found = benchmark_models(
            _candidates(warehouse, run_id, steps, models),
            tasks=names,
            item_tasks=item_tasks,
            objectives=objectives,
            settings=settings,
            keep=None if run_id is None else (warehouse, run_id),
            accept_changes=accept_changes,
            progress=progress,
        )
    if run_id is not None:
        from dmix.warehouse_schema.catalog.sync import sync_at_end

        _keep_terms(warehouse, run_id, found, objectives)
        if standing is not None:
            standing.score_natural([step for step, _ in models], settings, progress=progress)
        sync_at_end(warehouse, warn=progress)
    return _scores_result(found, objectives, standing, limit=settings.limit)


def _refuse_contradictions(
    *, run_id: str | None, model: str | None, steps: bool, tasks: bool, environment: Path | None
) -> None:
    """Raises `InputError` unless there is one run or model, and something to evaluate it on."""
    if (run_id is None) == (model is None):
        raise InputError("no model was given; give either --run ID or --model")
    if steps and run_id is None:
        raise InputError("--step needs a run; give it with --run")
    if not tasks and environment is None:
        raise InputError(
            "there is no task to evaluate on; give --task NAME, --items FILE or --environment FILE"
        )
    if environment is not None and run_id is None:
        raise InputError("--environment needs the tokenizer of a run's dataset; give the run with --run")


def _objective_tasks(environment: Path | None) -> "list[ObjectiveTask]":
    from dmix.training.evaluation.objective_tasks import read_objective_tasks

    return [] if environment is None else read_objective_tasks(environment)


def _models_and_scores(
    warehouse: Warehouse,
    run_id: str | None,
    steps: Sequence[str],
    model: str | None,
    *,
    tasks: "Mapping[str, ItemTask | ObjectiveTask | None]",
    settings: EvaluationSettings,
) -> "tuple[list[tuple[int | None, str]], dict[tuple[int | None, str], Evaluation]]":
    """Step and origin of each model, and the scores that they have already, by step and task."""
    from dmix.training.evaluation.stored import known_evaluations, known_models

    if run_id is None:
        return [(None, resolve_model(str(model), warehouse))], {}
    there = known_models(warehouse.require(), run_id, steps)
    known = known_evaluations(warehouse, run_id, there, tasks=tasks, settings=settings)
    return [(one.step, one.origin) for one in there], known


def _candidates(
    warehouse: Warehouse, run_id: str | None, steps: Sequence[str], models: Sequence[tuple[int | None, str]]
) -> "list[Candidate]":
    from dmix.training.evaluation.candidates import model_candidate, run_candidates

    if run_id is not None:
        return run_candidates(warehouse, run_id, steps)
    return [model_candidate(models[0][1])]


def _plan_result(
    models: Sequence[tuple[int | None, str]],
    tasks: "Mapping[str, ItemTask | ObjectiveTask | None]",
    known: "Mapping[tuple[int | None, str], Evaluation]",
    *,
    limit: int | None,
) -> Result:
    plan = [
        {
            "step": step,
            "model": origin,
            "task": name,
            "items": None if task is None else min(task.num_items, limit or task.num_items),
            "stored": (step, name) in known,
        }
        for step, origin in models
        for name, task in tasks.items()
    ]
    result = Result(plan)
    result.table(
        ["step", "model", "task", "items", ""],
        [(*list(row.values())[:4], "has scores already" if row["stored"] else "") for row in plan],
    )
    return result


def _standing(
    warehouse: Warehouse, run_id: str | None, objectives: "Sequence[ObjectiveTask]"
) -> "Standing | None":
    """The run among comparable ones; None without objectives, or where the catalog does not know it."""
    if run_id is None or not objectives:
        return None
    from dmix.cli.workflows.runs.standing import read_standing

    return read_standing(warehouse, run_id, objectives)


def _keep_terms(
    warehouse: Warehouse,
    run_id: str,
    found: "Sequence[Evaluation]",
    objectives: "Sequence[ObjectiveTask]",
) -> None:
    from dmix.training.evaluation.stored import keep_terms, scores_file

    by_name = {task.name: task for task in objectives}
    for one in (evaluation for evaluation in found if evaluation.stored):
        keep_terms(scores_file(warehouse, run_id, one.step, one.task), by_name.get(one.task))


def _scores_result(
    found: "Sequence[Evaluation]",
    objectives: "Sequence[ObjectiveTask]",
    standing: "Standing | None" = None,
    *,
    limit: int | None = None,
) -> Result:
    rows = [
        (evaluation.step, score.task, score.metric, score.value, score.stderr, score.items)
        for evaluation in found
        for score in evaluation.scores
    ]
    columns = ["step", "task", "metric", "value", "stderr", "items"]
    facts = [dict(zip(columns, row, strict=True)) for row in rows]
    result = Result(facts, found)
    result.table(columns, rows, records=list(facts))
    _add_changes(result, found, objectives, standing, limit=limit)
    steps = {evaluation.step for evaluation in found}
    if standing is not None and standing.last in steps:
        _add_difference(result, standing, limit=limit)
    return result


def _add_changes(
    result: Result,
    found: "Sequence[Evaluation]",
    objectives: "Sequence[ObjectiveTask]",
    standing: "Standing | None",
    *,
    limit: int | None,
) -> None:
    """A table that answers whether the model learned and forgot between the first and the last step.

    The facts of the last step have the same change, its verdict, its standard error over items and whether
    it is beyond the noise of the items.
    """
    from dmix.training.evaluation.judging import Items, Judged, change_of
    from dmix.training.evaluation.verdicts import ON_SEEN_ITEMS, RULE

    steps = sorted({evaluation.step for evaluation in found if evaluation.step is not None})
    if not objectives:
        return
    if len(steps) < 2:
        result.line(
            "to see the change of each score, add --step all, which also scores the model before training"
        )
        return
    first, last = steps[0], steps[-1]
    scores = {(evaluation.task, evaluation.step): evaluation.item_scores for evaluation in found}
    rows = []
    for task in objectives:
        change = change_of(scores[task.name, first], scores[task.name, last])
        items = Items(task.name, task.sha256, limit)
        if standing is None:
            one = Judged(items=items, role=task.role, step=last, change=change, scale=task.scale or 1.0)
        else:
            one = standing.judge(task, items, (first, last), change)
        row = (task.name, task.role, change.before, change.after, change.change, change.stderr)
        rows.append((*row, Coloured(one.word, STYLES[one.verdict.colour])))
        told = {
            "role": task.role,
            "change": change.change,
            "change_stderr": change.stderr,
            "verdict": one.verdict.word,
            "beyond_noise": change.beyond_noise,
        }
        for fact in result.facts:
            if fact["task"] == task.name:
                fact |= told if fact["step"] == last else {**dict.fromkeys(told), "role": task.role}
    columns = ["objective", "role", f"step {first}", f"step {last}", "change", "stderr", "verdict"]
    result.table(
        columns, rows, title="Change of score in nats per token, with its standard error over the items"
    )
    result.line(f"{RULE} A scale is 1 nat per token if the environment file gives none.")
    if standing is not None and standing.seen:
        result.line(ON_SEEN_ITEMS)


def _add_difference(result: Result, standing: "Standing", *, limit: int | None) -> None:
    """A table of the difference from natural mixing, or why there is none; its rows are facts, too."""
    from dmix.training.evaluation.natural import RULE

    found = standing.from_natural(limit)
    if found is None:
        if standing.run.controller != "natural":
            result.line("there is no finished run of natural mixing with the same dataset, model and sizes")
        return
    if not found.differences:
        return
    items = {fact["task"].partition("/")[2]: fact["items"] for fact in result.facts}
    rows = [
        (one.name, one.difference, one.stderr, Coloured(one.word, STYLES[one.colour]))
        for one in found.differences
    ]
    facts = [
        {
            "step": standing.last,
            "task": one.name,
            "metric": "difference_from_natural",
            "value": one.difference,
            "stderr": one.stderr,
            "items": items.get(one.name),
            "natural_run": found.natural.run_id,
            "beyond_noise": one.beyond_noise,
        }
        for one in found.differences
    ]
    result.facts.extend(facts)
    result.table(
        ["objective", "difference", "stderr", "verdict"],
        rows,
        title=f"Difference from natural mixing ({found.who}) after step {standing.last}, in nats per token",
        records=facts,
    )
    result.line(RULE)
