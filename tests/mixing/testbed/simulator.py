"""A problem with a known answer: skills that respond to a mixture by a written-down law.

Model training is replaced by two skills (general, target) that grow with some domains, suffer
from others, fade, and pay for repetition. Skills and exposure are linear in the mixtures and the
score is concave in them, so the gain of a schedule is concave in all its mixtures together, and an
ascent with a duality gap gives the best schedule with a certificate of how good it is. Whatever
claims to learn schedules can be measured against it before it costs a single training run.

h_{t,k} = (1 - f_k) h_{t-1,k} + A_k . rho_t,  h_0 = (1, 0);  E_t = E_{t-1} + rho_t,  E_0 = 0
score_{t,k} = -exp(-h_{t,k}) - (kappa / 2) sum_j max(0, E_{t,j} - c_j)^2

Shapes: T steps (M of them), N domains, K skills, P schedules.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from dmix.mixing.space.domains import Array
from dmix.warehouse_schema.errors import InputError


def _constant(*values: float) -> Array:
    return np.asarray(values, dtype=np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulator:
    """The law of the skills; the defaults are the reference problem with 3 + 3 domains.

    Attributes:
        steps: M, steps of a schedule.
        response_KN: A, change of a skill for one step spent on a domain alone.
        forgetting_K: f, share of a skill that fades in a step.
        capacity_N: c, exposure in steps after which a domain starts to repeat.
        repetition_price: kappa.
        weights_K: lambda, weights of the skills in the gain.
        noise: Standard deviation of the noise on feedback.
    """

    steps: int = 20
    response_KN: Array = field(
        default_factory=lambda: np.stack(
            [_constant(0.30, 0.20, 0.10, -0.12, -0.06, -0.03), _constant(-0.02, -0.01, 0, 0.26, 0.18, 0.10)]
        )
    )
    forgetting_K: Array = field(default_factory=lambda: _constant(0.20, 0.04))
    capacity_N: Array = field(default_factory=lambda: _constant(6, 6, 6, 3, 3, 3))
    repetition_price: float = 0.02
    weights_K: Array = field(default_factory=lambda: _constant(0.5, 0.5))
    initial_K: Array = field(default_factory=lambda: _constant(1, 0))
    noise: float = 0.01

    def restricted(self, columns: list[int], *, steps: int) -> "Simulator":
        """The same law on some of the domains, over another number of steps."""
        return replace(
            self, response_KN=self.response_KN[:, columns], capacity_N=self.capacity_N[columns], steps=steps
        )

    @property
    def num_domains(self) -> int:
        return self.response_KN.shape[1]

    def scores(self, schedules_PTN: Array) -> Array:
        """Noise-free scores after 0 … T steps, shape (P, T + 1, K).

        Raises:
            InputError: If the schedules do not have one weight a domain.
        """
        if schedules_PTN.ndim != 3 or schedules_PTN.shape[2] != self.num_domains:
            raise InputError(
                f"schedules have shape {schedules_PTN.shape}, expected (schedules, steps, {self.num_domains})"
            )
        num_schedules, num_steps, _ = schedules_PTN.shape
        skill_PK = np.tile(self.initial_K, (num_schedules, 1))
        exposure_PN = np.zeros((num_schedules, self.num_domains))
        scores = [self._score(skill_PK, exposure_PN)]
        for t in range(num_steps):
            mixture_PN = schedules_PTN[:, t]
            skill_PK = (1 - self.forgetting_K) * skill_PK + mixture_PN @ self.response_KN.T
            exposure_PN = exposure_PN + mixture_PN
            scores.append(self._score(skill_PK, exposure_PN))
        return np.stack(scores, axis=1)

    def _score(self, skill_PK: Array, exposure_PN: Array) -> Array:
        repeated_PN = np.maximum(0, exposure_PN - self.capacity_N)
        return -np.exp(-skill_PK) - self.repetition_price / 2 * (repeated_PN**2).sum(1, keepdims=True)

    def feedback(self, schedules_PTN: Array, rng: np.random.Generator) -> Array:
        """Scores with noise, as a farm would see them, shape (P, T + 1, K)."""
        scores = self.scores(schedules_PTN)
        return scores + rng.normal(0, self.noise, scores.shape)

    def gain(self, schedules_PTN: Array) -> Array:
        """J: weighted gain of the final scores over the first ones, without noise, shape (P,)."""
        scores = self.scores(schedules_PTN)
        return (scores[:, -1] - scores[:, 0]) @ self.weights_K

    def gradient(self, schedule_TN: Array) -> Array:
        """dJ / d rho_t of one schedule of `steps` mixtures, shape (T, N)."""
        age_T = np.arange(len(schedule_TN) - 1, -1, -1)
        kept_TK = (1 - self.forgetting_K) ** age_T[:, None]
        initial_K = (1 - self.forgetting_K) ** len(schedule_TN) * self.initial_K
        skill_K = initial_K + (kept_TK * (schedule_TN @ self.response_KN.T)).sum(0)
        repeated_N = np.maximum(0, schedule_TN.sum(0) - self.capacity_N)
        price_N = self.weights_K.sum() * self.repetition_price * repeated_N
        return (kept_TK * self.weights_K * np.exp(-skill_K)) @ self.response_KN - price_N


@dataclass(frozen=True, eq=False)
class Optimum:
    """A schedule with a certificate.

    Attributes:
        schedule_TN: The mixtures, shape (M, N).
        gain: J of the schedule.
        gap: No schedule whatever has a gain above `gain + gap`.
    """

    schedule_TN: Array
    gain: float
    gap: float


def best_schedule(simulator: Simulator, *, tolerance: float = 1e-4, max_iterations: int = 200_000) -> Optimum:
    """The best schedule, by multiplicative updates until the duality gap is below `tolerance`.

    J is concave, so J* - J(rho) <= sum_t (max_j g_tj - g_t . rho_t) with g the gradient.
    """
    schedule_TN = np.full((simulator.steps, simulator.num_domains), 1 / simulator.num_domains)
    return _ascend(simulator, schedule_TN, static=False, tolerance=tolerance, max_iterations=max_iterations)


def best_static(simulator: Simulator, *, tolerance: float = 1e-4, max_iterations: int = 200_000) -> Optimum:
    """The best single mixture for all steps; its gap bounds static schedules alone."""
    schedule_TN = np.full((simulator.steps, simulator.num_domains), 1 / simulator.num_domains)
    return _ascend(simulator, schedule_TN, static=True, tolerance=tolerance, max_iterations=max_iterations)


def _ascend(
    simulator: Simulator, schedule_TN: Array, *, static: bool, tolerance: float, max_iterations: int
) -> Optimum:
    rate = 1.0
    gain = float(simulator.gain(schedule_TN[None])[0])
    gap = np.inf
    for _ in range(max_iterations):
        gradient_TN = simulator.gradient(schedule_TN)
        if static:
            gradient_TN = np.broadcast_to(gradient_TN.mean(0), gradient_TN.shape)
        advantage_TN = gradient_TN - (gradient_TN * schedule_TN).sum(1, keepdims=True)
        gap = float(advantage_TN.max(1).sum())
        if gap < tolerance:
            break
        updated_TN = schedule_TN * np.exp(rate * advantage_TN)
        updated_TN /= updated_TN.sum(1, keepdims=True)
        updated_gain = float(simulator.gain(updated_TN[None])[0])
        if updated_gain > gain:
            schedule_TN, gain, rate = updated_TN, updated_gain, rate * 1.1
        else:
            rate /= 2
            if rate < 1e-12:
                break
    return Optimum(schedule_TN, gain, gap)
