"""Sets of trajectories in batches for fine-tuning: what is held out, and what an error counts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.offline.sft_examples import Example, SftDataset


@dataclass(frozen=True, kw_only=True, eq=False)
class SftBatch:
    """Examples of one space, with what an error in them counts."""

    examples: Sequence[Example]
    active_N: Tensor
    weight: float


def split(
    sets: Sequence[SftDataset], *, settings: SftSettings, rng: np.random.Generator, device: torch.device
) -> tuple[list[SftBatch], list[SftBatch]]:
    """Training and held-out examples of every set; sets below 5 trajectories hold none out."""
    training: list[SftBatch] = []
    held_out: list[SftBatch] = []
    for taught, weight in zip(sets, error_weights(sets), strict=True):
        order = rng.permutation(len(taught.examples))
        held = int(np.ceil(settings.held_out * len(order))) if len(order) >= 5 else 0
        active_N = torch.tensor(taught.space.active_N, device=device)
        for sft_batches, rows in ((held_out, order[:held]), (training, order[held:])):
            if len(rows):
                examples = [taught.examples[row] for row in rows]
                sft_batches.append(SftBatch(examples=examples, active_N=active_N, weight=weight))
    return training, held_out


def error_weights(sets: Sequence[SftDataset]) -> list[float]:
    """What a squared error counts in each set: 1 over the variance of its mixtures, times the mean one.

    Between a thousand domains mixtures are close to each other however they differ, and errors
    that small would leave the learning to the sets of few domains. One set has weight 1.
    """
    variances = []
    for taught in sets:
        mixtures = np.concatenate([example.mixtures_TN for example in taught.examples])
        variances.append(max(1e-12, float(np.square(mixtures - mixtures.mean(axis=0)).sum(axis=1).mean())))
    return [float(np.mean(variances)) / variance if len(sets) > 1 else 1.0 for variance in variances]


def batches(
    sft_batches: Sequence[SftBatch], settings: SftSettings, rng: np.random.Generator | None = None
) -> list[SftBatch]:
    """The examples in batches, each of one space; in a new order with `rng`."""
    made = []
    for batch in sft_batches:
        order = np.arange(len(batch.examples)) if rng is None else rng.permutation(len(batch.examples))
        for first in range(0, len(order), settings.batch_trajectories):
            rows = order[first : first + settings.batch_trajectories]
            made.append(replace(batch, examples=[batch.examples[row] for row in rows]))
    if rng is not None and len(sft_batches) > 1:
        made = [made[row] for row in rng.permutation(len(made))]
    return made
