"""What gradients are taken of, and over how much text; light, so that a dry run can plan it.

Shapes: D objectives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.effects.gradients import GradientBudget, gradient_budget
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.encoding import EncodedItem, encode_item, load_tokenizer_file
from dmix.mixing.trajectories.objectives import Environment, read_items
from dmix.training.model.settings import TrainingSettings
from dmix.warehouse_schema.files.manifests import DatasetManifest

SKETCH = 1_048_573
"""Numbers of a sketch; a prime, so that no column of a weight matrix meets itself."""
# Tokens of one pass over items; logits of the whole vocabulary are kept for each of them.
PASS_TOKENS = 2048


@dataclass(frozen=True, kw_only=True)
class GradientTask:
    """What gradients are taken of.

    Attributes:
        manifest: The dataset.
        samples: At most so many samples of the domain of an index, evenly over its text; shape (S, L).
        tokenizer_file: Of the dataset.
        environment: The objectives.
        training: Says how AdamW scales gradients, and how long a pass may be.
    """

    manifest: DatasetManifest
    samples: Callable[[int, int], NDArray[Any]]
    tokenizer_file: Path
    environment: Environment
    training: TrainingSettings


def encoded_items(task: GradientTask, *, max_length: int) -> list[list[EncodedItem]]:
    """The items of each objective as ids."""
    tokenizer = load_tokenizer_file(task.tokenizer_file, task.manifest.tokenizer)
    eot_id = task.manifest.tokenizer.eot_id
    return [
        [
            encode_item(item, tokenizer=tokenizer, eot_id=eot_id, max_length=max_length)
            for item in read_items(objective, task.environment.folder)
        ]
        for objective in task.environment.objectives
    ]


def budget_of(task: GradientTask, *, tokens: float, max_length: int, **named: str) -> GradientBudget:
    """The text and items that so many tokens suffice for; named arguments as in `gradient_budget`."""
    items = encoded_items(task, max_length=max_length)
    return gradient_budget(
        tokens=tokens,
        seq_len=task.manifest.seq_len,
        domains=int(DomainSpace.of_dataset(task.manifest).active_N.sum()),
        item_tokens_D=np.array([sum(len(item.ids) for item in of) for of in items], np.float64),
        items_D=np.array([len(of) for of in items], np.float64),
        **named,
    )
