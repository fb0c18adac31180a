"""The reference problems with known answers, and what the learning chain makes of them.

Problem A has two domains and six steps; B is the reference simulator; in C runs are of two hidden
types that only feedback tells apart; D has no recency. Agents have at most 0.1M parameters.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tests.mixing.testbed.simulated import (
    SCALE,
    random_schedules,
    roll_out,
    simulated_context,
    simulated_episodes,
)
from tests.mixing.testbed.simulated_learning import (
    Learnt,
    Policy,
    learn,
    mean_gain,
    new_agent,
    policy_of,
    random_gain,
)
from tests.mixing.testbed.simulator import Simulator, best_schedule

from dmix.mixing.learning.cql_losses import EpisodeBatch
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.learning.sft import fit
from dmix.mixing.offline.episodes import Episodes
from dmix.mixing.offline.sft_examples import Example
from dmix.mixing.space.domains import Array
from dmix.mixing.trajectories.algorithm1 import EarlierPaths, PathProblem, sample_path
from dmix.mixing.trajectories.candidates import HierarchicalDistribution

# Runs that a mean gain is taken over; its standard error is far below the margins of the problems.
RUNS = 200
TRAJECTORIES = 400
_SFT_PATHS = 21
_SFT_CANDIDATES = 20_000

SMALL = RlSettings(
    steps=2000,
    returns_steps=300,
    actor_learning_rate=1e-3,
    critic_learning_rate=2e-3,
    batch_episodes=64,
    action_samples=4,
    tau=0.03,
    hidden_size=32,
    feedforward=64,
    heads=2,
)

# What solves problem A with 0.02M parameters, in less than a minute.
QUICK: dict[str, Any] = {
    "trajectories": TRAJECTORIES,
    "steps": 600,
    "hidden_size": 16,
    "feedforward": 32,
    "actor_learning_rate": 2e-3,
    "critic_learning_rate": 3e-3,
    "simulators": 3,
}


def problem_a() -> Simulator:
    """Columns 1 and 4 of the reference problem alone, six steps."""
    return Simulator().restricted([0, 3], steps=6)


def problem_c() -> tuple[Simulator, Simulator]:
    """The two hidden types."""
    first, second = np.array([0.20, 0.03]), np.array([0.03, 0.20])
    return Simulator(forgetting_K=first), Simulator(forgetting_K=second)


def problem_d() -> Simulator:
    """Nothing fades, so that no schedule is better than the best static mixture."""
    return Simulator(forgetting_K=np.zeros(2))


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What gains are measured against: n = (J - J_random) / (J* - J_random)."""

    best: float
    random: float

    @classmethod
    def of(cls, simulator: Simulator) -> "Scale":
        return cls(best=best_schedule(simulator).gain, random=random_gain(simulator))

    def n(self, gain: float) -> float:
        return (gain - self.random) / (self.best - self.random)


def grid_optimum(simulator: Simulator, *, points: int) -> float:
    """The best gain of all schedules on a grid, for two domains."""
    shares = np.linspace(0, 1, points)
    schedules = np.array(list(itertools.product(shares, repeat=simulator.steps)))
    return float(simulator.gain(np.stack([1 - schedules, schedules], axis=-1)).max())


def learnt(problem: Sequence[Simulator], *, trajectories: int = TRAJECTORIES, **changes: Any) -> Learnt:
    """The learning chain on a farm of hierarchical-random trajectories; `changes` are of `SMALL`."""
    settings = replace(SMALL, **changes)
    schedules = random_schedules(problem[0], number=trajectories, seed=settings.seed)
    return learn(problem, schedules, settings=settings, progress=lambda line: None)


def judged(
    policy: Policy, simulators: Sequence[Simulator], *, shuffled: bool = False, as_sets: bool = False
) -> float:
    """Mean J of `RUNS` runs, an equal number of each simulator; `as_sets` for a set agent."""
    runs = list(simulators) * (RUNS // len(simulators))
    return mean_gain(policy, runs, seed=1, shuffled=shuffled, as_sets=as_sets)


def sft_policy(simulator: Simulator, settings: RlSettings) -> Policy:
    """An agent fine-tuned on the K = 1 paths of Algorithm 1 (Eq. 4)."""
    space = simulated_context(simulator).space
    problem = PathProblem(
        start_A=space.start_N,
        target_A=space.target_state_N,
        steps=simulator.steps,
        target_steps=float("inf"),
        alpha=1.0,
        beta=1.0,
        gamma=1.0,
        step_offset=1,
        distribution=HierarchicalDistribution(space),
        candidates=_SFT_CANDIDATES,
        seed=settings.seed,
    )
    earlier = EarlierPaths(steps=simulator.steps, domains=simulator.num_domains)
    buffer_AC = np.empty((simulator.num_domains, _SFT_CANDIDATES), np.float32)
    paths = []
    for path in range(_SFT_PATHS):
        paths.append(sample_path(problem, top_k=1, path=path, earlier=earlier, buffer_AC=buffer_AC))
        earlier.add(paths[-1])
    episodes = simulated_episodes(
        [simulator], np.stack([path[1:] for path in paths]), np.random.default_rng(settings.seed)
    )
    agent = new_agent(episodes, settings.resolved("default"))
    examples = [
        Example(tokens_TX=tokens_SX[:-1].numpy(), mixtures_TN=actions_TN.numpy())
        for tokens_SX, actions_TN in zip(episodes.tokens_ESX, episodes.actions_ETN, strict=True)
    ]
    fit(
        agent,
        examples,
        space=episodes.space,
        settings=SftSettings(hidden_size=settings.hidden_size, heads=settings.heads, seed=settings.seed),
        progress=lambda line: None,
    )
    return policy_of(agent)


@dataclass(frozen=True, kw_only=True)
class OverEstimation:
    """Mean of Q(s, pi(s)) less the return that follows, over on-policy states, in units of J."""

    mean: float
    standard_error: float


def over_estimation(learnt: Learnt, simulator: Simulator, *, states: int = 200) -> OverEstimation:
    """How much too high the critics value what the policy does.

    Standard errors are over runs, whose states are not independent.
    """
    runs = states // simulator.steps
    schedules_PTN = roll_out(learnt.policy, [simulator] * runs, np.random.default_rng(2))
    episodes = simulated_episodes([simulator], schedules_PTN, np.random.default_rng(2))
    impl, mapping = learnt.result.algorithm.impl, learnt.result.mapping
    batch = EpisodeBatch.of_episodes(episodes, mapping=mapping, discount=1.0, potential=False)
    values_ET = mapping.returns(impl.policy_values(batch).double().numpy()) * SCALE
    scores_PTK = simulator.scores(schedules_PTN)
    follows_PT = (scores_PTK[:, -1:] - scores_PTK[:, :-1]) @ simulator.weights_K
    excess_P = (values_ET - follows_PT).mean(1)
    return OverEstimation(
        mean=float(excess_P.mean()), standard_error=float(excess_P.std(ddof=1) / np.sqrt(runs))
    )


def narrow_schedules(simulator: Simulator, *, number: int, seed: int) -> Array:
    """Schedules close to natural shares: data that shows one corner of the simplex."""
    natural_N = simulated_context(simulator).space.natural_N
    rng = np.random.default_rng(seed)
    return rng.dirichlet(60 * natural_N, (number, simulator.steps))


def best_of(episodes: Episodes) -> float:
    """J of the farm's best trajectory, as its own noisy feedback says."""
    return float(episodes.gains_E.max()) * SCALE
