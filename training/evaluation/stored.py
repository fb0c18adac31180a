"""Scores that `dmix eval` keeps with a run, and which of those asked for are there. Light to import.

`runs/<id>/evaluations/step<k>-<task>.json` holds the scores of one task, and what they depend on.
A file whose settings are those asked for is not computed again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.training.evaluation.settings import EvaluationSettings
from dmix.training.evaluation.steps import chosen_models
from dmix.training.model.digests import model_digest
from dmix.training.run.config import RunConfig, read_config
from dmix.training.run.resuming.differences import STARTING_MODEL, model_of
from dmix.warehouse_schema.errors import NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_json, read_json
from dmix.warehouse_schema.taxonomy import slug

if TYPE_CHECKING:
    from dmix.training.evaluation.item_tasks import ItemTask
    from dmix.training.evaluation.objective_tasks import ObjectiveTask


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number of a benchmark.

    Attributes:
        task: The task, or a part of it.
        metric: Its name in the harness, the filter after a comma where there is one.
        value: Mean over the items.
        stderr: Its standard error; None where the harness gives none.
        items: Items that the mean is over; None for groups.
    """

    task: str
    metric: str
    value: float
    stderr: float | None
    items: int | None


@dataclass(frozen=True)
class Evaluation:
    """The scores of one model on one task.

    Attributes:
        step: Step of the run; None for a model that is of no run.
        scores: Of the task and its parts.
        stored: True if they were found, not computed.
        item_scores: Score of each item of an objective, in the order of its file; empty for benchmarks.
    """

    step: int | None
    task: str
    scores: tuple[Score, ...]
    stored: bool
    item_scores: tuple[float, ...] = ()


@dataclass(frozen=True)
class KnownModel:
    """A model of a run by its step, without its weights.

    Attributes:
        step: Steps of the run that it has trained.
        origin: Where it lies.
        path: Checkpoint file or model folder; None for the model that the run started from.
        content: Digests of what it is made of besides the files of its run, by a name for people.
    """

    step: int
    origin: str
    path: Path | None
    content: Mapping[str, str]


def known_models(warehouse: Warehouse, run_id: str, steps: Sequence[str]) -> list[KnownModel]:
    """Models of a run, ascending by step; arguments and errors as of `chosen_models`."""
    config = read_config(warehouse, run_id)
    start = {STARTING_MODEL: model_digest(model_of(config))}
    lora = config.training.lora
    adapters_alone = lora is not None and not lora.merge
    return [
        KnownModel(
            step,
            str(model_of(config) if path is None else path),
            path,
            start if path is None or (path.is_dir() and adapters_alone) else {},
        )
        for step, path in chosen_models(warehouse, config, steps).items()
    ]


def known_evaluations(
    warehouse: Warehouse,
    run_id: str,
    models: Sequence[KnownModel],
    *,
    tasks: "Mapping[str, ItemTask | ObjectiveTask | None]",
    settings: EvaluationSettings,
) -> dict[tuple[int | None, str], Evaluation]:
    """Scores that are stored with a run, by step and task.

    Args:
        warehouse: Where the run is.
        run_id: The run.
        models: Of the run.
        tasks: By name; None for a benchmark whose items dmix does not have.
        settings: How they would be scored; with `again`, none counts.
    """
    found: dict[tuple[int | None, str], Evaluation] = {}
    for model in () if settings.again else models:
        for name, items in tasks.items():
            facts = score_facts(model.content, name, items, settings)
            scores = stored_scores(scores_file(warehouse, run_id, model.step, name), facts)
            if scores is not None:
                found[model.step, name] = Evaluation(
                    model.step, name, scores[0], stored=True, item_scores=scores[1]
                )
    return found


def scores_file(warehouse: Warehouse, run_id: str, step: int | None, task: str) -> Path:
    """Where the scores of a model of a run on a task are."""
    return warehouse.run(run_id) / "evaluations" / f"step{step}-{slug(task)}.json"


def score_facts(
    content: Mapping[str, str],
    task: str,
    items: "ItemTask | ObjectiveTask | None",
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """What scores of a task depend on besides the files of the run."""
    return {
        "content": dict(content),
        "task": task,
        "kind": items.kind if items else None,
        "items_sha256": items.sha256 if items else None,
        "limit": settings.limit,
        "few_shot": settings.few_shot,
    }


def stored_scores(path: Path, facts: dict[str, Any]) -> tuple[tuple[Score, ...], tuple[float, ...]] | None:
    """Scores, and those of single items, of a file with these facts."""
    if not path.is_file():
        return None
    content = read_json(path)
    content.setdefault("content", facts["content"])  # earlier versions kept no digests of models
    if {name: content.get(name) for name in facts} != facts:
        return None
    return tuple(Score(**score) for score in content["scores"]), tuple(content.get("item_scores", ()))


def terms_of(task: "ObjectiveTask | None") -> dict[str, Any]:
    """Role and scale of an objective, which stand beside its stored scores for the report."""
    return {} if task is None else {"role": task.role, "scale": task.scale}


def keep_terms(path: Path, task: "ObjectiveTask | None") -> None:
    """Writes role and scale of an objective into scores that were stored without them, or with others.

    Scores depend on neither. A file of an earlier version lacks them; another environment file with the same
    items may state others.
    """
    told = terms_of(task)
    if not told or not path.is_file():
        return
    content = read_json(path)
    if {name: content.get(name, "none") for name in told} != told:
        publish_json(path, {**content, **told})


def same_start(
    warehouse: Warehouse, run_id: str, task: str, facts: Mapping[str, Any]
) -> tuple[Path, tuple[tuple[Score, ...], tuple[float, ...]]] | None:
    """Scores of the same starting model with another run that scores alike; None if there are none.

    Args:
        warehouse: Where the runs are.
        run_id: The run that lacks the scores.
        task: The task.
        facts: What the scores depend on, the digest of the starting model included.
    """
    own = _scores_alike(read_config(warehouse, run_id))
    for path in sorted(warehouse.root.glob(f"runs/*/evaluations/step0-{slug(task)}.json")):
        if "content" not in read_json(path):
            continue  # earlier versions kept no digests of models
        scores = stored_scores(path, dict(facts))
        try:
            alike = scores is not None and _scores_alike(read_config(warehouse, path.parts[-3])) == own
        except NotFoundError:
            continue
        if scores is not None and alike:
            return path, scores
    return None


def _scores_alike(config: RunConfig) -> tuple[Any, ...]:
    """What the scores of a starting model depend on besides its digest: tokenizer and number format."""
    training = config.training
    return config.dataset, training.precision, training.reset_at_documents
