"""The learning chain on the simulator, and how far from the optimum it ends (method §6).

What `dmix agent sft` and `dmix agent rl` do to a farm, done to simulated runs. Shapes: P runs,
T steps, N domains.
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tests.mixing.testbed.simulated import (
    SCALE,
    roll_out,
    simulated_episodes,
    simulated_farm,
)
from tests.mixing.testbed.simulator import Simulator
from torch import Tensor

from dmix.mixing.agent.agent import Agent
from dmix.mixing.agent.architectures import config_for, seeded_agent
from dmix.mixing.learning.rl import clone_best, fit_simulators
from dmix.mixing.learning.rl_fit import RlResult, fit_cql
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.mixing.offline.episodes import Episodes
from dmix.mixing.space.domains import Array

logger = logging.getLogger(__name__)

Policy = Callable[[Tensor], Tensor]

# Schedules of Dirichlet(1) mixtures whose mean gain is n = 0.
_RANDOM_SCHEDULES = 2000

# RL of the set agent at toy size.
SET_TOY = RlSettings(
    architecture="set",
    steps=6,
    returns_steps=2,
    actor_delay=1,
    batch_episodes=8,
    imagined_every=2,
    imagined_runs=4,
    simulators=2,
    simulator_steps=10,
    simulator_width=8,
    clone_epochs=2,
    hidden_size=16,
    feedforward=32,
    heads=2,
    layers=1,
    domain_width=8,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Learnt:
    """What came of learning from simulated runs.

    Attributes:
        episodes: The farm.
        cloned: The agent after cloning the best share.
        result: Of CQL.
    """

    episodes: Episodes
    cloned: Agent
    result: RlResult

    @property
    def policy(self) -> Policy:
        """The trained agent."""
        return policy_of(self.result.agent, domains=len(self.episodes.space))


def learn(
    simulators: Sequence[Simulator],
    schedules_PTN: Array,
    *,
    settings: RlSettings,
    progress: Callable[[str], None] = logger.info,
) -> Learnt:
    """Runs the schedules, clones the best share and trains by CQL.

    Args:
        simulators: Run p follows simulator p mod their number.
        schedules_PTN: The farm.
        settings: Unresolved ones; their seed also draws the farm's noise.
        progress: Gets a line now and then.
    """
    settings = settings.resolved("default")
    assert settings.preset is not None, "resolved settings have a preset"
    as_sets = settings.architecture == "set"
    episodes = simulated_episodes(
        simulators,
        schedules_PTN,
        np.random.default_rng(settings.seed),
        preset=settings.preset,
        as_sets=as_sets,
    )
    cloned = new_agent(episodes, settings)
    clone_best(cloned, episodes, settings=settings, progress=progress)
    models = fit_simulators(
        simulated_farm(simulators[0], episodes, preset=settings.preset, as_sets=as_sets),
        settings=settings,
        progress=progress,
    )
    result = fit_cql(cloned, episodes, settings=settings, simulators=models, progress=progress)
    return Learnt(episodes=episodes, cloned=cloned, result=result)


def new_agent(episodes: Episodes, settings: RlSettings) -> Agent:
    """An untrained agent for simulated episodes, of the architecture and widths of resolved settings."""
    names = [f"skill-{index}" for index in range(episodes.changes_ESD.shape[2])]
    config = config_for(
        dataclasses.replace(settings, context=episodes.valid_mask_ET.shape[1]),
        labels=episodes.space.labels,
        scales=dict.fromkeys(names, SCALE),
        preset=settings.preset or "default",
    )
    return seeded_agent(config, seed=settings.seed)


def policy_of(agent: Agent, *, domains: int | None = None) -> Policy:
    """The agent as `roll_out` wants it; all domains of the simulator are active.

    Args:
        agent: Of either kind.
        domains: N, which a set agent does not know; None takes that of the paper's agent.
    """
    active_N = torch.ones(agent.config.domains if domains is None else domains, dtype=torch.bool)

    def policy(tokens_PTX: Tensor) -> Tensor:
        mixtures: Tensor = agent(tokens_PTX, active_N.expand(len(tokens_PTX), -1))
        return mixtures

    return policy


def mean_gain(
    policy: Policy,
    simulators: Sequence[Simulator],
    *,
    seed: int,
    shuffled: bool = False,
    as_sets: bool = False,
) -> float:
    """Mean of J over one run in each simulator, under noisy feedback.

    Args:
        policy: Tokens to mixtures.
        simulators: One a run.
        seed: Of the noise and of the order of `shuffled`.
        shuffled: Show every run the feedback of another one.
        as_sets: Whether the policy is a set agent.
    """
    rng = np.random.default_rng(seed)
    seen_P = rng.permutation(len(simulators)).tolist() if shuffled else None
    schedules_PTN = roll_out(policy, simulators, rng, as_sets=as_sets, seen_P=seen_P)
    gains = [s.gain(schedules_PTN[p : p + 1])[0] for p, s in enumerate(simulators)]
    return float(np.mean(gains))


def random_gain(simulator: Simulator, *, seed: int = 0) -> float:
    """J_random: mean gain of schedules of independent Dirichlet(1) mixtures."""
    rng = np.random.default_rng(seed)
    shape = (_RANDOM_SCHEDULES, simulator.steps)
    return float(simulator.gain(rng.dirichlet(np.ones(simulator.num_domains), shape)).mean())
