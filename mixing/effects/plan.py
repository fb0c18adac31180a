"""The mixture that effects promise most of, within what the data can give.

Maximises sum_o lambda_o / s_o (S_o(rho) - z stderr_o(rho)) - tau KL(rho || n) over mixtures between
floors and ceilings. The function is concave, so multiplicative ascent ends at the optimum, and the
duality gap says how near it is. Unsure means natural: where effects are noise, the plan is n and
says so. Shapes: N domains, D objectives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.effects.prediction import Prediction
from dmix.mixing.effects.settings import PlanRules
from dmix.mixing.space.domains import Array, Vector
from dmix.mixing.space.noise import beyond_noise
from dmix.mixing.space.simplex import clipped, kl, total_variation
from dmix.mixing.trajectories.guard import within_bounds
from dmix.warehouse_schema.errors import InputError

__all__ = [
    "Plan",
    "PlanRules",
    "Supply",
    "ascend",
    "checked_choice",
    "domains_that_matter",
    "make_plan",
    "plan_and_heard",
    "plan_around",
]

GAP = 1e-4
_MOST_STEPS = 2000
# Bounds of a 95% interval, in standard errors.
_INTERVAL = 1.96
# How far a second plan may go from the first one, in nats of KL, and by how much the pull may grow for it.
RADIUS = 0.2
_BISECTIONS, _STRONGEST = 40, 1e4
# Total variation from n below which a plan is called natural.
_NATURAL = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class Supply:
    """What a run can draw.

    Attributes:
        total: Samples of the whole run.
        samples_N: Samples of each domain.
        max_passes: How often each of them may be drawn.
        floors_N, ceilings_N: Further bounds, of guard rails; None for none.
    """

    total: int
    samples_N: NDArray[np.int64]
    max_passes: int
    floors_N: Vector | None = None
    ceilings_N: Vector | None = None

    def bounds(self) -> tuple[Vector, Vector]:
        """Least and largest share of each domain.

        Where the run asks for more than there is, every domain gives all it can.
        """
        ceilings_N = np.minimum(1.0, self.samples_N * self.max_passes / self.total)
        if ceilings_N.sum() < 1:
            ceilings_N = ceilings_N / ceilings_N.sum()
        if self.ceilings_N is not None:
            ceilings_N = np.where(self.samples_N > 0, np.minimum(ceilings_N, self.ceilings_N), 0.0)
            if ceilings_N.sum() < 1:
                raise InputError(
                    "guard rails and available samples limit the sum of all weights to "
                    f"{ceilings_N.sum():.3f}, expected 1 or more; allow more passes, a shorter run, or "
                    "other guard rails"
                )
        floors_N = np.zeros_like(ceilings_N) if self.floors_N is None else self.floors_N
        return np.minimum(floors_N, ceilings_N), ceilings_N


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A mixture and what it promises.

    Attributes:
        mixture_N, natural_N: The plan, and the mixture that gains are relative to.
        gain_D: Predicted gain over natural mixing of each objective, nats per token.
        stderr_D: Its standard error: what items or seeds leave open. Whether the estimator is right
            about this model is another question, which only runs answer.
        utility, utility_stderr: The same of U, without unit.
        passes_N: How often the run draws each domain.
        gap: U that the true optimum may be better by.
        note: Why the plan is what it is, a sentence.
        sources: Names of the effects.
    """

    mixture_N: Vector
    natural_N: Vector
    objectives: tuple[str, ...]
    gain_D: Vector
    stderr_D: Vector
    utility: float
    utility_stderr: float
    passes_N: Vector
    gap: float
    note: str
    sources: tuple[str, ...]

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the promised utility."""
        half = _INTERVAL * self.utility_stderr
        return self.utility - half, self.utility + half

    @property
    def is_natural(self) -> bool:
        """True if nothing is gained by leaving natural mixing."""
        return bool(total_variation(self.mixture_N, self.natural_N) < _NATURAL)

    def to_json(self, names: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        """What a run keeps of its plan; weights of 0 are left out."""
        return {
            "effects": list(self.sources),
            "mixture": {"/".join(names[i]): float(self.mixture_N[i]) for i in np.flatnonzero(self.mixture_N)},
            "objectives": {
                name: {"gain": float(gain), "stderr": float(error)}
                for name, gain, error in zip(self.objectives, self.gain_D, self.stderr_D, strict=True)
            },
            "utility": self.utility,
            "utility_stderr": self.utility_stderr,
            "note": self.note,
        }


def make_plan(
    prediction: Prediction,
    *,
    weights_D: Vector,
    scales_D: Vector,
    supply: Supply,
    rules: PlanRules | None = None,
) -> Plan:
    """The best mixture by a prediction; objectives within noise count where it would make them worse.

    Args:
        prediction: Of every objective.
        weights_D: lambda, summing to 1.
        scales_D: s, nats per token.
        supply: Bounds of the mixture.
        rules: Pull and caution.
    """
    _, plan = plan_and_heard(
        prediction, value_D=weights_D / scales_D, supply=supply, rules=rules or PlanRules()
    )
    return plan


def plan_and_heard(
    prediction: Prediction, *, value_D: Vector, supply: Supply, rules: PlanRules
) -> tuple[Prediction, Plan]:
    """The best mixture, and the prediction with all objectives that it had to hear (`hearing_losses`)."""
    plan = _plan(prediction, value_D=value_D, supply=supply, rules=rules)
    while (heard := prediction.hearing_losses(plan.mixture_N, value_D=value_D)) is not None:
        prediction, plan = heard, _plan(heard, value_D=value_D, supply=supply, rules=rules)
    return prediction, plan


def _plan(prediction: Prediction, *, value_D: Vector, supply: Supply, rules: PlanRules) -> Plan:
    natural_N = prediction.natural_N
    safe_N = clipped(natural_N)

    def objective(mixture_N: Vector) -> float:
        gained_D = prediction.gains(mixture_N) - rules.caution * prediction.stderr(mixture_N)
        return float(value_D @ gained_D) - rules.pull * float(kl(mixture_N, safe_N))

    def gradient(mixture_N: Vector) -> Vector:
        slope_ND = prediction.gradient(mixture_N) - rules.caution * prediction.stderr_gradient(mixture_N)
        return slope_ND @ value_D - rules.pull * (np.log(clipped(mixture_N)) - np.log(safe_N) + 1)

    floors_N, ceilings_N = supply.bounds()
    start_N = within_bounds(natural_N, floors_N, ceilings_N)
    mixture_N, gap = ascend(objective, gradient, start_N, floors_N=floors_N, ceilings_N=ceilings_N)
    if prediction.kept_FN is not None:
        mixture_N = within_bounds(prediction.kept(mixture_N), floors_N, ceilings_N)
    gain_D, stderr_D = prediction.gains(mixture_N), prediction.stderr(mixture_N)
    if objective(mixture_N) <= objective(start_N) + 1e-9:
        mixture_N = start_N
        gain_D, stderr_D = prediction.gains(start_N), prediction.stderr(start_N)
    return Plan(
        mixture_N=mixture_N,
        natural_N=natural_N,
        objectives=prediction.objectives,
        gain_D=gain_D,
        stderr_D=stderr_D,
        utility=float(value_D @ gain_D),
        utility_stderr=float(np.sqrt(((value_D * stderr_D) ** 2).sum())),
        passes_N=mixture_N * supply.total / np.maximum(supply.samples_N, 1),
        gap=gap,
        note=_note(prediction, mixture_N, start_N, ceilings_N=ceilings_N),
        sources=prediction.sources,
    )


def ascend(
    objective: Callable[[Vector], float],
    gradient: Callable[[Vector], Vector],
    start_N: Vector,
    *,
    floors_N: Vector,
    ceilings_N: Vector,
    tolerance: float = GAP,
) -> tuple[Vector, float]:
    """Multiplicative ascent of a concave function over bounded mixtures: the point and its duality gap."""
    mixture_N, value, rate = start_N, objective(start_N), 1.0
    gap = np.inf
    for _ in range(_MOST_STEPS):
        slope_N = gradient(mixture_N)
        best_N = _best_vertex(slope_N, floors_N, ceilings_N)
        gap = float(slope_N @ (best_N - mixture_N))
        if gap <= tolerance:
            break
        slope_N = slope_N - slope_N.max()
        while True:
            next_N = within_bounds(mixture_N * np.exp(rate * slope_N), floors_N, ceilings_N)
            reached = objective(next_N)
            # a step of mirror ascent is sure where the model below the function holds
            gained = float(slope_N @ (next_N - mixture_N)) - float(kl(next_N, clipped(mixture_N))) / rate
            if reached >= value + gained - 1e-12 or rate < 1e-6:
                break
            rate /= 2
        if reached <= value:
            break
        mixture_N, value, rate = next_N, reached, rate * 1.5
    return mixture_N, max(0.0, gap)


def checked_choice(
    plan_items_PI: Array, natural_items_CI: Array, *, objective_I: NDArray[np.integer], value_D: Vector
) -> tuple[int | None, Vector, Vector]:
    """The best of some plans that were run, if it is ahead of natural mixing by two standard errors.

    The standard error joins what seeds leave open, from runs of natural mixing alone, and what items
    do, from the differences of the same items.

    Args:
        plan_items_PI: Score of every item after the run of each plan.
        natural_items_CI: The same of at least two runs of natural mixing.
        objective_I: Objective of each item.
        value_D: lambda / s of each objective.

    Returns:
        Index of the chosen plan, or None for natural mixing; gain in utility of each plan, shape
        (P,); its standard error.
    """
    counts_D = np.bincount(objective_I, minlength=len(value_D))
    weight_I = value_D[objective_I] / counts_D[objective_I]
    natural_C = natural_items_CI @ weight_I
    seeds = natural_C.std(ddof=1) * np.sqrt(1 + 1 / len(natural_C))
    apart_PI = plan_items_PI - natural_items_CI.mean(0)
    gain_P = apart_PI @ weight_I
    variance_P = np.full(len(gain_P), seeds**2)
    for index, value in enumerate(value_D):
        mine_PJ = apart_PI[:, objective_I == index]
        if mine_PJ.shape[1] > 1:
            variance_P += value**2 * mine_PJ.var(1, ddof=1) / mine_PJ.shape[1]
    stderr_P = np.sqrt(variance_P)
    best = int(gain_P.argmax())
    ahead = gain_P[best] > 0 and beyond_noise(float(gain_P[best]), stderr=float(stderr_P[best]))
    return (best if ahead else None), gain_P, stderr_P


def domains_that_matter(
    prediction: Prediction, mixture_N: Vector, *, value_D: Vector, able_N: NDArray[np.bool_], most: int
) -> tuple[int, ...]:
    """The domains whose share changes the utility most, within a small KL of a mixture; largest first.

    Moving domain d alone within KL r changes the utility by |slope_d| sqrt(2 r m_d (1 - m_d)), to first
    order, slope relative to the mixture.

    Args:
        prediction: Of every objective.
        mixture_N: m.
        value_D: lambda / s of each objective.
        able_N: True for domains that can be probed.
        most: Most of them.
    """
    slope_N = prediction.gradient(mixture_N) @ value_D
    weight_N = np.abs(slope_N - mixture_N @ slope_N) * np.sqrt(mixture_N * (1 - mixture_N))
    order = np.argsort(-np.where(able_N, weight_N, -1.0), kind="stable")
    return tuple(int(index) for index in order[:most] if able_N[index])


def plan_around(
    local: Prediction,
    *,
    weights_D: Vector,
    scales_D: Vector,
    supply: Supply,
    rules: PlanRules,
    radius: float = RADIUS,
) -> Plan:
    """The best mixture within a KL of the one that a prediction is relative to.

    The pull towards that mixture grows until the plan is near enough.

    Args:
        local: As `Prediction.around` makes it.
        weights_D, scales_D, supply, rules: As for `make_plan`.
        radius: Largest KL, in nats.
    """

    def at(pull: float) -> Plan:
        chosen = PlanRules(pull=pull, caution=rules.caution)
        return make_plan(local, weights_D=weights_D, scales_D=scales_D, supply=supply, rules=chosen)

    def near(plan: Plan) -> bool:
        return bool(kl(plan.mixture_N, clipped(local.natural_N)) <= radius)

    found = at(rules.pull)
    if near(found):
        return found
    low, high = max(rules.pull, 1 / _STRONGEST), _STRONGEST
    found = at(high)
    for _ in range(_BISECTIONS):
        if high / low < 1.01:
            break
        middle = float(np.sqrt(low * high))
        tried = at(middle)
        low, high, found = (low, middle, tried) if near(tried) else (middle, high, found)
    return found


def _best_vertex(slope_N: Vector, floors_N: Vector, ceilings_N: Vector) -> Vector:
    """The bounded mixture with the largest slope: the steepest domains filled first."""
    vertex_N, left = floors_N.copy(), 1 - floors_N.sum()
    for index in np.argsort(-slope_N, kind="stable"):
        part = min(left, ceilings_N[index] - floors_N[index])
        vertex_N[index] += part
        left -= part
    return vertex_N


def _note(prediction: Prediction, mixture_N: Vector, start_N: Vector, *, ceilings_N: Vector) -> str:
    if not prediction.heard_D.any():
        return "The effects of all objectives are smaller than their noise, so the plan is natural mixing."
    if total_variation(mixture_N, start_N) < _NATURAL:
        tight = np.isclose(ceilings_N[ceilings_N > 0].sum(), 1, atol=1e-3)
        if tight:
            return "The run draws all available samples, so no other mixture is possible."
        return "No other mixture's predicted gain exceeds its risk, so the plan is natural mixing."
    silent = [n for n, heard in zip(prediction.objectives, prediction.heard_D, strict=True) if not heard]
    if silent:
        note = f"The plan ignores objectives with effects smaller than their noise: {', '.join(silent)}."
        if prediction.kept_FN is not None:
            note += (
                " Their field keeps at least its natural share, because the cost of a smaller "
                "share is unknown."
            )
        return note
    return "The plan counts every objective: its effects, or what it would lose, are larger than their noise."
