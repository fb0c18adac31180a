"""Data and runs of the simulator, in the forms that the learning chain uses.

So CQL, SFT and controllers are tried on a problem with a known optimum through the very code that
serves real farms. Shapes: P runs, T steps, N domains, K skills (the objectives here).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from tests.mixing.testbed.simulator import Simulator
from torch import Tensor

from dmix.mixing.agent.features import RunContext, tokens
from dmix.mixing.agent.set_features import ObjectiveSpec
from dmix.mixing.agent.standardise import features
from dmix.mixing.offline.episodes import Episodes, make_episodes
from dmix.mixing.offline.farm import Farm
from dmix.mixing.space.domains import Array, DomainSpace, Vector
from dmix.mixing.trajectories.candidates import HierarchicalDistribution
from dmix.mixing.trajectories.random_paths import random_paths
from dmix.mixing.trajectories.store import Trajectory, trajectory_id

_SAMPLES_A_STEP = 1000
# s_i of both skills, about the deviation of their scores over random schedules. Being equal, they
# make U the gain J in another unit.
SCALE = 0.2
# Of both skills.
_ROLES = ("general", "target")


def simulated_context(simulator: Simulator, *, as_sets: bool = False) -> RunContext:
    """Domains as large as their capacity: repetition costs where a real pass would end.

    With `as_sets` it has the goals that make tokens of a set agent.
    """
    samples_N = np.round(simulator.capacity_N * _SAMPLES_A_STEP).astype(np.int64)
    labels = tuple(f"domain-{index}" for index in range(simulator.num_domains // 2))
    return RunContext(
        space=DomainSpace(labels, samples_N),
        steps=simulator.steps,
        supply_N=samples_N / _SAMPLES_A_STEP,
        objective_spec=ObjectiveSpec.of(simulator.weights_K, _ROLES) if as_sets else None,
    )


def random_schedules(simulator: Simulator, *, number: int, seed: int) -> Array:
    """Hierarchical-random schedules (method §2), a third of them static, shape (P, M, N)."""
    space = simulated_context(simulator).space
    static, segments = random_paths(
        start_A=space.start_N,
        distribution=HierarchicalDistribution(space),
        static=number // 3,
        segments=number - number // 3,
        steps=simulator.steps,
        target_steps=float("inf"),
        seed=seed,
    )
    return np.stack([path[1:] for path in (*static, *segments)])


def simulated_trajectories(simulator: Simulator, schedules_PTN: Array) -> list[Trajectory]:
    """Schedules as trajectories, rho_s in front."""
    start_1N = simulated_context(simulator).space.start_N[None]
    return [
        Trajectory(
            trajectory_id=trajectory_id("segments", number),
            kind="segments",
            top_k=None,
            mixtures_TN=np.concatenate([start_1N, schedule_TN]),
        )
        for number, schedule_TN in enumerate(schedules_PTN)
    ]


def simulated_episodes(
    simulators: Sequence[Simulator],
    schedules_PTN: Array,
    rng: np.random.Generator,
    *,
    preset: str = "default",
    as_sets: bool = False,
) -> Episodes:
    """Episodes of schedules with noisy feedback; run p follows simulator p mod their number.

    Their tokens are those of a set agent with `as_sets`.
    """
    trajectories = simulated_trajectories(simulators[0], schedules_PTN)
    scores = {
        t.trajectory_id: simulators[p % len(simulators)].feedback(schedules_PTN[p : p + 1], rng)[0]
        for p, t in enumerate(trajectories)
    }
    return make_episodes(
        trajectories,
        feedback=scores,
        scales_D=_scales(simulators[0]),
        weights_D=simulators[0].weights_K,
        context=simulated_context(simulators[0], as_sets=as_sets),
        target_steps=float("inf"),
        preset=preset,
    )


def simulated_farm(
    simulator: Simulator, episodes: Episodes, *, preset: str = "default", as_sets: bool = False
) -> Farm:
    """What learners read of a stored farm, made of episodes of a simulator."""
    return Farm(
        set_name="simulated",
        preset=preset,
        objectives=("general", "target"),
        scales_D=_scales(simulator),
        weights_D=simulator.weights_K,
        context=simulated_context(simulator, as_sets=as_sets),
        target_steps=float("inf"),
        target_supply=float("inf"),
        trajectories=(),
        episodes=episodes,
    )


def roll_out(
    policy: Callable[[Tensor], Tensor],
    simulators: Sequence[Simulator],
    rng: np.random.Generator,
    *,
    preset: str = "default",
    as_sets: bool = False,
    seen_P: Sequence[int] | None = None,
) -> Array:
    """Schedules that a policy chooses under noisy feedback, shape (P, M, N).

    Args:
        policy: Tokens (P, T, X) to mixtures (P, T, N).
        simulators: One a run, of the same shape.
        rng: Draws the noise.
        preset: Of the tokens.
        as_sets: Whether the policy is a set agent.
        seen_P: Run whose feedback each run is shown; None shows each its own.
    """
    first, runs = simulators[0], len(simulators)
    context = simulated_context(first, as_sets=as_sets)
    mixtures_PSN = np.tile(context.space.start_N, (runs, 1, 1))
    noise_PSK = rng.normal(0, first.noise, (runs, first.steps + 1, len(first.weights_K)))
    for _ in range(first.steps):
        scores_PSK = noise_PSK[:, : mixtures_PSN.shape[1]].copy()
        for p, simulator in enumerate(simulators):
            scores_PSK[p] += simulator.scores(mixtures_PSN[p : p + 1, 1:])[0]
        shown_PSK = scores_PSK if seen_P is None else scores_PSK[list(seen_P)]
        seen = features(list(shown_PSK), scales_D=_scales(first), preset=preset)
        tokens_PSX = np.stack(
            [
                tokens(mixtures_SN, seen_SK, context=context, preset=preset)
                for mixtures_SN, seen_SK in zip(mixtures_PSN, seen, strict=True)
            ]
        )
        with torch.no_grad():
            chosen_PN = policy(torch.from_numpy(tokens_PSX))[:, -1].double().numpy()
        mixtures_PSN = np.concatenate([mixtures_PSN, chosen_PN[:, None]], axis=1)
    return mixtures_PSN[:, 1:]


def _scales(simulator: Simulator) -> Vector:
    return np.full(len(simulator.weights_K), SCALE)
