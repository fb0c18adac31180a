"""Supervised fine-tuning of the agent on trajectories (Eq. 4 of arXiv 2507.15640).

Squared error between the agent's mixture and that of the K = 1 trajectories, for t = 1 … |tau|-1,
with teacher forcing: one causal forward pass gives all steps of a trajectory. A set agent learns
from several sets of different domain spaces at once; a batch holds trajectories of one of them.
Shapes: B windows, T tokens, X token width, N domains.
"""

import copy
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmix.mixing.agent.agent import Agent
from dmix.mixing.agent.architectures import config_for, seeded_agent
from dmix.mixing.agent.features import Tokens
from dmix.mixing.agent.folders import check_free
from dmix.mixing.agent.set_encoder import seen_space
from dmix.mixing.agent.store import publish_agent
from dmix.mixing.learning.outline import load_sft_datasets
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.learning.sft_batches import SftBatch, batches, split
from dmix.mixing.offline.sft_examples import Example, SftDataset
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import doing, during
from dmix.warehouse_schema.sizes import num_text

__all__ = ["SftResult", "SftSettings", "fit", "fit_sets", "load_sft_datasets", "squared_error", "train_sft"]

logger = logging.getLogger(__name__)

_REPORT_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class SftResult:
    """What came of a fine-tuning.

    Attributes:
        train_losses: Mean squared error (summed over domains) a step, by epoch. With several sets
            each error counts as `error_weights` says.
        held_out_losses: The same on held-out trajectories; empty if there are none.
        best_epoch: The epoch whose weights were kept, from 1.
        set_losses: Mean squared error a step of the kept weights, one a set; on held-out
            trajectories if every set has some.
        trajectories: Number of trajectories learnt from, held-out ones included.
        with_feedback: How many of them have feedback.
    """

    train_losses: tuple[float, ...]
    held_out_losses: tuple[float, ...]
    best_epoch: int
    set_losses: tuple[float, ...] = ()
    trajectories: int = 0
    with_feedback: int = 0


def train_sft(
    warehouse: Warehouse,
    *,
    set_name: str,
    agent_name: str,
    settings: SftSettings,
    more_sets: Sequence[str] = (),
    overwrite: bool = False,
    progress: Callable[[str], None] = logger.info,
) -> SftResult:
    """Trains an agent on a set and publishes it as `agents/<name>/`.

    Args:
        warehouse: Holds the sets and takes the agent.
        set_name: Set of trajectories.
        agent_name: Name of the agent.
        settings: How to train.
        more_sets: Further sets, of any domains, for a set agent.
        overwrite: Replace an agent of that name.
        progress: Gets a line now and then.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If a set has no trajectories to learn from, the agent exists, or several sets
            are given to the paper's agent.
    """
    check_free(warehouse, name=agent_name, overwrite=overwrite)
    names = (set_name, *more_sets)
    datasets = load_sft_datasets(warehouse, set_names=names, settings=settings)
    agent = _new_agent(datasets, set_names=names, settings=settings)
    examples = sum(len(dataset.examples) for dataset in datasets)
    progress(f"{num_text(examples, 'trajectory')}, {num_text(agent.num_parameters(), 'parameter')}")
    result = dataclasses.replace(
        fit_sets(agent, datasets, settings=settings, progress=progress),
        trajectories=examples,
        with_feedback=sum(dataset.with_feedback for dataset in datasets),
    )
    publish_agent(
        warehouse, agent=agent, name=agent_name, stage="sft", notes=_card_notes(result), overwrite=overwrite
    )
    return result


def fit(
    agent: Agent,
    examples: Sequence[Example],
    *,
    space: DomainSpace,
    settings: SftSettings,
    progress: Callable[[str], None] = logger.info,
) -> SftResult:
    """`fit_sets` on the examples of one space."""
    return fit_sets(agent, [SftDataset(examples=examples, space=space)], settings=settings, progress=progress)


