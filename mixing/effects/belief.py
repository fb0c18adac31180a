"""What a run's own scores say about its predictions: a Kalman filter for each objective.

The state of an objective is its level l and phi = (drift, scale, direction):

    phi_t = phi_{t-1} + eta_t,   eta_t normal with the walk's variance
    l_t   = S_0 + (1 - f) (l_{t-1} - S_0) + dN_t + phi_t . u_t
    u_t   = (m_t, w_t G(rho_t), m_t (share_t - share_n))
    z_t   = l_t + eps_t,         eps_t independent, with the variance of a score's noise

z is the score on the scale of `dmix.mixing.space.returns`, on which gains add up; dN_t is what
natural mixing gains in step t, G(rho) the predicted gain over natural mixing in a whole run, w_t the
step's fraction of the run's summed learning rate, share the target share, f what fades in a step
(method §8). Gains of a run come early where it saturates; then w_t and m_t (1 on average) fall from step to
step.
The prior mean of phi is (0, 1, 0): the prediction holds. A few numbers for each objective are all that a
run can tell: what its scores say about one domain of share 0.03 in 16 steps is below 1% of its variance.

Shapes: T steps, D objectives, 4 numbers of the state (level first).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dmix.mixing.space.domains import Array, Vector
from dmix.mixing.space.history import History
from dmix.mixing.space.returns import Returns
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import check_range, setting

LEVEL, DRIFT, SCALE, DIRECTION = range(4)
MOST_SATURATION = 20.0
_FREE = ("drift", "scale", "direction")
_PRIOR_MEAN = np.array([0.0, 0.0, 1.0, 0.0])


@dataclass(frozen=True, kw_only=True)
class BeliefSettings:
    """How sure predictions are before a run, and how noisy its scores.

    Numbers without unit are in scales s_o of the objective. Those of a step are shared out over the
    run's M steps, so that they mean the same for any M.
    """

    drift: float = setting(0.5, help="Standard deviation of the drift of a score over a whole run, in s_o.")
    scale: float = setting(0.5, help="Standard deviation of the scale of predicted gains around 1.")
    direction: float = setting(
        1.0,
        help="Standard deviation of the gain from one more unit of target share over a whole run, in s_o.",
    )
    walk: float = setting(
        0.5,
        help="Standard deviation by which drift, scale and direction may each change over a run, in units of"
        " their prior standard deviations.",
    )
    noise: float = setting(0.1, help="Standard deviation of a repeated measurement of a score, in s_o.")
    headroom: float = setting(
        1.0,
        help="Largest possible rise of a score, as a share of the distance of its first value from 0; .inf"
        " sets no limit.",
    )
    natural: float = setting(
        3.0, help="Standard deviation of the gain of natural mixing where nobody measured it, in s_o."
    )
    repetition: float = setting(
        0.0,
        help="Loss of every score, in nats, per squared share of the run that it draws from a domain beyond"
        " free_passes.",
    )
    minor: float = setting(
        0.2,
        help="Part of the other two standard deviations that remains if drift, scale or direction alone"
        " is wrong.",
    )
    free_passes: float = setting(2.0, help="Passes through a domain from which repetition costs.")
    fading: float = setting(0.0, help="Part of a gain that a whole run forgets, from 0 to below 1.")
    saturation: float = setting(
        0.0,
        help="How much earlier than the learning rate gains come: at a part p of the summed learning rate,"
        " a run has (1 - exp(-saturation p)) / (1 - exp(-saturation)) of its gains.",
    )

    def where_nobody_knows(self, natural_gain_D: Vector) -> "BeliefSettings":
        """These settings; with the drift of an unknown natural gain where that is 0 throughout.

        Scores of a young model rise under any mixture. An agent that does not expect it would take
        the rise for a merit of its plan, and go further.
        """
        return self if natural_gain_D.any() else replace(self, drift=max(self.drift, self.natural))

    def hypotheses(self) -> tuple["BeliefSettings", ...]:
        """One for each of drift, scale and direction: that one is free, the others nearly hold.

        A drift as wide as that of an unknown natural gain is free in all of them.
        """
        if self.drift >= self.natural:
            return tuple(
                replace(self, **{name: getattr(self, name) * self.minor for name in pair})
                for pair in (("scale", "direction"), ("direction",), ("scale",))
            )
        return tuple(
            replace(
                self, **{name: getattr(self, name) * (1 if name == free else self.minor) for name in _FREE}
            )
            for free in _FREE
        )

    def __post_init__(self) -> None:
        check_range(self, "drift", "scale", "direction", "walk", least=0)
        check_range(self, "noise", above=0)
        check_range(self, "saturation", least=0, most=MOST_SATURATION)
        if not (self.headroom > 0 and 0 <= self.fading < 1):
            raise InputError(
                f"headroom is {self.headroom} and fading is {self.fading}; expected headroom above 0, "
                "and fading from 0 to below 1"
            )


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """What it costs to read the same text again.

    Attributes:
        price_of_share: Nats of each score per squared share of a run that is drawn beyond the free passes.
        free_passes: Passes that cost nothing.
    """

    price_of_share: float
    free_passes: float

    def price(self, history: History, drawn_N: Vector) -> float:
        """Nats for what was drawn of each domain so far, in steps."""
        return self.price_of_share * float((self._beyond_N(history, drawn_N) ** 2).sum())

    def slope(self, history: History, drawn_N: Vector) -> Vector:
        """Its gradient, nats per step."""
        return 2 * self.price_of_share * self._beyond_N(history, drawn_N) / history.steps

    def _beyond_N(self, history: History, drawn_N: Vector) -> Vector:
        free_N = self.free_passes * history.space.samples_N / history.step_samples
        beyond_N: Vector = np.maximum(0.0, drawn_N - free_N) / history.steps
        return beyond_N


@dataclass(frozen=True, kw_only=True, eq=False)
class Belief:
    """Normal distributions of the states of D objectives.

    Attributes:
        mean_D4: Means; level on the additive scale in nats per token, drift in nats per token and step,
            scale without unit, direction in nats per token, step and unit of share.
        covariance_D44: Covariances.
    """

    mean_D4: Array
    covariance_D44: Array

    @classmethod
    def mixture(cls, beliefs: Sequence["Belief"], weight_H: Vector) -> "Belief":
        """One normal belief with mean and covariance of several, each with a probability."""
        means_HD4 = np.stack([belief.mean_D4 for belief in beliefs])
        mean_D4 = np.einsum("h,hdi->di", weight_H, means_HD4)
        apart_HD4 = means_HD4 - mean_D4
        within_D44 = np.einsum("h,hdij->dij", weight_H, np.stack([b.covariance_D44 for b in beliefs]))
        between_D44 = np.einsum("h,hdi,hdj->dij", weight_H, apart_HD4, apart_HD4)
        return cls(mean_D4=mean_D4, covariance_D44=within_D44 + between_D44)

    @property
    def scale_D(self) -> Vector:
        """Mean scale of the predicted gains; a negative one would turn the prediction around, so 0."""
        return np.maximum(0.0, self.mean_D4[:, SCALE])


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecast:
    """What scores are expected before they are measured.

    Attributes:
        mean_D: Nats per token.
        stderr_D: Standard deviation of the score, its own noise included.
    """

    mean_D: Vector
    stderr_D: Vector


@dataclass(frozen=True, kw_only=True, eq=False)
class StepInput:
    """What step t did, as the filter sees it.

    Attributes:
        natural_gain_D: dN_t, nats per token.
        gain_D: w_t G(rho_t), nats per token.
        share: Target share less the natural one.
        step_weight: m_t.
    """

    natural_gain_D: Vector
    gain_D: Vector
    share: float
    step_weight: float = 1.0

    def vectors_D3(self) -> Array:
        """u_t of each objective."""
        weights_D = np.full_like(self.gain_D, self.step_weight)
        return np.stack([weights_D, self.gain_D, self.share * weights_D], axis=1)


class Filter:
    """The Kalman filter of one run; a value of it belongs to a number of steps.

    Args:
        settings: Prior and noise.
        scales_D: s_o, nats per token.
        steps: M.
        returns: How scores bend; None for a straight line.
    """

    def __init__(
        self,
        settings: BeliefSettings,
        *,
        scales_D: Vector,
        steps: int,
        returns: Returns | None = None,
        noise_D: Vector | None = None,
    ) -> None:
        self.returns = returns or Returns.straight(np.zeros_like(scales_D))
        self.repetition = Repetition(price_of_share=settings.repetition, free_passes=settings.free_passes)
        self.kept = (1 - settings.fading) ** (1 / steps)
        self._saturation = settings.saturation
        self._noise_D = (settings.noise * scales_D if noise_D is None else noise_D) ** 2
        deviations_D3 = np.stack(
            [
                settings.drift * scales_D / steps,
                np.full_like(scales_D, settings.scale),
                settings.direction * scales_D / steps,
            ],
            axis=1,
        )
        self._walk_D3 = (settings.walk * deviations_D3) ** 2 / steps
        self._prior_D3 = deviations_D3**2

    def gain_shares(self, rate_shares_M: Vector) -> Vector:
        """w: the share of a run's gains that comes in each step, shape (M,), sum 1."""
        shares_M: Vector = np.diff(self._reached(np.concatenate([[0.0], np.cumsum(rate_shares_M)])))
        return shares_M

    def step_weights(self, steps: int) -> Vector:
        """m: the same of steps that count alike, times their number M; shape (M,)."""
        weights_M: Vector = np.diff(self._reached(np.linspace(0.0, 1.0, steps + 1)))
        return weights_M * steps

    def _reached(self, parts: Vector) -> Vector:
        """The part of its gains that a run has at a part of it."""
        if self._saturation == 0:
            return parts
        reached: Vector = np.expm1(-self._saturation * parts) / np.expm1(-self._saturation)
        return reached

    def start(self, scores_D: Vector) -> Belief:
        """The belief before the first step, given the model's first scores."""
        covariance_D44 = np.zeros((len(scores_D), 4, 4))
        covariance_D44[:, LEVEL, LEVEL] = self._noise_D
        covariance_D44[:, range(1, 4), range(1, 4)] = self._prior_D3
        mean_D4 = np.tile(_PRIOR_MEAN, (len(scores_D), 1))
        mean_D4[:, LEVEL] = scores_D
        return Belief(mean_D4=mean_D4, covariance_D44=covariance_D44)

    def predicted(self, belief: Belief, step: StepInput) -> Belief:
        """The belief after a step whose scores are not known yet."""
        moves_D44 = np.tile(np.eye(4), (len(belief.mean_D4), 1, 1))
        moves_D44[:, LEVEL, LEVEL] = self.kept
        moves_D44[:, LEVEL, 1:] = step.vectors_D3()
        walked_D44 = belief.covariance_D44.copy()
        walked_D44[:, range(1, 4), range(1, 4)] += self._walk_D3
        mean_D4 = (moves_D44 @ belief.mean_D4[..., None])[..., 0]
        mean_D4[:, LEVEL] += step.natural_gain_D + (1 - self.kept) * self.returns.first_D
        return Belief(mean_D4=mean_D4, covariance_D44=moves_D44 @ walked_D44 @ moves_D44.transpose(0, 2, 1))

    def forecast(self, predicted: Belief) -> Forecast:
        """The scores that a predicted belief expects."""
        mean_D, variance_D = predicted.mean_D4[:, LEVEL], predicted.covariance_D44[:, LEVEL, LEVEL]
        expected_D, slope_D, _ = self.returns.expected(mean_D, np.zeros_like(mean_D))
        return Forecast(mean_D=expected_D, stderr_D=np.sqrt(slope_D**2 * variance_D + self._noise_D))

    def evidence(self, predicted: Belief, scores_D: Vector) -> float:
        """Log density of a step's scores; 0 for those that are missing."""
        error_D, variance_D = self._innovation(predicted, scores_D)
        return float(-0.5 * (error_D**2 / variance_D + np.log(variance_D))[np.isfinite(scores_D)].sum())

    def _innovation(self, predicted: Belief, scores_D: Vector) -> tuple[Vector, Vector]:
        """How far scores are from what was expected on the additive scale, and the variance of that."""
        level_D = predicted.mean_D4[:, LEVEL]
        error_D = np.where(np.isfinite(scores_D), self.returns.additive(scores_D) - level_D, 0.0)
        noise_D = self._noise_D / self.returns.slope(level_D) ** 2
        return error_D, predicted.covariance_D44[:, LEVEL, LEVEL] + noise_D

    def updated(self, predicted: Belief, scores_D: Vector) -> Belief:
        """The belief after a step's scores; a missing score is NaN and changes nothing."""
        error_D, variance_D = self._innovation(predicted, scores_D)
        known_D = np.isfinite(scores_D)
        columns_D4 = predicted.covariance_D44[:, :, LEVEL]
        gain_D4 = np.where(known_D[:, None], columns_D4 / variance_D[:, None], 0.0)
        return Belief(
            mean_D4=predicted.mean_D4 + gain_D4 * error_D[:, None],
            covariance_D44=predicted.covariance_D44 - gain_D4[:, :, None] * columns_D4[:, None, :],
        )
