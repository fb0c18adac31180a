"""The test of listening: what scores add to a plan, where the best schedule is known (method §9).

In each world an agent is run with its own scores (`heard`), without any (`silent`), with scores that never
move (`frozen`), and with those of another world (`shuffled`): what another run gained in that world, in its
scales, over the same part of the run. The gap is that from the open loop to the best schedule for one who
knows the world. An agent that listens closes much of it when it hears its own scores, and none of it
when it hears those of others: news that tell nothing can only improve a plan that was not good.

Shapes: N domains, D objectives, M steps, T steps so far.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tests.mixing.testbed.random_worlds import Policy, World

from dmix.mixing.space.domains import Array

ARMS = ("heard", "silent", "frozen", "shuffled")

Heard = Callable[[Array], Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A world, the policy that is tried in it, and the seed of the noise of scores."""

    world: World
    policy: Policy
    noise_seed: int

    def run(self, heard: Heard | None = None) -> Array:
        """The mixtures of a run, shape (M, N)."""
        return self.world.run(self.policy, np.random.default_rng(self.noise_seed), heard=heard)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Utilities of a world, without noise.

    Attributes:
        hidden: What was hidden.
        natural: Of natural mixing.
        best: Of the best schedule for one who knows the world.
        arms: Of each of `ARMS`.
    """

    hidden: str
    natural: float
    best: float
    arms: dict[str, float]


def outcomes(cases: Sequence[Case], *, arms: Sequence[str] = ARMS) -> list[Outcome]:
    """Runs every arm in every world; the scores that a world lends are those of its own `heard` run."""
    heard_runs = [case.run() for case in cases]
    found = []
    for index, case in enumerate(cases):
        lender = cases[(index + 1) % len(cases)]
        told: dict[str, Heard] = {
            "silent": _nothing,
            "frozen": _first_scores,
            "shuffled": _scores_of(lender, heard_runs[(index + 1) % len(cases)], case.world),
        }
        found.append(
            Outcome(
                hidden=case.world.hidden,
                natural=case.world.utility(np.tile(case.world.space.natural_N, (case.world.steps, 1))),
                best=case.world.utility(case.world.clairvoyant()),
                arms={
                    arm: case.world.utility(heard_runs[index] if arm == "heard" else case.run(told[arm]))
                    for arm in arms
                },
            )
        )
    return found


def closed(found: Sequence[Outcome], arm: str, *, open_loop: str = "silent") -> float:
    """Share of the gap from the open loop to the best that an arm closes, over worlds together."""
    gained = sum(outcome.arms[arm] - outcome.arms[open_loop] for outcome in found)
    return gained / sum(outcome.best - outcome.arms[open_loop] for outcome in found)


def interval(
    found: Sequence[Outcome], arm: str, *, open_loop: str = "silent", draws: int = 2000
) -> tuple[float, float]:
    """95% interval of `closed`, by drawing worlds with replacement."""
    rng = np.random.default_rng(0)
    values = [
        closed([found[i] for i in rng.integers(len(found), size=len(found))], arm, open_loop=open_loop)
        for _ in range(draws)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _nothing(scores_TD: Array) -> Array:
    return np.vstack([scores_TD[:1], np.full_like(scores_TD[1:], np.nan)])


def _first_scores(scores_TD: Array) -> Array:
    return np.broadcast_to(scores_TD[:1], scores_TD.shape)


def _scores_of(lender: Case, mixtures_TN: Array, world: World) -> Heard:
    """Changes of scores in a run of another world, in scales of both, by role and part of the run."""
    noise_seed = lender.noise_seed
    other = lender.world
    noise_TD = np.random.default_rng(noise_seed).normal(
        0, other.true.noise, (other.steps + 1, len(other.roles))
    )
    scores_TD = other.true.scores(mixtures_TN[None])[0] + noise_TD
    change_TD = (scores_TD - scores_TD[0]) / other.scales_D
    whose_D = [_matching(other.roles, role, index) for index, role in enumerate(world.roles)]

    def heard(own_TD: Array) -> Array:
        part_T = np.arange(len(own_TD)) / world.steps * other.steps
        rows_T = np.minimum(np.round(part_T).astype(int), other.steps)
        lent_TD: Array = own_TD[0] + change_TD[rows_T][:, whose_D] * world.scales_D
        return lent_TD

    return heard


def _matching(roles: Sequence[str], role: str, index: int) -> int:
    same = [place for place, other in enumerate(roles) if other == role]
    return same[index % len(same)]
