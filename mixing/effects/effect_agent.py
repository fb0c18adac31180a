"""The effect agent: starts as the plan, believes its scores, plans what is left of the run anew at each step.

Before step t the filter (`dmix.mixing.effects.belief`) has read all scores. The next mixture maximises,
over what supply allows,

    sum_o lambda_o / s_o E[S_o at the end | rho] - tau W KL(rho || n) - kappa KL(rho || rho_{t-1})

with W the part of the run's gains that is left; kappa counts from step 2 on. On the scale
on which gains add up (`dmix.mixing.space.returns`), the end of the run is normal, with the mean gain

    W c_o (G_o(rho) - z stderr_o(rho)) + (M - t + 1) d_o (share(rho) - share_n),

c_o the mean scale and d_o the mean direction. Expected scores have a closed form, so uncertainty has a price.
Three hypotheses about what the promise missed (drift, scale, direction) count by how well they forecast
the scores. A constant mixture cannot tell them apart, so the target share may swing around the plan
(`asking`). Without news every step repeats the plan. Where the run contradicts what was promised, it falls
back to natural mixing and stays there. It keeps nothing between steps: a decision is a function of the
history. Shapes: N domains, D objectives, H hypotheses, T rows of history, row 0 the start.
"""

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.effects.belief import (
    DIRECTION,
    SCALE,
    Belief,
    BeliefSettings,
    Filter,
    Forecast,
    StepInput,
)
from dmix.mixing.effects.gradients import error_matrices
from dmix.mixing.effects.plan import Supply, ascend, plan_and_heard
from dmix.mixing.effects.prediction import Prediction
from dmix.mixing.effects.settings import PlanRules
from dmix.mixing.space.domains import Array, Vector
from dmix.mixing.space.history import History
from dmix.mixing.space.returns import Returns
from dmix.mixing.space.simplex import clipped, kl
from dmix.mixing.trajectories.guard import within_bounds
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import check_range, setting

# Bounds of a 95% interval, in standard errors.
_INTERVAL = 1.96
# Scores seen before a contradiction counts.
_FEWEST_SCORES = 3
# Second differences of scores that the noise of the settings counts for.
_FAITH = 4
# U that the best mixture of a step may be better by.
_GAP = 1e-3


@dataclass(frozen=True, kw_only=True)
class ListeningRules:
    """How the effect agent weighs news against its plan."""

    inertia: float = setting(
        0.05,
        help="Kappa: price of a change, in utility per nat of KL from the previous mixture.",
    )
    contradiction: float = setting(
        5.0,
        help="Number of standard errors by which a run's utility may fall below its forecast before the"
        " agent falls back to natural mixing.",
    )

    asking: float = setting(
        0.0, help="Swing of the target share, as a part of the smaller field, so that scores tell more."
    )
    asking_steps: int = setting(3, help="Steps of half a swing.")
    asking_until: float = setting(0.75, help="Part of the run with swings.")
    trust: float = setting(
        0.4, help="Part of the change in gradients of the run's model that corrects the effects."
    )

    def __post_init__(self) -> None:
        check_range(self, "inertia", least=0)
        if not self.contradiction > 0:  # infinity leaves a contradicted gain as it is
            raise InputError(f"contradiction is {self.contradiction}, expected a number above 0")
        check_range(self, "asking", least=0, below=1)
        check_range(self, "asking_steps", least=1)
        check_range(self, "asking_until", "trust", least=0, most=1)


def heard_by_plan(prediction: Prediction, history: History, rules: PlanRules) -> Prediction:
    """The prediction with all objectives that the static plan of the whole run has to hear.

    The same at every step, so that the filter reads all scores by one prediction.
    """
    if prediction.heard_D.all():
        return prediction
    drawn_N = history.step_samples * history.mixtures_TN[1:].sum(0)
    supply = Supply(
        total=history.step_samples * history.steps,
        samples_N=history.remaining_samples_N + np.rint(drawn_N).astype(np.int64),
        max_passes=1,
    )
    value_D = history.weights_D / history.scales_D
    return plan_and_heard(prediction, value_D=value_D, supply=supply, rules=rules)[0]


