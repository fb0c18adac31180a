"""Evaluates models on tasks and keeps the scores of runs where the catalog finds them.

`dmix.training.evaluation.stored` finds the scores that a run already has.
"""

import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from dmix.training.evaluation.candidates import Candidate
from dmix.training.evaluation.code import code_scores
from dmix.training.evaluation.harness import Harness
from dmix.training.evaluation.item_tasks import ItemTask
from dmix.training.evaluation.objective_tasks import ObjectiveScorer, ObjectiveTask, mean_score
from dmix.training.evaluation.settings import CODE_TASKS, EvaluationSettings, check_tasks
from dmix.training.evaluation.stored import (
    Evaluation,
    Score,
    same_start,
    score_facts,
    scores_file,
    stored_scores,
    terms_of,
)
from dmix.training.run.config import read_config
from dmix.training.run.resuming.differences import recorded_content
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.changes import SAMPLES, Change, changes_between, require_accepted
from dmix.warehouse_schema.files.layout import Warehouse, publish_json, read_json
from dmix.warehouse_schema.files.manifests import read_dataset_manifest, samples_digest
from dmix.warehouse_schema.progress import counted
from dmix.warehouse_schema.taxonomy import slug


def benchmark_models(
    candidates: Sequence[Candidate],
    *,
    tasks: Sequence[str],
    item_tasks: Sequence[ItemTask] = (),
    objectives: Sequence[ObjectiveTask] = (),
    settings: EvaluationSettings,
    keep: tuple[Warehouse, str] | None = None,
    accept_changes: bool = False,
    progress: Callable[[str], None],
) -> list[Evaluation]:
    """Scores of every candidate on every task.

    Args:
        candidates: The models.
        tasks: Names in lm-evaluation-harness, or one of `CODE_TASKS`.
        item_tasks: Tasks made of item files; they come first.
        objectives: Objectives of environment files, for models of a run; they come after `item_tasks`.
        settings: How.
        keep: Warehouse and run that the candidates are of; None keeps nothing.
        accept_changes: Go on although items of a task, or the model that the run started from, changed.
        progress: Told of each task.

    Raises:
        MissingDependencyError: If the harness, or evalplus for code, is not installed.
        InputError: If a task is unknown, there is none, code may not be run as the settings say, or content
            changed and that is not accepted.
        NotFoundError: If a task's data are out of reach.
    """
    judged = {task.name: task for task in objectives}
    given: list[ItemTask | ObjectiveTask] = [*item_tasks, *objectives]
    items = {task.name: task for task in given}
    names = [*items, *tasks]
    if not names:
        raise InputError("no task was given; give --task NAME, --items FILE or --environment FILE")
    if judged and keep is None:
        raise InputError("--environment needs the tokenizer of a run's dataset; give a run with --run")
    check_tasks(tasks, items=bool(item_tasks), settings=settings)
    changes = () if keep is None else changed_content(*keep, candidates, list(items.values()))
    require_accepted(changes, of="the evaluation", accepted=accept_changes)
    for change in changes:
        progress(f"accepted: {change.digests}")
    by_harness = [task for task in tasks if task not in CODE_TASKS]
    harness = Harness(by_harness, item_tasks) if by_harness or item_tasks else None
    scorer = ObjectiveScorer(*keep, limit=settings.limit) if judged and keep is not None else None
    found = []
    for candidate in counted(candidates, "model"):
        network = tokenizer = None
        for task in counted(names, "task"):
            path = None if keep is None else scores_file(*keep, candidate.step, task)
            facts = score_facts(candidate.content, task, items.get(task), settings)
            stored = None if path is None or settings.again else stored_scores(path, facts)
            if stored is None and path is not None and candidate.step == 0 and not settings.again:
                stored = _copied(path, keep, task, facts)
            if stored is not None:
                progress(f"{_label(candidate)}, {task}: the scores exist already")
                scores, item_scores = stored
                found.append(Evaluation(candidate.step, task, scores, stored=True, item_scores=item_scores))
                continue
            if network is None or tokenizer is None:
                network, tokenizer = candidate.load()
                network.to("cuda" if torch.cuda.is_available() else "cpu").eval()
            progress(f"{_label(candidate)}, {task} …")
            item_scores = ()
            if scorer is not None and task in judged:
                item_scores = tuple(scorer.item_scores(judged[task], network))
                scores = (mean_score(task, item_scores),)
            elif harness is None or task in CODE_TASKS:
                scores = tuple(code_scores(task, network, tokenizer))
            else:
                scores = tuple(harness.scores(task, network, tokenizer, settings=settings))
            if path is not None:
                concerned = {_items_of(task), SAMPLES, *candidate.content}
                accepted = [change for change in changes if change.what in concerned]
                facts |= terms_of(judged.get(task))
                _publish(path, candidate, facts, scores, item_scores=item_scores, changes=accepted)
            found.append(Evaluation(candidate.step, task, scores, stored=False, item_scores=item_scores))
    return found


def changed_content(
    warehouse: Warehouse,
    run_id: str,
    candidates: Sequence[Candidate],
    item_tasks: Sequence[ItemTask | ObjectiveTask],
) -> tuple[Change, ...]:
    """What differs from the last evaluation of a run, or from what the run started with."""
    before = dict(recorded_content(warehouse.run(run_id) / "events.jsonl"))
    now = {what: digest for candidate in candidates for what, digest in candidate.content.items()}
    dataset = read_config(warehouse, run_id).dataset
    now[SAMPLES] = samples_digest(read_dataset_manifest(warehouse, dataset))
    for task in item_tasks:
        now[_items_of(task.name)] = task.sha256
        stored = (warehouse.run(run_id) / "evaluations").glob(f"step*-{slug(task.name)}.json")
        last: dict[str, Any] = max(
            map(read_json, stored), key=lambda found: found.get("evaluated_at", ""), default={}
        )
        if last.get("task") == task.name and last.get("items_sha256"):
            before[_items_of(task.name)] = last["items_sha256"]
    return changes_between(before, now)


def _items_of(task: str) -> str:
    return f"the items of task {task}"


def _label(candidate: Candidate) -> str:
    return candidate.origin if candidate.step is None else f"step {candidate.step}"


def _copied(
    path: Path, keep: tuple[Warehouse, str] | None, task: str, facts: dict[str, Any]
) -> tuple[tuple[Score, ...], tuple[float, ...]] | None:
    """Scores of step 0 that another run of the same starting model has, now with this run, too."""
    other = None if keep is None else same_start(*keep, task, facts)
    if other is None:
        return None
    source, scores = other
    publish_json(path, {**read_json(source), "copied_from": source.parts[-3], "changes": []})
    return scores


def _publish(
    path: Path,
    candidate: Candidate,
    facts: dict[str, Any],
    scores: tuple[Score, ...],
    *,
    item_scores: tuple[float, ...],
    changes: Sequence[Change],
) -> None:
    content = {
        **facts,
        "step": candidate.step,
        "model": candidate.origin,
        "evaluated_at": datetime.now(UTC).isoformat(),
        "scores": [dataclasses.asdict(score) for score in scores],
        **({"item_scores": item_scores} if item_scores else {}),
        "changes": [change.to_json() for change in changes],
    }
    publish_json(path, content)
