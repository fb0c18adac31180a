"""What a mixture is predicted to do to each objective, and how sure that is (method §8).

S_o(rho) = N_o + beta_o (B_o(rho) - B_o(n)) + gamma_o sum_d (rho_d - n_d) E_{d,o} - q_o KL(rho || n),
with beta, gamma, q >= 0, so that it is concave. The standard error is 0 at n and convex: it is that
of the prediction linearised at n. Shapes: N domains, D objectives, K rows of an error matrix,
P runs that coefficients are fitted to, C coefficients.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from dmix.mixing.effects.counts import CountModel
from dmix.mixing.effects.effects import Effects
from dmix.mixing.effects.probes import ProbeRuns, effects_without_each
from dmix.mixing.effects.store import StoredEffects
from dmix.mixing.space.domains import Array, Vector
from dmix.mixing.space.simplex import clipped, kl
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.taxonomy import FIELDS

COUNTS_THAT_COME, DISTANCE = 0.71, 0.44
"""beta, and q in scales: what 48 runs of 12 fitting worlds with a model of 0.37M weights taught
(`benchmarks/quality/worlds/priors.json`, by `python -m benchmarks.worlds fit`). Counts relative to a model
were not tried there."""

# Rounds off the corner of the standard error at n, in nats per token.
_CORNER = 1e-4
# Standard errors of a loss that noise alone reaches in one case of twenty.
_LOSS = 1.64
# Probes below which three coefficients are not fitted to them.
_LEAST_PROBES = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Coefficients:
    """beta, gamma and q of each objective, all from 0 on, shape (D,) each."""

    beta_D: Vector
    gamma_D: Vector
    q_D: Vector

    @classmethod
    def unfitted(cls, *, counted: bool, measured: bool, objectives: int) -> "Coefficients":
        """The plan's defaults: counts alone where there are any, else the measured effects."""
        ones_D, none_D = np.ones(objectives), np.zeros(objectives)
        return cls(
            beta_D=ones_D if counted else none_D,
            gamma_D=ones_D if measured and not counted else none_D,
            q_D=none_D,
        )

    def only(self, telling_D: NDArray[np.bool_]) -> "Coefficients":
        """Without the objectives whose effects are noise."""
        keep_D = telling_D.astype(np.float64)
        return Coefficients(beta_D=self.beta_D * keep_D, gamma_D=self.gamma_D * keep_D, q_D=self.q_D * keep_D)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """Predicted gains of every objective as functions of the mixture.

    An objective whose effects are within noise promises nothing, and its gain counts as 0: it is not heard.

    Attributes:
        natural_N: n, the mixture that gains are relative to.
        objectives: Names of the D objectives.
        coefficients: beta, gamma, q.
        heard_D: True for objectives whose effects count.
        counts: B; None without counts.
        effect_ND: E; None without measured effects.
        errors: One matrix (K, N) for each objective, as in `Effects`, beta and gamma included.
        natural_gain_D: N_o, the gain of natural mixing itself over the model before the run; 0 where
            nobody measured it.
        sources: Names of the effects that it is made of.
        kept_FN: Masks of the fields that a plan gives their natural share at least, shape (F, N): those whose
            objectives all have effects within noise, so that nobody knows what less of the field costs.
    """

    natural_N: Vector
    objectives: tuple[str, ...]
    coefficients: Coefficients
    heard_D: NDArray[np.bool_]
    counts: CountModel | None
    effect_ND: Array | None
    errors: tuple[Array, ...]
    natural_gain_D: Vector
    sources: tuple[str, ...] = ()
    kept_FN: NDArray[np.bool_] | None = None

    def kept(self, mixture_N: Vector) -> Vector:
        """The mixture with the share of each field of `kept_FN` raised to its natural one."""
        for field_N in () if self.kept_FN is None else self.kept_FN:
            wanted, share = float(self.natural_N[field_N].sum()), float(mixture_N[field_N].sum())
            if share < wanted:
                raised_N = self.natural_N if share == 0 else mixture_N * (wanted / share)
                rest_N = mixture_N * ((1 - wanted) / (1 - share))
                mixture_N = np.where(field_N, raised_N, rest_N)
        return mixture_N

    def hearing_losses(self, mixture_N: Vector, *, value_D: Vector) -> "Prediction | None":
        """The prediction that also hears the objectives that a mixture makes worse; None if there are none.

        The mixture was chosen without them, so their own errors did not choose it, and a loss of `_LOSS`
        standard errors is hardly noise. Where all gains together are a loss, each of them counts.

        Args:
            mixture_N: The best mixture by what is heard so far.
            value_D: lambda / s of each objective.
        """
        if not self.heard_D.any():
            return None
        gain_D = self._gains(mixture_N)
        # the price of distance alone says nothing about an objective
        measured_D = gain_D + self.coefficients.q_D * float(kl(mixture_N, clipped(self.natural_N)))
        weighed_D = ~self.heard_D & (value_D > 0)
        lost_D = weighed_D & (measured_D < -_LOSS * self._stderr(mixture_N))
        if not lost_D.any() and float(value_D @ gain_D) < 0:
            lost_D = weighed_D & (gain_D < 0)
        return dataclasses.replace(self, heard_D=self.heard_D | lost_D) if lost_D.any() else None

    def scores(self, mixture_N: Vector) -> Vector:
        """S_o(rho) less the score before the run, nats per token, shape (D,)."""
        return self.natural_gain_D + self.gains(mixture_N)

    def gains(self, mixture_N: Vector) -> Vector:
        """S_o(rho) - S_o(n), nats per token, shape (D,); 0 for objectives that are not heard."""
        return np.where(self.heard_D, self._gains(mixture_N), 0.0)

    def _gains(self, mixture_N: Vector) -> Vector:
        c = self.coefficients
        found_D = -c.q_D * float(kl(mixture_N, clipped(self.natural_N)))
        if self.counts is not None:
            found_D = found_D + c.beta_D * (self.counts.values(mixture_N) - self._counts_at_natural_D)
        if self.effect_ND is not None:
            found_D = found_D + c.gamma_D * ((mixture_N - self.natural_N) @ self.effect_ND)
        return found_D

    def gradient(self, mixture_N: Vector) -> Array:
        """dS_o / drho_d, shape (N, D); up to a constant for each objective, which no mixture feels."""
        c = self.coefficients
        slope_N = np.log(clipped(mixture_N)) - np.log(clipped(self.natural_N))
        found_ND = -slope_N[:, None] * c.q_D
        if self.counts is not None:
            found_ND = found_ND + c.beta_D * self.counts.gradient(mixture_N)
        if self.effect_ND is not None:
            found_ND = found_ND + c.gamma_D * self.effect_ND
        return np.where(self.heard_D, found_ND, 0.0)

    def stderr(self, mixture_N: Vector) -> Vector:
        """Standard error of `gains`, nats per token, shape (D,): convex, 0 at n."""
        return np.where(self.heard_D, self._stderr(mixture_N), 0.0)

    def _stderr(self, mixture_N: Vector) -> Vector:
        return np.array([_rounded(error @ (mixture_N - self.natural_N)) for error in self.errors])

    def stderr_gradient(self, mixture_N: Vector) -> Array:
        """Its gradient, shape (N, D)."""
        columns = []
        for error in self.errors:
            moved_K = error @ (mixture_N - self.natural_N)
            columns.append(moved_K @ error / np.sqrt(moved_K @ moved_K + _CORNER**2))
        return np.where(self.heard_D, np.stack(columns, axis=1), 0.0)

    def around(self, mixture_N: Vector, *, correction_ND: Array, errors: tuple[Array, ...]) -> "Prediction":
        """The same prediction with gains relative to another mixture, and what was measured around it.

        KL(rho || n) = KL(rho || m) + sum_d rho_d log(m_d / n_d), so nothing is approximated.

        Args:
            mixture_N: m, which takes the place of n.
            correction_ND: What is added to the effects, nats per token per unit of share.
            errors: Its error matrices, joined to those that are there.
        """
        apart_N = np.log(clipped(mixture_N)) - np.log(clipped(self.natural_N))
        correction_ND = correction_ND - apart_N[:, None] * self.coefficients.q_D
        return dataclasses.replace(
            self.corrected(correction_ND, errors), natural_N=mixture_N, natural_gain_D=self.scores(mixture_N)
        )

    def corrected(self, correction_ND: Array, errors: tuple[Array, ...]) -> "Prediction":
        """The same prediction with something added to its effects.

        Args:
            correction_ND: Nats per token per unit of share.
            errors: Its error matrices, joined to those that are there.
        """
        c = self.coefficients
        if self.effect_ND is not None:
            correction_ND = correction_ND + c.gamma_D * self.effect_ND
        return dataclasses.replace(
            self,
            coefficients=dataclasses.replace(c, gamma_D=np.ones_like(c.gamma_D)),
            effect_ND=correction_ND,
            errors=tuple(np.concatenate(pair) for pair in zip(self.errors, errors, strict=True)),
        )

    @cached_property
    def _counts_at_natural_D(self) -> Vector:
        assert self.counts is not None
        return self.counts.values(self.natural_N)


