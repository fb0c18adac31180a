"""Synthetic worlds, any number: the simulator of skills with everything drawn at random (method §6, §9).

A world draws its domains (2 to 50), objectives (one to three a role), supplies, affinities,
interference, saturation, forgetting, price of repetition, noise, horizon and weights. What probes
measure in it is its promise. A run of it can depart from the promise in a hidden way that scores
alone reveal: gains come at another scale, more target text helps or hurts beyond what was promised,
or all scores drift.

Shapes: N domains, D objectives, M steps, X tilts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from tests.mixing.testbed.simulator import Simulator, best_schedule

from dmix.mixing.effects.effects import Effects, centred, tilts
from dmix.mixing.effects.prediction import Prediction, fitted_coefficients, predict
from dmix.mixing.space.domains import Array, DomainSpace, Vector
from dmix.mixing.space.history import History

Policy = Callable[[History], Vector]

HIDDEN = ("nothing", "level", "scale", "direction")
STEP_SAMPLES = 1000
_TILTS = 24
# Standard deviations of what is hidden: log of the scale, the rest in scales s_o over a whole run.
_HIDDEN_LOG_SCALE, _HIDDEN_DIRECTION, _HIDDEN_LEVEL = 0.7, 8.0, 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """One synthetic world and one run's hidden departure from its promise.

    Attributes:
        space: Domains and supplies.
        promised: The simulator that probes see.
        true: The simulator that a run meets; its noise is that of scores.
        roles: general or target, for each objective.
        weights_D: lambda, summing to 1.
        probe_noise: Standard error of a measured effect, nats per token per unit of share.
        hidden: One of `HIDDEN`.
    """

    space: DomainSpace
    promised: Simulator
    true: Simulator
    roles: tuple[str, ...]
    weights_D: Vector
    probe_noise: float
    hidden: str

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives."""
        return tuple(f"{role}{index}" for index, role in enumerate(self.roles))

    @property
    def steps(self) -> int:
        """M."""
        return self.true.steps

    @property
    def free_passes(self) -> float:
        """Passes through a domain from which reading it again costs."""
        return float((self.promised.capacity_N * STEP_SAMPLES / self.space.samples_N).mean())

    @property
    def repetition(self) -> float:
        """Nats that every score loses per squared share of the run beyond the free passes."""
        return self.promised.repetition_price / 2 * self.steps**2

    @cached_property
    def scales_D(self) -> Vector:
        """s_o: standard deviation of the promised final scores over tilts, nats per token."""
        return _final_scores(self.promised, tilts(self.space.natural_N, number=_TILTS)).std(0)

    @cached_property
    def value_D(self) -> Vector:
        """lambda_o / s_o: utility per nat."""
        return self.weights_D / self.scales_D

    def utility(self, schedule_TN: Array) -> float:
        """U of a whole run without noise, against the model before it."""
        scores_TD = self.true.scores(schedule_TN[None])[0]
        return float((scores_TD[-1] - scores_TD[0]) @ self.value_D)

    def clairvoyant(self) -> Array:
        """The best schedule for one who knows the true simulator, shape (M, N)."""
        return best_schedule(replace(self.true, weights_K=self.value_D)).schedule_TN

    def open_loop(self) -> Array:
        """The best schedule by the promise, whatever the scores, shape (M, N)."""
        return best_schedule(replace(self.promised, weights_K=self.value_D)).schedule_TN

    def prediction(self, rng: np.random.Generator) -> Prediction:
        """What probes of the promise find, with noise, and coefficients fitted to a few tilts."""
        natural_N = self.space.natural_N
        exact_ND = _static_slope(self.promised, natural_N)
        measured_ND = exact_ND + rng.normal(0, self.probe_noise, exact_ND.shape)
        effects = Effects(
            estimator="probe",
            dataset="synthetic",
            environment="synthetic",
            names=self.space.names,
            natural_N=natural_N,
            objectives=self.objectives,
            roles=self.roles,
            effect_ND=centred(measured_ND, natural_N),
            errors=tuple(np.diag(np.full(len(natural_N), self.probe_noise)) for _ in self.roles),
        )
        tried_XN = np.vstack([tilts(natural_N, number=_TILTS), self._shares_tried(_TILTS)])
        start_D = self.promised.scores(np.tile(natural_N, (1, 1, 1)))[0, 0]
        natural_D = _final_scores(self.promised, natural_N[None])[0]
        gains_XD = _final_scores(self.promised, tried_XN) - natural_D
        first = predict([effects], None, natural_gain_D=natural_D - start_D)
        return fitted_coefficients(first, tried_XN, gains_XD)

    def _shares_tried(self, number: int) -> Array:
        """Tilts at other target shares, evenly from 0.02 to 0.98, shape (number, N)."""
        tilted_XN = tilts(self.space.natural_N, number=number, seed=1)
        target_N = self.space.target_N
        source_XN = np.where(target_N, 0, tilted_XN)
        wanted_X1 = np.linspace(0.02, 0.98, number)[:, None]
        moved_XN: Array = wanted_X1 * np.where(target_N, tilted_XN, 0) / tilted_XN[:, target_N].sum(
            1, keepdims=True
        ) + (1 - wanted_X1) * source_XN / source_XN.sum(1, keepdims=True)
        return moved_XN

    def run(
        self, policy: Policy, rng: np.random.Generator, *, heard: Callable[[Array], Array] | None = None
    ) -> Array:
        """The mixtures of a run that a policy steers, shape (M, N).

        Args:
            policy: From the history to the next mixture.
            rng: Draws the noise of scores.
            heard: Changes the scores (T + 1, D) that the policy is told; None for the truth.
        """
        noise_TD = rng.normal(0, self.true.noise, (self.steps + 1, len(self.roles)))
        mixtures: list[Vector] = []
        for step in range(1, self.steps + 1):
            done_TN = np.array(mixtures).reshape(-1, len(self.space))
            scores_TD = self.true.scores(done_TN[None])[0] + noise_TD[:step]
            told_TD = scores_TD if heard is None else heard(scores_TD)
            mixtures.append(policy(self.history(done_TN, told_TD)))
        return np.array(mixtures)

    def history(self, mixtures_TN: Array, scores_TD: Array) -> History:
        """What a controller sees after some steps; supplies count no repetition."""
        drawn_N = np.round(mixtures_TN.sum(0) * STEP_SAMPLES).astype(np.int64)
        return History(
            space=self.space,
            mixtures_TN=np.vstack([self.space.start_N, mixtures_TN]),
            feedback_TD=scores_TD,
            objectives=self.objectives,
            weights_D=self.weights_D,
            scales_D=self.scales_D,
            steps=self.steps,
            step_samples=STEP_SAMPLES,
            remaining_samples_N=np.maximum(0, 100 * self.space.samples_N - drawn_N),
            seed=0,
            roles=self.roles,
        )


