"""The effect agent: starts as the plan, believes its scores, plans what is left of the run anew at each step.

Before step t the filter (`dmix.mixing.effects.belief`) has read all scores. With W the part of the
run's summed learning rate that is left, c_o the mean scale and d_o the direction beyond its standard
error, the next mixture maximises, over what supply allows,

    sum_o lambda_o / s_o (W c_o (G_o(rho) - z stderr_o(rho)) + (M - t + 1) d_o (share(rho) - share_n))
        - tau W KL(rho || n) - kappa KL(rho || rho_{t-1})        (the last term from step 2 on)

so without news every step repeats the plan. Where the run contradicts what was promised, it falls
back to natural mixing and stays there. It keeps nothing between steps: a decision is a function of
the history. Shapes: N domains, D objectives, T rows of history, row 0 the start.
"""

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.effects.belief import Belief, BeliefSettings, Filter, Forecast, StepInput
from dmix.mixing.effects.plan import Supply, ascend
from dmix.mixing.effects.prediction import Prediction
from dmix.mixing.effects.settings import PlanRules
from dmix.mixing.space.domains import Vector
from dmix.mixing.space.history import History
from dmix.mixing.space.simplex import clipped, kl
from dmix.mixing.trajectories.guard import within_bounds
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import setting

# Bounds of a 95% interval, in standard errors.
_INTERVAL = 1.96
# Scores seen before a contradiction counts.
_FEWEST_SCORES = 3


@dataclass(frozen=True, kw_only=True)
class ListeningRules:
    """How the effect agent weighs news against its plan."""

    inertia: float = setting(
        0.05,
        help="Kappa: price of a change, in utility per nat of KL from the previous mixture.",
    )
    contradiction: float = setting(
        3.3,
        help="Number of standard errors by which a run's utility may fall below its forecast before the"
        " agent falls back to natural mixing.",
    )

    def __post_init__(self) -> None:
        if not (0 <= self.inertia < np.inf and self.contradiction > 0):
            raise InputError(
                f"inertia is {self.inertia} and contradiction {self.contradiction}; expected a number from"
                " 0 on and one above 0"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """What the history of a run said.

    Attributes:
        belief: After its last score.
        surprise: Largest shortfall of the utility against its forecasts at any step so far, in
            standard errors: sum of forecast errors of U over the root of their summed variance.
        filter: The filter that read it.
    """

    belief: Belief
    surprise: float
    filter: Filter


def listen(history: History, prediction: Prediction, settings: BeliefSettings) -> Heard:
    """Reads the scores of a run.

    Args:
        history: All steps of it; row 0 holds the scores before the first.
        prediction: Of its objectives, in their order.
        settings: Prior and noise.
    """
    kalman = Filter(settings, scales_D=history.scales_D, steps=history.steps)
    value_D = history.weights_D / history.scales_D
    belief = kalman.start(history.feedback_TD[0])
    error, variance, seen, surprise = 0.0, 0.0, 0, -np.inf
    for step in range(1, len(history.mixtures_TN)):
        done = step_input(history, prediction, history.mixtures_TN[step], step=step)
        predicted = kalman.predicted(belief, done)
        forecast = kalman.forecast(predicted)
        scores_D = history.feedback_TD[step]
        if np.isfinite(scores_D).all():
            error += float(value_D @ (scores_D - forecast.mean_D))
            variance += float(((value_D * forecast.stderr_D) ** 2).sum())
            seen += 1
            if seen >= _FEWEST_SCORES:
                surprise = max(surprise, -error / np.sqrt(variance))
        belief = kalman.updated(predicted, scores_D)
    return Heard(belief=belief, surprise=surprise, filter=kalman)


def step_input(history: History, prediction: Prediction, mixture_N: Vector, *, step: int) -> StepInput:
    """What a step under a mixture does, by the prediction."""
    rate = history.rate_shares_M[step - 1]
    return StepInput(
        natural_gain_D=rate * prediction.natural_gain_D,
        gain_D=rate * prediction.gains(mixture_N),
        share=_share(history, mixture_N),
    )


def replan(
    history: History,
    prediction: Prediction,
    belief: Belief,
    *,
    rules: PlanRules,
    listening: ListeningRules,
) -> Vector:
    """The mixture of step `history.step`, by what is left of the run.

    Args:
        history: The run so far.
        prediction: Of its objectives.
        belief: After its last score.
        rules: Pull to natural mixing and caution.
        listening: Price of a change.

    Returns:
        Shape (N,), sum 1, within what the domains can still give.
    """
    left = float(history.rate_shares_M[history.step - 1 :].sum())
    steps_left = history.steps - history.step + 1
    value_D = history.weights_D / history.scales_D
    scaled_D = left * value_D * belief.scale_D
    pull_towards_target = steps_left * float(value_D @ belief.direction_beyond_D(rules.caution))
    target_N = history.space.target_N.astype(np.float64)
    safe_N, last_N = clipped(prediction.natural_N), clipped(history.mixtures_TN[-1])
    pull, inertia = rules.pull * left, listening.inertia if history.step > 1 else 0.0

    def objective(mixture_N: Vector) -> float:
        gained_D = prediction.gains(mixture_N) - rules.caution * prediction.stderr(mixture_N)
        kept = pull * float(kl(mixture_N, safe_N)) + inertia * float(kl(mixture_N, last_N))
        return float(scaled_D @ gained_D) + pull_towards_target * float(target_N @ mixture_N) - kept

    def gradient(mixture_N: Vector) -> Vector:
        slope_ND = prediction.gradient(mixture_N) - rules.caution * prediction.stderr_gradient(mixture_N)
        logs_N = np.log(clipped(mixture_N))
        kept_N = pull * (logs_N - np.log(safe_N)) + inertia * (logs_N - np.log(last_N))
        slope_N: Vector = slope_ND @ scaled_D + pull_towards_target * target_N - kept_N
        return slope_N

    floors_N, ceilings_N = remaining_supply(history).bounds()
    start_N = within_bounds(prediction.natural_N, floors_N, ceilings_N)
    mixture_N, _ = ascend(objective, gradient, start_N, floors_N=floors_N, ceilings_N=ceilings_N)
    return mixture_N if objective(mixture_N) > objective(start_N) + 1e-9 else start_N


def remaining_supply(history: History) -> Supply:
    """What the rest of a run can draw: no more from a domain than it has left over all steps to come."""
    steps_left = history.steps - history.step + 1
    return Supply(
        total=history.step_samples * steps_left,
        samples_N=history.remaining_samples_N,
        max_passes=1,
    )


def forecast_of(history: History, prediction: Prediction, heard: Heard, mixture_N: Vector) -> Forecast:
    """The scores that are expected after step `history.step` under a mixture."""
    done = step_input(history, prediction, mixture_N, step=history.step)
    return heard.filter.forecast(heard.filter.predicted(heard.belief, done))


def forecast_json(objectives: tuple[str, ...], forecast: Forecast) -> str:
    """A forecast as the detail of a run event: mean and 95% interval of each objective."""
    return json.dumps(
        {
            name: {
                "expected": float(mean),
                "low": float(mean - _INTERVAL * error),
                "high": float(mean + _INTERVAL * error),
            }
            for name, mean, error in zip(objectives, forecast.mean_D, forecast.stderr_D, strict=True)
        }
    )


def _share(history: History, mixture_N: NDArray[np.float64]) -> float:
    target_N = history.space.target_N
    return float(mixture_N[target_N].sum() - history.space.natural_N[target_N].sum())