def predict(
    effects: Sequence[Effects],
    counts: CountModel | None,
    *,
    coefficients: Coefficients | None = None,
    natural_gain_D: Vector | None = None,
) -> Prediction:
    """The prediction that some effects of one dataset and environment make together.

    Objectives whose effects are noise are not heard, so that they pull nowhere.

    Args:
        effects: At most one of counts and one measured on a model (gradient or probe).
        counts: The model behind the counts, if they are among `effects`.
        coefficients: Fitted ones; the defaults when left out.
        natural_gain_D: N_o; 0 when left out.

    Raises:
        InputError: If the effects do not belong together.
    """
    if not effects:
        raise InputError("a prediction needs effects; run 'dmix mix probe' first")
    first = effects[0]
    for other in effects[1:]:
        if (other.dataset, other.objectives, other.environment) != (
            first.dataset,
            first.objectives,
            first.environment,
        ):
            raise InputError(
                f"effects {other.name!r} and {first.name!r} have different datasets or objectives; give "
                "effects of one dataset and one environment file"
            )
    counted = [e for e in effects if e.estimator == "counts"]
    measured = [e for e in effects if e.estimator != "counts"]
    if len(counted) > 1 or len(measured) > 1 or bool(counted) != (counts is not None):
        raise InputError(
            f"{len(counted)} effects by counts and {len(measured)} effects measured on a model were "
            "given; give at most one of each kind"
        )
    size = len(first.objectives)
    if coefficients is None:
        coefficients = Coefficients.unfitted(counted=bool(counted), measured=bool(measured), objectives=size)
    telling_D = np.any([e.telling_D for e in effects if _used(e, coefficients)], axis=0)
    scaled = [(coefficients.beta_D, counted), (coefficients.gamma_D, measured)]
    errors = tuple(
        np.concatenate([scale_D[index] * e.errors[index] for scale_D, kind in scaled for e in kind])
        for index in range(size)
    )
    return Prediction(
        natural_N=first.natural_N,
        objectives=first.objectives,
        coefficients=coefficients,
        heard_D=np.broadcast_to(telling_D, (size,)) & (coefficients.beta_D + coefficients.gamma_D > 0),
        counts=counts,
        effect_ND=measured[0].effect_ND if measured else None,
        errors=errors,
        natural_gain_D=np.zeros(size) if natural_gain_D is None else natural_gain_D,
        sources=tuple(e.name for e in effects),
    )