def random_world(
    rng: np.random.Generator,
    *,
    hidden: str | None = None,
    forgetting: bool = True,
    most_labels: int = 25,
    most_steps: int = 40,
) -> World:
    """A world with everything drawn.

    Args:
        rng: Draws it.
        hidden: One of `HIDDEN`; drawn, too, if None.
        forgetting: Whether skills fade.
        most_labels: Most labels; each is a domain in both fields.
        most_steps: Longest horizon, at least 8.
    """
    labels = int(rng.integers(1, most_labels + 1))
    steps = int(rng.integers(8, most_steps + 1))
    general, target = (int(n) for n in rng.integers(1, 4, 2))
    roles = ("general",) * general + ("target",) * target
    share = rng.uniform(0.05, 0.6)
    shares_N = np.concatenate(
        [(1 - share) * rng.dirichlet(np.ones(labels)), share * rng.dirichlet(np.ones(labels))]
    )
    samples_N = np.maximum(1, np.round(shares_N * steps * STEP_SAMPLES)).astype(np.int64)
    space = DomainSpace(tuple(f"label{index}" for index in range(labels)), samples_N)
    promised = Simulator(
        steps=steps,
        response_KN=_affinities(rng, roles, space.target_N) / steps,
        forgetting_K=rng.uniform(0, 2 / steps, len(roles)) if forgetting else np.zeros(len(roles)),
        capacity_N=rng.uniform(1, 4) * samples_N / STEP_SAMPLES,
        repetition_price=float(rng.uniform(0, 0.2)) / steps,
        weights_K=np.ones(len(roles)),
        initial_K=np.where(np.array(roles) == "general", rng.uniform(0.3, 1.2), rng.uniform(0, 0.6)),
        noise=0.0,
    )
    weights_D = np.where(np.array(roles) == "general", 0.5 / general, 0.5 / target)
    world = World(
        space=space,
        promised=promised,
        true=promised,
        roles=roles,
        weights_D=weights_D,
        probe_noise=0.0,
        hidden="nothing",
    )
    kind = str(rng.choice(HIDDEN)) if hidden is None else hidden
    scale = float(world.scales_D.mean())
    response_KN = _departed(rng, kind, promised.response_KN, space, scales_D=world.scales_D, steps=steps)
    true = replace(promised, response_KN=response_KN, noise=float(rng.uniform(0.05, 0.3)) * scale)
    return replace(world, true=true, probe_noise=float(rng.uniform(0, 0.3)) * scale, hidden=kind)


