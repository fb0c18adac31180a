"""Episodes that the policy under training would make, by learned simulators of the feedback.

A farm holds no run of the policy that CQL arrives at, and twenty backups through states that no
data shows drift off. So a part of every batch are runs of the current policy in simulators fitted
on the same farm: COMBO (Yu et al. 2021, arXiv 2102.08363), after MBPO. Departs from it: whole runs
from the start instead of short branches, since prefixes are states; the conservative term stays
on the farm's states.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dmix.mixing.dirichlet import CONCENTRATION_RANGE, MixtureLaw
from dmix.mixing.domains import Vector
from dmix.mixing.episodes import Episodes
from dmix.mixing.features import RunContext
from dmix.mixing.learned_simulator import Array, Decide, LearnedSimulator, ModelSettings, fit_simulator
from dmix.mixing.networks import DirichletPolicy
from dmix.mixing.rl_settings import RlSettings


def fit_simulators(
    episodes: Episodes,
    *,
    preset: str,
    scales_D: Vector,
    weights_D: Vector,
    context: RunContext,
    target_steps: float,
    settings: RlSettings,
    progress: Callable[[str], None],
) -> list[LearnedSimulator]:
    """As many simulators as the settings ask for, on all episodes, from different seeds."""
    return [
        fit_simulator(
            episodes,
            preset=preset,
            scales_D=scales_D,
            weights_D=weights_D,
            context=context,
            target_steps=target_steps,
            settings=ModelSettings(
                steps=settings.simulator_steps,
                batch_episodes=settings.batch_episodes,
                learning_rate=settings.simulator_learning_rate,
                width=settings.simulator_width,
                held_out=0.0,
                seed=settings.seed + number,
            ),
            progress=progress,
        )
        for number in range(settings.simulators if settings.required("imagined") > 0 else 0)
    ]


def imagined_episodes(
    policy: DirichletPolicy,
    simulators: Sequence[LearnedSimulator],
    *,
    runs: int,
    rng: np.random.Generator,
) -> list[Episodes]:
    """Runs of the policy, an equal number in each simulator.

    Mixtures are drawn around the policy's mean. Each run has a concentration of its own,
    log-uniform on the range of the policy, so that some runs stray and others follow it closely.
    """
    share = max(1, runs // len(simulators))
    return [simulator.run(_around(policy, share, rng), runs=share, rng=rng) for simulator in simulators]


def _around(policy: DirichletPolicy, runs: int, rng: np.random.Generator) -> Decide:
    """Mixtures around the policy's mean, each run with a concentration of its own."""
    low, high = (math.log(bound) for bound in CONCENTRATION_RANGE)
    concentration_P = torch.from_numpy(np.exp(rng.uniform(low, high, runs)))

    def decide(mixtures_PSN: Array, tokens_PSX: NDArray[np.float32]) -> Array:
        tokens = torch.from_numpy(tokens_PSX).to(policy.active_N.device)
        with torch.no_grad():
            mean_PN = policy.mean(tokens)[:, -1].double().cpu()
        law = MixtureLaw.of_mean(mean_PN, concentration_P, policy.active_N.cpu())
        drawn: Array = law.sample(1)[:, 0].numpy()
        return drawn

    return decide