@during("")
def fit_sets(
    agent: Agent,
    sets: Sequence[SftDataset],
    *,
    settings: SftSettings,
    progress: Callable[[str], None] = logger.info,
) -> SftResult:
    """Trains `agent` in place and leaves it with the weights of its best epoch.

    The best epoch is that of the lowest held-out loss, or of the lowest training loss where
    nothing is held out.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    agent.to(device).train()
    rng = np.random.default_rng(settings.seed)
    training, held_out = split(sets, settings=settings, rng=rng, device=device)
    optimizer = torch.optim.AdamW(
        agent.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    train_losses: list[float] = []
    held_losses: list[float] = []
    best, best_epoch, best_weights = np.inf, 0, copy.deepcopy(agent.state_dict())
    reported = time.monotonic()
    for epoch in range(1, settings.epochs + 1):
        doing(f"epoch {epoch} of {settings.epochs}")
        train_losses.append(_epoch(agent, batches(training, settings, rng), optimizer=optimizer))
        if held_out:
            held_losses.append(_epoch(agent, batches(held_out, settings), optimizer=None))
        judged = (held_losses or train_losses)[-1]
        if judged < best:
            best, best_epoch, best_weights = judged, epoch, copy.deepcopy(agent.state_dict())
        if time.monotonic() - reported > _REPORT_SECONDS:
            reported = time.monotonic()
            progress(f"epoch {epoch}: squared error {train_losses[-1]:.5f}, held out {judged:.5f}")
        if epoch - best_epoch >= settings.patience:
            break
    agent.load_state_dict(best_weights)
    judged_on = held_out if len(held_out) == len(training) else training
    plain = [dataclasses.replace(part, weight=1.0) for part in judged_on]
    set_losses = [_epoch(agent, batches([part], settings), optimizer=None) for part in plain]
    agent.to("cpu").eval()
    progress(f"kept epoch {best_epoch} of {len(train_losses)}: squared error {best:.5f}")
    return SftResult(
        train_losses=tuple(train_losses),
        held_out_losses=tuple(held_losses),
        best_epoch=best_epoch,
        set_losses=tuple(set_losses),
    )


def squared_error(agent: Agent, batch: Sequence[Example], active_N: Tensor) -> tuple[Tensor, int]:
    """(sum over steps of the squared L2 error, number of steps), Eq. 4 for one padded batch.

    Tokens beyond the context are handled as in a run: a step t > context is judged in a window of
    its own, the last `context` tokens before it.
    """
    windows = [window for example in batch for window in _windows(example, agent.config.context)]
    longest = max(len(tokens_TX) for tokens_TX, _, _ in windows)
    tokens_BTX = torch.zeros(len(windows), longest, windows[0][0].shape[1])
    target_BTN = torch.zeros(len(windows), longest, windows[0][1].shape[1])
    judged_BT = torch.zeros(len(windows), longest, dtype=torch.bool)
    for row, (tokens_TX, mixtures_TN, first) in enumerate(windows):
        length = len(tokens_TX)
        tokens_BTX[row, :length] = torch.from_numpy(tokens_TX)
        target_BTN[row, :length] = torch.from_numpy(mixtures_TN)
        judged_BT[row, first:length] = True
    device = active_N.device
    mixture_BTN = agent(tokens_BTX.to(device), active_N.expand(len(windows), -1))
    error_BT = (mixture_BTN - target_BTN.to(device)).square().sum(-1)
    return error_BT[judged_BT.to(device)].sum(), int(judged_BT.sum())


def _windows(example: Example, context: int) -> Iterator[tuple[Tokens, NDArray[np.float32], int]]:
    """(tokens, following mixtures, first judged position) of every window of an example."""
    length = len(example.tokens_TX)
    yield example.tokens_TX[:context], example.mixtures_TN[:context], 0
    for end in range(context + 1, length + 1):
        part = slice(end - context, end)
        yield example.tokens_TX[part], example.mixtures_TN[part], context - 1


def _epoch(
    agent: Agent, sft_batches: Sequence[SftBatch], *, optimizer: torch.optim.Optimizer | None
) -> float:
    """Mean weighted squared error a step; takes gradient steps if there is an optimiser."""
    total, steps = 0.0, 0
    with torch.set_grad_enabled(optimizer is not None):
        for batch in sft_batches:
            error, count = squared_error(agent, batch.examples, batch.active_N)
            error = batch.weight * error
            if optimizer is not None:
                optimizer.zero_grad(set_to_none=True)
                (error / count).backward()
                torch.nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
                optimizer.step()
            total, steps = total + float(error.detach()), steps + count
    return total / steps


def _new_agent(datasets: Sequence[SftDataset], *, set_names: Sequence[str], settings: SftSettings) -> Agent:
    first = datasets[0]
    config = config_for(
        settings,
        labels=first.space.labels,
        scales=_scales(datasets),
        preset=first.preset,
        set_name=", ".join(set_names),
        target_supply=first.target_supply,
        spaces=[
            seen_space(dataset.space, set_name=name, target_supply=dataset.target_supply)
            for name, dataset in zip(set_names, datasets, strict=True)
        ],
    )
    return seeded_agent(config, seed=settings.seed)


def _scales(datasets: Sequence[SftDataset]) -> dict[str, float]:
    """s_i by name; the mean where sets have an objective in common."""
    found: dict[str, list[float]] = {}
    for dataset in datasets:
        for name, scale in zip(dataset.objectives, dataset.scales_D, strict=True):
            found.setdefault(name, []).append(float(scale))
    return {name: float(np.mean(scales)) for name, scales in found.items()}


def _card_notes(result: SftResult) -> list[str]:
    losses = f"Squared error per step: {result.train_losses[result.best_epoch - 1]:.5f} in training"
    if result.held_out_losses:
        losses += f", {result.held_out_losses[result.best_epoch - 1]:.5f} held out"
    notes = [
        f"dmix trained the agent (Eq. 4) on {num_text(result.trajectories, 'trajectory')}, "
        f"{result.with_feedback} of them with feedback.",
        f"{losses}.",
    ]
    if not result.with_feedback:
        notes.append("No trajectory had feedback, so this agent has not learned to use feedback.")
    return notes
