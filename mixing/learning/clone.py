"""Offline baselines that imitate a farm: behaviour cloning, and cloning conditioned on the outcome.

Cloning is SFT (Eq. 4) on the trajectories that ended best, or on all. Conditioned on the outcome,
the agent reads the final utility of the run that it imitates as one more column of every token,
and is then asked for a high one: Decision Transformer (Chen et al. 2021, arXiv 2106.01345) with the
outcome of the run in place of the return-to-go, as in RvS (Emmons et al. 2022, arXiv 2112.10751).
Little is lost, as the return-to-go is the outcome less the utility so far, and tokens hold the
scores that this is made of. And a constant column is a bias: it is folded into the projection
once the aim is chosen, so that what is published is an agent like any other.

Shapes: E episodes, T transitions, X token width.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dmix.mixing.agent.agent import MixingAgent
from dmix.mixing.agent.architectures import seeded_agent
from dmix.mixing.agent.folders import check_free
from dmix.mixing.agent.store import publish_agent
from dmix.mixing.learning.rl import examples_of
from dmix.mixing.learning.settings.clone import CloneSettings
from dmix.mixing.learning.sft import SftResult, fit
from dmix.mixing.offline.episodes import Episodes
from dmix.mixing.offline.farm import config_of_farm, load_farm
from dmix.mixing.offline.sft_examples import Example
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.sizes import num_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CloneSummary:
    """What came of a training, for people.

    Attributes:
        trajectories: How many were imitated.
        lowest_utility, mean_utility: Of them, in the unit of the set's U.
        aimed_utility: What the agent aims at; None if it is not conditioned.
        train_losses, held_out_losses, best_epoch: As in `SftResult`.
    """

    trajectories: int
    lowest_utility: float
    mean_utility: float
    aimed_utility: float | None
    train_losses: tuple[float, ...]
    held_out_losses: tuple[float, ...]
    best_epoch: int


def train_clone(
    warehouse: Warehouse,
    *,
    set_name: str,
    agent_name: str,
    settings: CloneSettings,
    overwrite: bool = False,
    progress: Callable[[str], None] = logger.info,
) -> CloneSummary:
    """Trains an agent on a set with feedback and publishes it as `agents/<name>/`.

    Args:
        warehouse: Holds the set and takes the agent.
        set_name: Set of trajectories with feedback.
        agent_name: Name of the agent.
        settings: How to train.
        overwrite: Replace an agent of that name.
        progress: Gets a line now and then.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If no trajectory of it was scored to its end, or the agent exists.
    """
    check_free(warehouse, name=agent_name, overwrite=overwrite)
    farm = load_farm(warehouse, set_name, preset=settings.preset)
    agent = seeded_agent(config_of_farm(farm, settings=settings), seed=settings.seed)
    assert isinstance(agent, MixingAgent), "clones have the paper's architecture"
    episodes = num_text(len(farm.episodes), "trajectory")
    progress(f"{episodes} with feedback, {num_text(agent.num_parameters(), 'parameter')}")
    summary = clone(agent, farm.episodes, settings=settings, progress=progress)
    publish_agent(
        warehouse, agent=agent, name=agent_name, stage="clone", notes=_notes(summary), overwrite=overwrite
    )
    return summary


def clone(
    agent: MixingAgent,
    episodes: Episodes,
    *,
    settings: CloneSettings,
    progress: Callable[[str], None] = logger.info,
) -> CloneSummary:
    """Fits `agent` in place to the best share of the episodes.

    Raises:
        InputError: If no episode came to its end.
    """
    taught = episodes.best(settings.best)
    outcome_E = taught.gains_E.double().numpy()
    if settings.aim is None:
        aimed = None
        result = fit(agent, examples_of(taught), space=taught.space, settings=settings, progress=progress)
    else:
        aimed = float(np.quantile(outcome_E, settings.aim))
        result = _fit_conditioned(agent, taught, outcome_E, aimed=aimed, settings=settings, progress=progress)
    return CloneSummary(
        trajectories=len(taught),
        lowest_utility=float(outcome_E.min()),
        mean_utility=float(outcome_E.mean()),
        aimed_utility=aimed,
        train_losses=result.train_losses,
        held_out_losses=result.held_out_losses,
        best_epoch=result.best_epoch,
    )


def _fit_conditioned(
    agent: MixingAgent,
    taught: Episodes,
    outcome_E: np.ndarray,
    *,
    aimed: float,
    settings: CloneSettings,
    progress: Callable[[str], None],
) -> SftResult:
    """Fits with the outcome, in deviations from its mean, as the last column of every token."""
    centre, spread = outcome_E.mean(), outcome_E.std() or 1.0
    examples = [
        Example(
            tokens_TX=np.pad(
                example.tokens_TX, ((0, 0), (0, 1)), constant_values=np.float32((outcome - centre) / spread)
            ),
            mixtures_TN=example.mixtures_TN,
        )
        for example, outcome in zip(examples_of(taught), outcome_E, strict=True)
    ]
    plain = agent.encoder.project
    width = plain.in_features
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        column = torch.randn(plain.out_features, 1)
    wide = nn.Linear(width + 1, plain.out_features)
    with torch.no_grad():
        wide.weight.copy_(torch.cat([plain.weight, column], dim=1))
        wide.bias.copy_(plain.bias)
    agent.encoder.project = wide
    result = fit(agent, examples, space=taught.space, settings=settings, progress=progress)
    with torch.no_grad():
        plain.weight.copy_(wide.weight[:, :width])
        plain.bias.copy_(wide.bias + wide.weight[:, width] * ((aimed - centre) / spread))
    agent.encoder.project = plain
    return result


def _notes(summary: CloneSummary) -> list[str]:
    notes = [
        f"The agent imitates {num_text(summary.trajectories, 'trajectory')} of a farm (Eq. 4). Their final "
        f"utility is at least {summary.lowest_utility:.3f}, and {summary.mean_utility:.3f} on average."
    ]
    if summary.aimed_utility is not None:
        notes.append(
            "The agent also reads the final utility that a run should reach: "
            f"{summary.aimed_utility:.3f} (arXiv 2106.01345, 2112.10751)."
        )
    return notes