def _affinities(rng: np.random.Generator, roles: Sequence[str], target_N: NDArray[np.bool_]) -> Array:
    """What a whole run on one domain alone adds to each skill, shape (D, N): few domains help much."""
    rows = []
    for role in roles:
        own_N = target_N == (role == "target")
        helps_N = rng.gamma(0.5, 1.0, len(target_N)) * np.where(own_N, 1.0, 0.15)
        harms_N = np.where(own_N, 0.0, rng.uniform(0, 0.6)) * rng.uniform(0, 1, len(target_N))
        rows.append(helps_N - harms_N)
    return np.array(rows)


def _departed(
    rng: np.random.Generator,
    kind: str,
    response_KN: Array,
    space: DomainSpace,
    *,
    scales_D: Vector,
    steps: int,
) -> Array:
    """The response of a run that departs from the promise in one hidden way."""
    size = len(response_KN)
    natural_K1 = (response_KN @ space.natural_N)[:, None]
    if kind == "scale":
        factor_K1 = np.exp(rng.normal(0, _HIDDEN_LOG_SCALE, size))[:, None]
        return natural_K1 + factor_K1 * (response_KN - natural_K1)
    if kind == "direction":
        away_N = space.target_N - space.natural_N[space.target_N].sum()
        return response_KN + (rng.normal(0, _HIDDEN_DIRECTION, size) * scales_D / steps)[:, None] * away_N
    if kind == "level":
        return response_KN + (rng.normal(0, _HIDDEN_LEVEL, size) * scales_D / steps)[:, None]
    return response_KN


def _final_scores(simulator: Simulator, mixtures_XN: Array) -> Array:
    """Final scores of static runs, shape (X, D)."""
    return simulator.scores(np.repeat(mixtures_XN[:, None], simulator.steps, axis=1))[:, -1]


def _static_slope(simulator: Simulator, natural_N: Vector, *, width: float = 1e-4) -> Array:
    """Derivative of the final scores by the share of each domain in a static run at n, shape (N, D)."""
    moved = natural_N + width * (np.eye(len(natural_N)) - natural_N)
    slope_ND: Array = (_final_scores(simulator, moved) - _final_scores(simulator, natural_N[None])) / width
    return slope_ND