def with_run_effects(prediction: Prediction, history: History, *, trust: float) -> Prediction:
    """The prediction plus what gradients of the run's model say has changed since they were first taken.

    What the estimator gets wrong throughout cancels; what is learnt by now, and so helps less, stays.

    Args:
        prediction: Made before the run.
        history: Its `effects` are those before step 1 and the newest ones; with fewer, nothing changes.
        trust: Part of the change that counts.
    """
    if len(history.effects) < 2 or trust == 0:
        return prediction
    first, last = history.effects[0], history.effects[-1]
    weight_D = trust * prediction.heard_D
    stderr_ND = weight_D * np.hypot(first.stderr_ND, last.stderr_ND)
    return prediction.corrected(
        weight_D * (last.effect_ND - first.effect_ND), error_matrices(stderr_ND, prediction.natural_N)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """What the history of a run said.

    Attributes:
        belief: After its last score.
        surprise: Largest shortfall of the utility against its forecasts at any step so far, in
            standard errors: sum of forecast errors of U over the root of their summed variance.
        filter: A filter of the run: its scale, its noise.
    """

    belief: Belief
    surprise: float
    filter: Filter


def listen(
    history: History, prediction: Prediction, settings: BeliefSettings, *, noise_D: Vector | None = None
) -> Heard:
    """Reads the scores of a run.

    Args:
        history: All steps of it; row 0 holds the scores before the first.
        prediction: Of its objectives, in their order.
        settings: Prior and noise.
        noise_D: Measured standard deviation of a score's noise, nats per token; None takes that of the
            settings, corrected by what the run shows.
    """
    returns = Returns.of_scores(history.feedback_TD[0], settings.headroom)
    if noise_D is None:
        noise_D = settings.noise * history.scales_D * np.sqrt(noisier_than(history, settings))
    readings = [
        _read(
            history,
            prediction,
            Filter(
                only,
                scales_D=history.scales_D,
                steps=history.steps,
                returns=returns,
                noise_D=noise_D,
            ),
        )
        for only in settings.where_nobody_knows(prediction.natural_gain_D).hypotheses()
    ]
    evidence_H = np.array([reading.evidence for reading in readings])
    weight_H = np.exp(evidence_H - evidence_H.max())
    weight_H /= weight_H.sum()
    return Heard(
        belief=Belief.mixture([reading.belief for reading in readings], weight_H),
        surprise=float(weight_H @ [reading.surprise for reading in readings])
        if np.isfinite(readings[0].surprise)
        else -np.inf,
        filter=readings[0].filter,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reading:
    """What one hypothesis makes of a run: its belief, its largest shortfall, and its log evidence."""

    belief: Belief
    surprise: float
    evidence: float
    filter: Filter


def _read(history: History, prediction: Prediction, kalman: Filter) -> _Reading:
    value_D = history.weights_D / history.scales_D
    belief = kalman.start(history.feedback_TD[0])
    error, variance, seen, surprise, evidence = 0.0, 0.0, 0, -np.inf, 0.0
    for step in range(1, len(history.mixtures_TN)):
        done = step_input(history, prediction, kalman, history.mixtures_TN[step], step=step)
        predicted = kalman.predicted(belief, done)
        forecast = kalman.forecast(predicted)
        scores_D = history.feedback_TD[step]
        if np.isfinite(scores_D).all():
            error += float(value_D @ (scores_D - forecast.mean_D))
            variance += float(((value_D * forecast.stderr_D) ** 2).sum())
            seen += 1
            if seen >= _FEWEST_SCORES:
                surprise = max(surprise, -error / np.sqrt(variance))
        evidence += kalman.evidence(predicted, scores_D)
        belief = kalman.updated(predicted, scores_D)
    return _Reading(belief=belief, surprise=surprise, evidence=evidence, filter=kalman)


def noisier_than(history: History, settings: BeliefSettings) -> Vector:
    """How many times the variance of the settings a run's scores have, by their second differences.

    Where scores bend slowly, S_{t+1} - 2 S_t + S_{t-1} has six times the variance of their noise. The
    settings count for as many differences as `_FAITH`.
    """
    bends_TD = np.diff(history.feedback_TD, 2, axis=0)
    known_TD = np.isfinite(bends_TD)
    seen_D = np.where(known_TD, bends_TD, 0.0) ** 2 / 6
    expected_D = (settings.noise * history.scales_D) ** 2
    found: Vector = (_FAITH + seen_D.sum(0) / expected_D) / (_FAITH + known_TD.sum(0))
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Promise:
    """What a prediction says on the scale on which gains add up.

    Attributes:
        natural_gain_D: N_o there, nats per token.
        stretch_D: What a nat that a mixture gains over natural mixing is worth there.
    """

    natural_gain_D: Vector
    stretch_D: Vector

    @classmethod
    def of(cls, prediction: Prediction, returns: Returns) -> "Promise":
        """From gains in nats at the end of a run."""
        ends_D = returns.additive(returns.first_D + prediction.natural_gain_D)
        return cls(natural_gain_D=ends_D - returns.first_D, stretch_D=1 / returns.slope(ends_D))


def step_input(
    history: History, prediction: Prediction, kalman: Filter, mixture_N: Vector, *, step: int
) -> StepInput:
    """What a step under a mixture does, by the prediction."""
    promise = Promise.of(prediction, kalman.returns)
    rate = kalman.gain_shares(history.rate_shares_M)[step - 1] / _lasting(history, kalman, 1)
    before_N = history.mixtures_TN[1:step].sum(0)
    repeated = kalman.repetition.price(history, before_N + mixture_N) - kalman.repetition.price(
        history, before_N
    )
    return StepInput(
        natural_gain_D=rate * promise.natural_gain_D - repeated,
        gain_D=rate * promise.stretch_D * prediction.gains(mixture_N),
        share=_share(history, mixture_N),
        step_weight=float(kalman.step_weights(history.steps)[step - 1]),
    )


def replan(
    history: History,
    prediction: Prediction,
    heard: Heard,
    *,
    rules: PlanRules,
    listening: ListeningRules,
) -> Vector:
    """The mixture of step `history.step`, by what is left of the run.

    Args:
        history: The run so far.
        prediction: Of its objectives.
        heard: What its scores said.
        rules: Pull to natural mixing and caution.
        listening: Price of a change.

    Returns:
        Shape (N,), sum 1, within what the domains can still give.
    """
    hope = _Hope.of(history, prediction, heard, caution=rules.caution)
    left = float(heard.filter.gain_shares(history.rate_shares_M)[history.step - 1 :].sum())
    safe_N, last_N = clipped(prediction.natural_N), clipped(history.mixtures_TN[-1])
    pull, inertia = rules.pull * left, listening.inertia if history.step > 1 else 0.0

    def objective(mixture_N: Vector) -> float:
        kept = pull * float(kl(mixture_N, safe_N)) + inertia * float(kl(mixture_N, last_N))
        return hope.utility(mixture_N) - kept

    def gradient(mixture_N: Vector) -> Vector:
        logs_N = np.log(clipped(mixture_N))
        kept_N = pull * (logs_N - np.log(safe_N)) + inertia * (logs_N - np.log(last_N))
        slope_N: Vector = hope.gradient(mixture_N) - kept_N
        return slope_N

    floors_N, ceilings_N = remaining_supply(history).bounds()
    start_N = within_bounds(prediction.natural_N, floors_N, ceilings_N)
    mixture_N, _ = ascend(
        objective, gradient, start_N, floors_N=floors_N, ceilings_N=ceilings_N, tolerance=_GAP
    )
    if prediction.kept_FN is not None:
        mixture_N = within_bounds(prediction.kept(mixture_N), floors_N, ceilings_N)
    best_N = mixture_N if objective(mixture_N) > objective(start_N) + 1e-9 else start_N
    return within_bounds(_asked(history, best_N, listening), floors_N, ceilings_N)


def _asked(history: History, mixture_N: Vector, listening: ListeningRules) -> Vector:
    """The mixture with more target text in some steps and less in others, so that scores tell more."""
    if history.step > listening.asking_until * history.steps:
        return mixture_N
    phase = (history.step - 1) // listening.asking_steps
    target_N = history.space.target_N
    share = mixture_N[target_N].sum()
    swing = listening.asking * min(share, 1 - share)
    sign = 1.0 if phase % 2 else -1.0
    moved = share + sign * swing
    if not 0 < share < 1:
        return mixture_N
    return np.where(target_N, mixture_N * moved / share, mixture_N * (1 - moved) / (1 - share))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Hope:
    """Expected utility at the end of a run as a function of the mixture of its remaining steps.

    The end on the additive scale is normal: mean and variance follow from the belief about
    (level, drift, scale, direction) weighted by u = (what is kept of the level, steps that count, gain
    of the mixture, target share times steps that count).
    """

    history: History
    prediction: Prediction
    heard: Heard
    done_N: Vector
    steps: int
    value_D: Vector
    target_N: Vector
    natural_share: float
    kept: float
    count: float
    gain_D: Vector
    natural_gain_D: Vector
    caution: float

    @classmethod
    def of(cls, history: History, prediction: Prediction, heard: Heard, *, caution: float) -> "_Hope":
        promise, steps = Promise.of(prediction, heard.filter.returns), history.steps - history.step + 1
        left = _lasting(history, heard.filter, history.step) / _lasting(history, heard.filter, 1)
        kept = heard.filter.kept
        weights_T = heard.filter.step_weights(history.steps)[-steps:]
        return cls(
            history=history,
            prediction=prediction,
            heard=heard,
            done_N=history.mixtures_TN[1:].sum(0),
            steps=steps,
            value_D=history.weights_D / history.scales_D,
            target_N=history.space.target_N.astype(np.float64),
            natural_share=float(history.space.natural_N[history.space.target_N].sum()),
            kept=kept**steps,
            count=float(weights_T @ kept ** np.arange(steps - 1, -1, -1)),
            gain_D=left * promise.stretch_D,
            natural_gain_D=left * promise.natural_gain_D,
            caution=caution,
        )

    def utility(self, mixture_N: Vector) -> float:
        scores_D, _, _, _ = self._expected(mixture_N)
        repeated = self.heard.filter.repetition.price(self.history, self.done_N + self.steps * mixture_N)
        return float(self.value_D @ scores_D) - float(self.value_D.sum()) * repeated

    def gradient(self, mixture_N: Vector) -> Vector:
        _, by_mean_D, by_variance_D, u_D4 = self._expected(mixture_N)
        belief, prediction = self.heard.belief, self.prediction
        gains_ND = self.gain_D * prediction.gradient(mixture_N)
        share_N1 = self.count * self.target_N[:, None]
        error_D = self.gain_D * prediction.stderr(mixture_N)
        errors_ND = self.gain_D * prediction.stderr_gradient(mixture_N)
        mean_ND = (
            belief.scale_D * (gains_ND - self.caution * errors_ND) + share_N1 * belief.mean_D4[:, DIRECTION]
        )
        moved_D4 = np.einsum("dij,dj->di", belief.covariance_D44, u_D4)
        variance_ND = 2 * (
            moved_D4[:, SCALE] * gains_ND
            + moved_D4[:, DIRECTION] * share_N1
            + belief.scale_D**2 * error_D * errors_ND
        )
        slope_N: Vector = (by_mean_D * mean_ND + by_variance_D * variance_ND) @ self.value_D
        repeated_N = self.steps * self.heard.filter.repetition.slope(
            self.history, self.done_N + self.steps * mixture_N
        )
        return slope_N - float(self.value_D.sum()) * repeated_N

    def _expected(self, mixture_N: Vector) -> tuple[Vector, Vector, Vector, Array]:
        """Expected scores, their derivatives by mean and variance of the additive ones, and u."""
        belief, returns = self.heard.belief, self.heard.filter.returns
        gain_D = self.gain_D * self.prediction.gains(mixture_N)
        error_D = self.gain_D * self.prediction.stderr(mixture_N)
        share = float(self.target_N @ mixture_N) - self.natural_share
        ones_D = np.ones_like(gain_D)
        u_D4 = np.stack(
            [self.kept * ones_D, self.count * ones_D, gain_D, self.count * share * ones_D], axis=1
        )
        mean_D4 = belief.mean_D4.copy()
        mean_D4[:, SCALE] = belief.scale_D
        mean_D = (u_D4 * mean_D4).sum(1) + (1 - self.kept) * returns.first_D
        mean_D = mean_D + self.natural_gain_D - self.caution * belief.scale_D * error_D
        variance_D = np.einsum("di,dij,dj->d", u_D4, belief.covariance_D44, u_D4)
        variance_D = variance_D + (belief.scale_D * error_D) ** 2
        return (*returns.expected(mean_D, variance_D), u_D4)


def _lasting(history: History, kalman: Filter, step: int) -> float:
    """Share of the gains from a step on, each by what the end of the run keeps of it."""
    age_T = np.arange(history.steps - step, -1, -1)
    return float(kalman.gain_shares(history.rate_shares_M)[step - 1 :] @ kalman.kept**age_T)


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
    done = step_input(history, prediction, heard.filter, mixture_N, step=history.step)
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
