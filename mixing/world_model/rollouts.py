"""Episodes that the policy under training would make, by learned simulators of the feedback.

A farm holds no run of the policy that CQL arrives at, and twenty backups through states that no
data shows drift off. So a part of every batch are runs of the current policy in simulators fitted
on the same farm: COMBO (Yu et al. 2021, arXiv 2102.08363), after MBPO. Departs from it: whole runs
from the start instead of short branches, since prefixes are states; the conservative term stays
on the farm's states.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmix.mixing.agent.architectures import Policy
from dmix.mixing.offline.episodes import Episodes
from dmix.mixing.space.dirichlet import CONCENTRATION_RANGE, MixtureDistribution
from dmix.mixing.space.domains import Array
from dmix.mixing.trajectories.candidates import HierarchicalDistribution, beta_half_quantile
from dmix.mixing.world_model.learned_simulator import Decide, LearnedSimulator

# Share of the stray steps whose mixture comes from the law of random paths.
_FAR_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollouts:
    """Runs of a policy that strayed from it, up to one step of each.

    Attributes:
        episodes: The runs.
        stray_P: The last step (from 0) of each run whose mixture is not the policy's mean, -1 if
            all are.
        grad_PTN: Derivative of the final utility with respect to each mixture, later ones fixed.
    """

    episodes: Episodes
    stray_P: NDArray[np.int64]
    grad_PTN: Tensor


def make_rollouts(
    policy: Policy, simulator: LearnedSimulator, *, runs: int, rng: np.random.Generator
) -> Rollouts:
    """Runs of the policy in a simulator; half of them follow it from the start.

    Each of the others has a stray step. Before it, mixtures are drawn around the policy's mean,
    with a concentration that is log-uniform on the policy's range; at it, the mixture comes from
    such a law or from one that knows nothing of the policy; after it, the policy's mean is
    followed. So the return from the stray step on is the value of that mixture under the policy.
    """
    stray_P = rng.integers(simulator.context.steps, size=runs)
    stray_P[: runs // 2] = -1
    noise_PTD = rng.standard_normal((runs, simulator.context.steps, len(simulator.scales_D)))
    episodes = simulator.run(_straying(policy, simulator, stray_P, rng), noise_PTD=noise_PTD)
    grad_PTN = simulator.grad(episodes, noise_PTD=noise_PTD)
    return Rollouts(episodes=episodes, stray_P=stray_P, grad_PTN=grad_PTN)


def _straying(
    policy: Policy, simulator: LearnedSimulator, stray_P: NDArray[np.int64], rng: np.random.Generator
) -> Decide:
    """What these runs do; each strays last at its step of `stray_P`."""
    runs = len(stray_P)
    distribution, active_N = (
        HierarchicalDistribution(simulator.context.space),
        simulator.context.space.active_N,
    )
    low, high = (math.log(bound) for bound in CONCENTRATION_RANGE)
    concentration_P = torch.from_numpy(np.exp(rng.uniform(low, high, runs)))
    far_P1 = rng.random((runs, 1)) < _FAR_SHARE

    def decide(mixtures_PSN: Array, tokens_PSX: NDArray[np.float32]) -> Array:
        tokens = torch.from_numpy(tokens_PSX).to(policy.active_N.device)
        with torch.no_grad():
            mean_PN = policy.mean(tokens)[:, -1].double().cpu()
        near_PN = (
            MixtureDistribution.of_mean(mean_PN, concentration_P, policy.active_N.cpu())
            .sample(1)[:, 0]
            .numpy()
        )
        far_PN = np.zeros(near_PN.shape)
        far_PN[:, active_N] = distribution.mixtures(rng, beta_half_quantile(rng.random(runs)))
        step = mixtures_PSN.shape[1] - 1
        strayed_PN = np.where(far_P1 & (stray_P == step)[:, None], far_PN, near_PN)
        chosen_PN: Array = np.where((step > stray_P)[:, None], mean_PN.numpy(), strayed_PN)
        return chosen_PN

    return decide