def predict_stored(found: Sequence[StoredEffects], *, taught: bool = False) -> Prediction:
    """The prediction that stored effects make, with the coefficients that runs taught.

    Effects of a checked plan hold fitted coefficients and N_o. Those by probes are fitted to the probes
    themselves, each predicted from the others. All others get the defaults.

    Args:
        found: As for `predict`.
        taught: Give counts without a model what fitting worlds taught, in place of the defaults.

    Raises:
        InputError: If the effects do not belong together.
    """
    environment = found[0].environment
    weights = dict(zip(environment.names, environment.weights_D, strict=True))
    weighed = [weights.get(name, 1.0) > 0 for name in found[0].effects.objectives]
    return keeping_fields(
        _predict_stored(found, taught=taught), found[0].effects, weighed_D=np.array(weighed)
    )


def keeping_fields(
    prediction: Prediction, effects: Effects, *, weighed_D: NDArray[np.bool_] | None = None
) -> Prediction:
    """The prediction that keeps the share of each field whose objectives with weight are all within noise.

    Counts relative to a model say nothing about what it knows already, so they cannot see that it forgets.

    Args:
        prediction: Of these effects.
        effects: They name fields and roles.
        weighed_D: False for objectives without weight; all have some when left out.
    """
    weighed_D = np.ones(len(effects.roles), bool) if weighed_D is None else weighed_D
    masks = []
    for field, role in zip(FIELDS, ("general", "target"), strict=True):
        of_role_D = weighed_D & (np.array(effects.roles) == role)
        if of_role_D.any() and not prediction.heard_D[of_role_D].any():
            masks.append([of == field for of, _ in effects.names])
    return dataclasses.replace(prediction, kept_FN=np.array(masks)) if masks else prediction


def _taught(effects: Sequence[Effects]) -> Coefficients | None:
    """What fitting worlds taught about counts without a model; None, the defaults, for all others."""
    counted = [e for e in effects if e.estimator == "counts" and not e.model]
    if not counted:
        return None
    ones_D = np.ones(len(effects[0].objectives))
    return Coefficients(
        beta_D=COUNTS_THAT_COME * ones_D, gamma_D=0 * ones_D, q_D=DISTANCE * counted[0].scales_D
    )


