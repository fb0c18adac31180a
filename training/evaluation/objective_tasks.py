"""Objectives of an environment file as tasks of `dmix eval`: the score of a run, on other items.

The score is that of `dmix.training.scoring.environment`, in nats per token, so it can be compared
with the feedback of the run. It needs the tokenizer of the run's dataset and no other package.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmix.mixing.trajectories.objectives import Environment, items_digests, load_environment, read_items
from dmix.training.evaluation.judging import items_sha256
from dmix.training.evaluation.stored import Score
from dmix.training.run.config import read_config
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

METRIC = "score"


@dataclass(frozen=True)
class ObjectiveTask:
    """One objective as a task.

    Attributes:
        name: Name of the environment's file and of the objective, such as `judging/books`.
        environment: An environment of this objective alone.
        num_items: Number of its items.
        sha256: Digest of the items and of their form.
        scale: s_o in nats per token that the file gives; None where it gives none.
    """

    name: str
    environment: Environment
    num_items: int
    sha256: str
    scale: float | None = None

    @property
    def kind(self) -> str:
        """Form of the items."""
        return self.environment.objectives[0].kind

    @property
    def role(self) -> str:
        """general or target."""
        return self.environment.objectives[0].role


def read_objective_tasks(path: Path) -> list[ObjectiveTask]:
    """The objectives of an environment file, or of the config.yaml of a run.

    Raises:
        NotFoundError: If a file does not exist.
        InputError: If the environment or a record is wrong.
    """
    environment = load_environment(path)
    digests = items_digests(environment)
    tasks = []
    for objective in environment.objectives:
        tasks.append(
            ObjectiveTask(
                f"{path.stem}/{objective.name}",
                dataclasses.replace(
                    environment, objectives=(dataclasses.replace(objective, weight=None),), scales={}
                ),
                len(read_items(objective, environment.folder)),
                items_sha256(digests[objective.name], objective.kind),
                environment.scales.get(objective.name),
            )
        )
    return tasks


class ObjectiveScorer:
    """Scores models of a run on objectives, with the tokenizer of its dataset and its precision.

    Args:
        warehouse: Where the run is.
        run_id: The run.
        limit: Most items of each objective; None for all.
    """

    def __init__(self, warehouse: Warehouse, run_id: str, *, limit: int | None = None) -> None:
        from dmix.mixing.trajectories.encoding import load_tokenizer_file

        config = read_config(warehouse, run_id)
        self._manifest = read_dataset_manifest(warehouse, config.dataset)
        file = warehouse.stream(self._manifest.dataset) / "tokenizer.json"
        self._tokenizer = load_tokenizer_file(file, self._manifest.tokenizer)
        self._training, self._limit = config.training, limit

    def item_scores(self, task: ObjectiveTask, network: "PreTrainedModel") -> list[float]:
        """Score of each item in nats per token, in the order of the file."""
        from dmix.training.model.language_model import LanguageModel
        from dmix.training.model.precision import precision_context
        from dmix.training.scoring.environment import Scorer

        environment = task.environment
        if self._limit is not None:
            (objective,) = environment.objectives
            limit = min(self._limit, objective.limit or self._limit)
            environment = dataclasses.replace(
                environment, objectives=(dataclasses.replace(objective, limit=limit),)
            )
        model = LanguageModel(network)
        scorer = Scorer(
            environment,
            tokenizer=self._tokenizer,
            tokenizer_file=self._manifest.tokenizer,
            max_length=model.max_length,
        )
        found: list[float] = scorer.item_scores(model, precision=precision_context(self._training)).tolist()
        return found


def mean_score(task: str, item_scores: Sequence[float]) -> Score:
    """The mean over items, with its standard error; one item has none."""
    count = len(item_scores)
    error = float(np.std(item_scores, ddof=1) / np.sqrt(count)) if count > 1 else None
    return Score(task=task, metric=METRIC, value=float(np.mean(item_scores)), stderr=error, items=count)
