"""Online Data Mixing (Albalak et al. 2023, arXiv 2312.02406): a bandit that seeks high training loss.

Domains are the arms of EXP3 and the training loss is the reward. With K arms, after n pulls,

    eps_n = min(1/K, sqrt(ln K / (K n)))
    R_i   = sum over pulls of arm i of (loss / 10) / pi_i           (importance-weighted reward)
    pi_i  = (1 - K eps_n) exp(eps_{n-1} R_i) / sum_j exp(eps_{n-1} R_j) + eps_n

with the cumulative reward and its scale of 1/10 from the authors' published code.

Departures: a pull is one sample, not one batch of one domain, since a step here takes samples of many
domains side by side; with one pull a step, K = 52 arms would stay uniform for the first 200 steps. The
mixture changes once a step, not once a pull. The loss of a pull is the mean of its domain in the step.
Arms are the active domains. Shapes: N domains, K of them active, T rows of history.
"""

import math

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.space.history import History
from dmix.warehouse_schema.files.layout import Warehouse

# What the authors' code divides losses by, so that rewards lie near [0, 1].
_REWARD_SCALE = 10.0


class OdmController:
    """EXP3 over domains on their training loss; uniform at step 1."""

    name = "odm"
    # Rewards are summed over the whole run.
    context = None

    def propose(self, history: History) -> Proposal:
        active_N = history.space.active_N
        mixture_N = np.zeros(len(history.space))
        mixture_N[active_N] = exp3(
            history.losses_TN[1:, active_N],
            history.counts_TN[1:, active_N],
            history.mixtures_TN[1:, active_N],
        )
        return Proposal(mixture_N)


def exp3(
    losses_TK: NDArray[np.float64], counts_TK: NDArray[np.int64], policies_TK: NDArray[np.float64]
) -> Vector:
    """The policy after some steps, shape (K,), sum 1.

    Args:
        losses_TK: Mean loss of each arm in each step, nats per token; NaN for an arm without pulls.
        counts_TK: Pulls of each arm in each step.
        policies_TK: What the pulls were drawn from.
    """
    arms, pulls = losses_TK.shape[1], int(counts_TK.sum())
    floors_T1 = np.array([exploration(n, arms=arms) for n in counts_TK.sum(1).cumsum()])[:, None]
    # Under another controller a policy can be 0 where a sample owed from before is served.
    divisors_TK = np.maximum(policies_TK, floors_T1)
    rewards_TK = np.nan_to_num(losses_TK) / _REWARD_SCALE * counts_TK / np.maximum(divisors_TK, 1e-12)
    exponents_K = exploration(pulls - 1, arms=arms) * rewards_TK.sum(0)
    gibbs_K = np.exp(exponents_K - exponents_K.max())
    floor = exploration(pulls, arms=arms)
    policy_K: Vector = (1 - arms * floor) * gibbs_K / gibbs_K.sum() + floor
    return policy_K / policy_K.sum()


def exploration(pulls: int, *, arms: int) -> float:
    """eps after a number of pulls: the least probability of an arm."""
    return min(1 / arms, math.sqrt(math.log(arms) / (arms * pulls))) if pulls > 0 else 1 / arms


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """For `make_controller`."""
    return OdmController()