def _predict_stored(found: Sequence[StoredEffects], *, taught: bool) -> Prediction:
    """The prediction of stored effects, without what it keeps."""
    effects = [stored.effects for stored in found]
    counts = next((stored.counts for stored in found if stored.counts is not None), None)
    first = predict(effects, counts, coefficients=_taught(effects) if taught else None)
    fits = [stored.facts["fit"] for stored in found if "fit" in stored.facts]
    if fits:
        own = Coefficients(**{f"{c}_D": np.array(fits[0][c], float) for c in ("beta", "gamma", "q")})
        gain_D = np.array(fits[0]["natural_gain"], float)
        return predict(effects, counts, coefficients=own, natural_gain_D=gain_D)
    runs = next((ProbeRuns.of_facts(s.facts, s.effects.names) for s in found if "probes" in s.facts), None)
    if runs is None or len(runs.groups) < _LEAST_PROBES:
        return first
    target_N = np.array([field == FIELDS[1] for field, _ in effects[0].names])
    without_PND = effects_without_each(
        runs.groups,
        runs.doses_G,
        runs.scores_GD,
        runs.controls_CD,
        natural_N=first.natural_N,
        target_N=target_N,
    )
    fitted = fitted_coefficients(first, runs.mixtures(first.natural_N), runs.gains_GD, effect_PND=without_PND)
    return predict(effects, counts, coefficients=fitted.coefficients)


def fitted_coefficients(
    prediction: Prediction,
    mixtures_PN: Array,
    gains_PD: Array,
    *,
    ridge: float = 1.0,
    effect_PND: Array | None = None,
) -> Prediction:
    """The prediction with coefficients by non-negative ridge towards those that it has.

    Minimises sum_p (gain_p - features_p c)^2 / v + ridge |c - c0|^2 with c >= 0 for each objective,
    v the mean square of its gains, so that the ridge means the same in every unit.

    Args:
        prediction: Its coefficients are c0.
        mixtures_PN: Mixtures of runs, natural ones and probes.
        gains_PD: What they gained over natural mixing, nats per token.
        ridge: How many runs of typical size the old coefficients count for.
        effect_PND: Effects for each run, fitted without that run, so that no probe predicts itself;
            those of the prediction when left out.
    """
    apart_PN = mixtures_PN - prediction.natural_N
    none_PD = np.zeros(gains_PD.shape)
    counted_PD = none_PD
    if prediction.counts is not None:
        at_natural_D = prediction.counts.values(prediction.natural_N)
        counted_PD = np.array([prediction.counts.values(m) for m in mixtures_PN]) - at_natural_D
    linear_PD = none_PD
    if effect_PND is not None:
        linear_PD = np.einsum("pn,pnd->pd", apart_PN, effect_PND)
    elif prediction.effect_ND is not None:
        linear_PD = apart_PN @ prediction.effect_ND
    kl_P = np.array([float(kl(m, clipped(prediction.natural_N))) for m in mixtures_PN])
    fitted = ridge_coefficients(
        counted_PD,
        linear_PD,
        kl_P,
        gains_PD,
        start=prediction.coefficients.only(prediction.heard_D),
        ridge=ridge,
    )
    return dataclasses.replace(prediction, coefficients=fitted, heard_D=fitted.beta_D + fitted.gamma_D > 0)


def ridge_coefficients(
    counted_PD: Array,
    linear_PD: Array,
    kl_P: Vector,
    gains_PD: Array,
    *,
    start: Coefficients,
    ridge: float = 1.0,
) -> Coefficients:
    """Non-negative ridge of gains on their features, for each objective, towards the coefficients `start`.

    Args:
        counted_PD: B_o(rho) - B_o(n) of each run.
        linear_PD: sum_d (rho_d - n_d) E_{d,o} of each run.
        kl_P: KL(rho || n) of each run.
        gains_PD: What the runs gained over natural mixing, nats per token.
        start: c0.
        ridge: How many runs of typical size the old coefficients count for.
    """
    fitted = []
    for o in range(gains_PD.shape[1]):
        features_PC = np.column_stack([counted_PD[:, o], linear_PD[:, o], -kl_P])
        start_C = np.array([start.beta_D[o], start.gamma_D[o], start.q_D[o]])
        scale = float((gains_PD[:, o] ** 2).mean()) or 1.0
        # the unit of a coefficient is that of its feature, so each is held by its own mean square
        hold_C = np.sqrt(ridge * np.maximum((features_PC**2).mean(0), 1e-12) / scale)
        rows = np.vstack([features_PC / np.sqrt(scale), np.diag(hold_C)])
        wanted = np.concatenate([gains_PD[:, o] / np.sqrt(scale), hold_C * start_C])
        fitted.append(nnls(rows, wanted)[0])
    beta_D, gamma_D, q_D = np.array(fitted).T
    return Coefficients(beta_D=beta_D, gamma_D=gamma_D, q_D=q_D)


def _used(effects: Effects, coefficients: Coefficients) -> bool:
    used_D = coefficients.beta_D if effects.estimator == "counts" else coefficients.gamma_D
    return bool(used_D.any())


def _rounded(moved_K: Vector) -> float:
    return float(np.sqrt(moved_K @ moved_K + _CORNER**2) - _CORNER)
