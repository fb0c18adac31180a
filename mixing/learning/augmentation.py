"""A farm seen otherwise: coarser domains, fewer objectives and other weights of them.

One farm has one domain space and one utility, and an agent that learns in them alone need not make
sense in others. But a farm says what would have been seen in many: a run over coarser domains is
the same run with shares summed over groups, and a utility of fewer or re-weighted objectives is
another sum of the same scores. So a set agent learns from random augmentations of its farm and of the
simulators fitted on it (in the manner of domain randomisation, Tobin et al. 2017, arXiv
1703.06907). In a simulator, a group's share goes to its members in natural proportion, as a
dataset of coarser domains would be drawn.

Shapes: E episodes, T steps, S = T + 1 states, N domains of the farm, G groups of them (the domains
of the view), D objectives, P runs.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmix.mixing.agent.features import RunContext
from dmix.mixing.agent.set_features import ObjectiveSpec
from dmix.mixing.offline.episodes import Episodes
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.world_model.learned_simulator import LearnedSimulator, ScoreModel

# Share of random augmentations that keep the objectives and the weights of the farm.
_SAME_OBJECTIVES = 0.5
# Share of the others whose objectives count alike.
_EQUAL_WEIGHTS = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What a policy learns on.

    Attributes:
        episodes: Of a farm.
        simulators: Fitted on them; may be none.
    """

    episodes: Episodes
    simulators: tuple[LearnedSimulator, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Augmentation:
    """Which domains count as one, and what is asked of the run.

    Attributes:
        space: The domains of the view.
        members_GN: 1 where a domain of the farm is in a domain of the view, 0 elsewhere.
        shown: Indices of the objectives that the policy reads.
        weights_D: Their lambda, 0 on the others, summing to 1.
    """

    space: DomainSpace
    members_GN: Vector
    shown: tuple[int, ...]
    weights_D: Vector


def identity_augmentation(task: Task) -> Augmentation:
    """The farm as it is, without the domains that have no samples."""
    simulator = task.simulators[0]
    group_N = np.where(task.episodes.space.active_N, _places(task.episodes.space), -1)
    return _augmentation(
        task.episodes.space, group_N, tuple(range(len(simulator.weights_D))), simulator.weights_D
    )


def random_augmentation(task: Task, rng: np.random.Generator) -> Augmentation:
    """Random groups, their number log-uniform in each field, and in half of the views random objectives."""
    space, weights_D = task.episodes.space, task.simulators[0].weights_D
    group_N = np.full(len(space), -1)
    for field_N in (~space.target_N, space.target_N):
        members = np.flatnonzero(space.active_N & field_N)
        if len(members):
            number = int(np.exp(rng.uniform(0, np.log(len(members) + 1))))
            more = rng.integers(number, size=len(members) - number)
            group_N[members] = rng.permutation(np.concatenate([np.arange(number), more]))
    shown = tuple(range(len(weights_D)))
    if rng.random() >= _SAME_OBJECTIVES:
        kept = rng.choice(len(weights_D), rng.integers(1, len(weights_D) + 1), replace=False)
        shown, weights_D = tuple(sorted(kept.tolist())), np.zeros(len(weights_D))
        equal = rng.random() < _EQUAL_WEIGHTS
        weights_D[list(shown)] = 1 / len(shown) if equal else rng.dirichlet(np.ones(len(shown)))
    return _augmentation(space, group_N, shown, weights_D)


def seen(task: Task, augmentation: Augmentation) -> Task:
    """The same episodes and simulators, as a run over the view would show them."""
    simulators = tuple(_seen_simulator(simulator, augmentation) for simulator in task.simulators)
    return Task(episodes=_seen_episodes(task.episodes, augmentation, simulators[0]), simulators=simulators)


def _places(space: DomainSpace) -> NDArray[np.int64]:
    """The number of each active domain among those of its field."""
    place_N = np.zeros(len(space), dtype=np.int64)
    for field_N in (~space.target_N, space.target_N):
        place_N[field_N] = np.cumsum(space.active_N[field_N]) - 1
    return place_N


def _augmentation(
    space: DomainSpace, group_N: NDArray[np.int64], shown: tuple[int, ...], weights_D: Vector
) -> Augmentation:
    """The view of these groups, numbered from 0 in each field; -1 leaves a domain out."""
    labels = tuple(f"group-{number:04d}" for number in range(int(group_N.max()) + 1))
    members_GN = np.zeros((2 * len(labels), len(space)))
    there = np.flatnonzero(group_N >= 0)
    members_GN[group_N[there] + space.target_N[there] * len(labels), there] = 1
    samples_G = (members_GN @ space.samples_N).astype(np.int64)
    return Augmentation(
        space=DomainSpace(labels, samples_G), members_GN=members_GN, shown=shown, weights_D=weights_D
    )


def _seen_simulator(simulator: LearnedSimulator, augmentation: Augmentation) -> LearnedSimulator:
    context, shown = simulator.context, list(augmentation.shown)
    assert context.objective_spec is not None, "views are for set agents"
    spread_GN = augmentation.members_GN * simulator.context.space.natural_N
    spread_GN = spread_GN / np.maximum(spread_GN.sum(1, keepdims=True), np.finfo(float).tiny)
    return replace(
        simulator,
        model=_Spread(simulator.model, torch.from_numpy(spread_GN).float()),
        weights_D=augmentation.weights_D,
        shown=augmentation.shown,
        context=RunContext(
            space=augmentation.space,
            steps=context.steps,
            supply_N=augmentation.members_GN @ context.supply_N,
            passes=context.passes,
            limited=context.limited,
            objective_spec=ObjectiveSpec(
                weights_D=augmentation.weights_D[shown], roles_D=context.objective_spec.roles_D[shown]
            ),
        ),
    )


def _seen_episodes(episodes: Episodes, augmentation: Augmentation, simulator: LearnedSimulator) -> Episodes:
    actions_ETG = episodes.actions_ETN.double().numpy() @ augmentation.members_GN.T
    start_E1G = np.tile(augmentation.space.start_N, (len(episodes), 1, 1))
    tokens_ESX = simulator.tokens(
        np.concatenate([start_E1G, actions_ETG], axis=1), episodes.changes_ESD.double().numpy()
    )
    utility_ES = episodes.changes_ESD @ torch.from_numpy(augmentation.weights_D).float()
    return replace(
        episodes,
        space=augmentation.space,
        tokens_ESX=torch.from_numpy(tokens_ESX),
        utility_ES=utility_ES,
        actions_ETN=torch.from_numpy(actions_ETG).float(),
        rewards_ET=utility_ES.diff(dim=1) * episodes.valid_mask_ET,
    )


@dataclass(frozen=True, eq=False)
class _Spread:
    """A model of the farm's domains, asked about mixtures of the view's."""

    model: ScoreModel
    spread_GN: Tensor

    @property
    def unit_D(self) -> Tensor:
        return self.model.unit_D

    def next_distribution(self, mixtures_PTG: Tensor, changes_PTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.model.next_distribution(mixtures_PTG @ self.spread_GN, changes_PTD)
