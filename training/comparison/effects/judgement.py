"""How well each estimator ranks fresh mixtures: promised against real gains over natural mixing.

Everything follows from stored rows: `runs`, `items`, `promises.parquet`, `effects.parquet`. Effects saw
the feedback items of the objectives; the layer that judges has other documents.
Shapes: M fresh mixtures, P runs that coefficients are fitted to, N domains, D objectives.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.effects.prediction import Coefficients, ridge_coefficients
from dmix.mixing.effects.probes import effects_without_each, fit_probes
from dmix.mixing.space.domains import Array, DomainSpace, Vector
from dmix.mixing.space.simplex import clipped, kl
from dmix.training.comparison.data.settings import ComparisonSettings
from dmix.training.comparison.data.tiers import Tier
from dmix.training.comparison.effects.design import mixture_of, probe_of, probe_steps, setting_probes
from dmix.training.comparison.yardstick.admission import admissions, field_weights
from dmix.training.comparison.yardstick.variance import spearman

Row = dict[str, Any]
Means = Mapping[tuple[str, str, str], float]
Gains = dict[str, NDArray[np.float64]]
"""Promised or real gains of the fresh mixtures by estimator, shape (M, D)."""

UTILITY = "U"
FEEDBACK, JUDGING = "feedback", "confirmation"
_LEAST_MIXTURES, _LEAST_NATURAL, _LEAST_TILTS = 3, 2, 6


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What one estimator's promises are worth for one objective.

    Attributes:
        base: Number of the base model.
        layer: Layer of items.
        objective: Its name, or `U`.
        weight: Lambda among the admitted; 1 for U.
        estimator: Its name.
        run_equivalents: Its price, in runs.
        mixtures: Fresh mixtures whose runs are done.
        natural_runs: Runs of natural mixing.
        noise: Standard deviation of natural runs, which differ in their seed; nats per token, none for U.
        spread: Standard deviation of the fresh mixtures' real gains.
        promised_spread: The same of the promised gains.
        spearman: Rank correlation of promised and real gains; 0 where one of them does not vary.
        slope: Real gain for each unit of promised gain, by least squares through natural mixing.
    """

    base: int
    layer: str
    objective: str
    weight: float
    estimator: str
    run_equivalents: float
    mixtures: int
    natural_runs: int
    noise: float
    spread: float
    promised_spread: float
    spearman: float
    slope: float


@dataclass(frozen=True, eq=False)
class Stored:
    """The stored rows of a setting.

    Attributes:
        settings: Names objectives and layers.
        tier: Says how many runs are planned.
        space: The domains of the runs.
        tables: `runs` and `items` of the results.
        promises: Rows of `promises.parquet`.
        effects: Rows of `effects.parquet`.
    """

    settings: ComparisonSettings
    tier: Tier
    space: DomainSpace
    tables: Mapping[str, Sequence[Row]]
    promises: Sequence[Row]
    effects: Sequence[Row]

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives that effects are about."""
        return tuple(objective.name for objective in self.settings.in_layer(FEEDBACK))

    def runs(self, part: str, base: int) -> list[Row]:
        """Finished runs of a part on a base model, in the order of their specs."""
        return [row for row in self._runs if (row["part"], row["base"]) == (part, base)]

    @cached_property
    def _runs(self) -> list[Row]:
        done = {row["unit_id"]: row for row in self.tables["runs"] if row["status"] == "done"}
        return sorted(done.values(), key=lambda row: (row["controller"], row["seed"]))

    def scores(self, runs: Sequence[Row], layer: str) -> Array:
        """Mean item score of each run on each objective, shape (runs, D)."""
        return self._of_runs(self._means, runs, layer)

    def gains(self, runs: Sequence[Row], layer: str) -> Array:
        """Mean gain over the base model's score of each run on each objective, shape (runs, D)."""
        return self._of_runs(self._gains, runs, layer)

    def _of_runs(self, means: Means, runs: Sequence[Row], layer: str) -> Array:
        names = self.objectives
        found: Array = np.array([[means[run["unit_id"], layer, name] for name in names] for run in runs])
        return found.reshape(len(runs), len(names))

    @cached_property
    def step_mixtures(self) -> dict[str, Array]:
        """Mixtures of each run by step, shape (steps, N)."""
        found: dict[str, list[list[float]]] = defaultdict(list)
        for row in sorted(self.tables["steps"], key=lambda row: row["step"]):
            found[row["unit_id"]].append(row["mixture"])
        return {unit: np.array(mixtures) for unit, mixtures in found.items()}

    @cached_property
    def _gains(self) -> Means:
        return self._mean_of(lambda row: row["score"] - row["base_score"])

    @cached_property
    def _means(self) -> Means:
        return self._mean_of(lambda row: row["score"])

    def _mean_of(self, value: Callable[[Row], float]) -> Means:
        """Means over the items of an objective, by unit, layer and objective."""
        found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for row in self.tables["items"]:
            found[row["unit_id"], row["layer"], row["objective"]].append(value(row))
        return {key: float(np.mean(values)) for key, values in found.items()}

    def promised(self, estimator: str, base: int, specs: Sequence[str]) -> Array | None:
        """Promised gains of some mixtures, shape (len(specs), D); None if one is missing."""
        mine = {
            (row["spec"], row["objective"]): row["promised"]
            for row in self.promises
            if (row["estimator"], row["base"]) == (estimator, base)
        }
        keys = [[(spec, name) for name in self.objectives] for spec in specs]
        if not specs or any(key not in mine for row in keys for key in row):
            return None
        return np.array([[mine[key] for key in row] for row in keys])

    def prices(self, base: int) -> dict[str, float]:
        """Run equivalents of each estimator that was measured on a base model."""
        return {row["estimator"]: row["run_equivalents"] for row in self.effects if row["base"] == base}


def judge(stored: Stored) -> list[Judged]:
    """Every estimator on every objective and on U; empty before a few runs of the stage are done."""
    found: list[Judged] = []
    for base in range(stored.tier.effect_bases):
        fresh, natural = stored.runs("fresh", base), stored.runs("natural", base)
        if len(fresh) < _LEAST_MIXTURES or len(natural) < _LEAST_NATURAL:
            continue
        promised, prices = promised_gains(stored, base, fresh, natural)
        for layer in (JUDGING, FEEDBACK):
            found += _on_layer(
                stored, base, layer, fresh=fresh, natural=natural, promised=promised, prices=prices
            )
    return found


def promised_gains(
    stored: Stored, base: int, fresh: Sequence[Row], natural: Sequence[Row]
) -> tuple[Gains, dict[str, float]]:
    """What each estimator, and each sum of two, promises the fresh mixtures; and their prices."""
    specs = [spec_of(run) for run in fresh]
    prices = stored.prices(base)
    found: Gains = {}
    for estimator in sorted(prices):
        gains_MD = stored.promised(estimator, base, specs)
        if gains_MD is not None:
            found[estimator] = gains_MD
    mixtures_MN = np.array([mixture_of(spec, stored.settings, stored.space) for spec in specs])
    probes = ProbeRows.of(stored, base)
    if probes is not None:
        found["probe"] = (mixtures_MN - stored.space.natural_N) @ probes.effect_ND
        prices["probe"] = probes.run_equivalents
    if "counts" in found:
        for other in ("gradient", "probe"):
            if other in found:
                name = f"counts + {other}"
                found[name] = equal_sum(found["counts"], found[other])
                prices[name] = prices["counts"] + prices[other]
        kl_M = np.array([float(kl(m, clipped(stored.space.natural_N))) for m in mixtures_MN])
        _add_fitted(stored, base, natural=natural, probes=probes, kl_M=kl_M, found=found, prices=prices)
    return found, prices


def equal_sum(first_MD: Array, other_MD: Array) -> Array:
    """The sum of two promises of the same spread over the mixtures, objective by objective."""
    spread_D, other_D = first_MD.std(0), other_MD.std(0)
    scale_D = np.divide(spread_D, other_D, out=np.zeros_like(other_D), where=other_D > 0)
    return first_MD + other_MD * scale_D


def _add_fitted(
    stored: Stored,
    base: int,
    *,
    natural: Sequence[Row],
    probes: "ProbeRows | None",
    kl_M: Vector,
    found: Gains,
    prices: dict[str, float],
) -> None:
    """Adds predictions with fitted coefficients: to probes and controls, and to the yardstick's runs."""
    start = Coefficients.unfitted(counted=True, measured=False, objectives=len(stored.objectives))
    none_MD = np.zeros_like(found["counts"])
    if probes is not None:
        counted_PD = stored.promised("counts", base, probes.specs)
        if counted_PD is not None:
            c = ridge_coefficients(counted_PD, probes.predicted_PD, probes.kl_P, probes.gains_PD, start=start)
            name = "counts + probe, fitted to probes"
            found[name] = _summed(c, found["counts"], found["probe"], kl_M)
            prices[name] = prices["probe"]
    tilts = stored.runs("tilt", base)
    specs = [spec_of(run) for run in tilts]
    counted_PD = stored.promised("counts", base, specs)
    if len(set(specs)) < _LEAST_TILTS or counted_PD is None:
        return
    measured = "probe" if "probe" in found else "gradient" if "gradient" in found else ""
    mixtures_PN = np.array([mixture_of(spec, stored.settings, stored.space) for spec in specs])
    linear_PD = np.zeros_like(counted_PD)
    if measured == "probe" and probes is not None:
        linear_PD = (mixtures_PN - stored.space.natural_N) @ probes.effect_ND
    elif measured:
        taken = stored.promised(measured, base, specs)
        linear_PD = linear_PD if taken is None else taken
    gains_PD = stored.scores(tilts, FEEDBACK) - stored.scores(natural, FEEDBACK).mean(0)
    kl_P = np.array([float(kl(m, clipped(stored.space.natural_N))) for m in mixtures_PN])
    c = ridge_coefficients(counted_PD, linear_PD, kl_P, gains_PD, start=start)
    name = f"counts{' + ' + measured if measured else ''}, fitted to the yardstick"
    found[name] = _summed(c, found["counts"], found.get(measured, none_MD), kl_M)
    prices[name] = prices.get(measured, 0.0) + len(tilts) + len(natural)


def _summed(c: Coefficients, counted_MD: Array, linear_MD: Array, kl_M: Vector) -> Array:
    found_MD: Array = c.beta_D * counted_MD + c.gamma_D * linear_MD - c.q_D * kl_M[:, None]
    return found_MD


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeRows:
    """The probes of a base model, all of them done.

    Attributes:
        specs: Specs of the P probes.
        effect_ND: Effects fitted to all of them.
        errors: Their error matrices, as in `Effects`.
        mixtures_PN: What each probe trained on.
        predicted_PD: Gain of each probe by effects fitted without it.
        gains_PD: What it gained over the controls.
        kl_P: KL of its mixture from natural mixing.
        run_equivalents: Price of probes and controls.
    """

    specs: list[str]
    effect_ND: Array
    errors: tuple[Array, ...]
    mixtures_PN: Array
    predicted_PD: Array
    gains_PD: Array
    kl_P: Vector
    run_equivalents: float

    @classmethod
    def of(cls, stored: Stored, base: int) -> "ProbeRows | None":
        """The probes, from stored runs; None before all are done."""
        settings, space = stored.settings, stored.space
        runs, controls = stored.runs("probe", base), stored.runs("control", base)
        if len(runs) < 2 or len(runs) + len(controls) < len(setting_probes(settings, space)):
            return None
        probes = [probe_of(spec_of(run), space) for run in runs]
        scores_PD, controls_CD = stored.scores(runs, FEEDBACK), stored.scores(controls, FEEDBACK)
        groups, doses_P = [probe.domains for probe in probes], np.array([probe.dose for probe in probes])
        fit = fit_probes(
            groups,
            doses_P,
            scores_PD,
            controls_CD,
            natural_N=space.natural_N,
            target_N=space.target_N,
        )
        without_PND = effects_without_each(
            groups,
            doses_P,
            scores_PD,
            controls_CD,
            natural_N=space.natural_N,
            target_N=space.target_N,
        )
        mixtures_PN = np.array([probe.mixture_N for probe in probes])
        return cls(
            specs=[probe.probe_id for probe in probes],
            effect_ND=fit.effect_ND,
            errors=fit.errors,
            mixtures_PN=mixtures_PN,
            predicted_PD=np.einsum("pn,pnd->pd", mixtures_PN - space.natural_N, without_PND),
            gains_PD=scores_PD - controls_CD.mean(0),
            kl_P=np.array([float(kl(m, clipped(space.natural_N))) for m in mixtures_PN]),
            run_equivalents=(len(runs) + len(controls)) * probe_steps(settings) / settings.steps,
        )


def _on_layer(
    stored: Stored,
    base: int,
    layer: str,
    *,
    fresh: Sequence[Row],
    natural: Sequence[Row],
    promised: Gains,
    prices: Mapping[str, float],
) -> list[Judged]:
    natural_CD = stored.scores(natural, layer)
    real_MD = stored.scores(fresh, layer) - natural_CD.mean(0)
    weight_D, scale_D = utility_scales(stored, layer, real_MD)
    value_D = weight_D / scale_D
    noise_D = natural_CD.std(0, ddof=1)
    found = []
    for estimator, gains_MD in promised.items():
        columns = [
            (name, weight_D[o], noise_D[o], real_MD[:, o], gains_MD[:, o])
            for o, name in enumerate(stored.objectives)
        ]
        columns.append(
            (
                UTILITY,
                1.0,
                (natural_CD @ value_D).std(ddof=1),
                real_MD @ value_D,
                gains_MD @ value_D,
            )
        )
        for name, weight, noise, real_M, gains_M in columns:
            square = float(gains_M @ gains_M)
            found.append(
                Judged(
                    base=base,
                    layer=layer,
                    objective=name,
                    weight=float(weight),
                    estimator=estimator,
                    run_equivalents=prices[estimator],
                    mixtures=len(fresh),
                    natural_runs=len(natural),
                    noise=float(noise),
                    spread=float(real_M.std(ddof=1)),
                    promised_spread=float(gains_M.std(ddof=1)),
                    spearman=spearman(gains_M, real_M),
                    slope=float(gains_M @ real_M) / square if square > 0 else float("nan"),
                )
            )
    return found


def utility_scales(stored: Stored, layer: str, real_MD: Array) -> tuple[Vector, Vector]:
    """lambda and s of the objectives: of the yardstick; before it is run, all objectives and these runs."""
    names = stored.objectives
    found = yardstick_scales(stored, layer)
    if found is not None:
        return found
    weights = field_weights([o for o in stored.settings.objectives if o.name in names])
    spread_D = real_MD.std(0, ddof=1)
    return np.array([weights[n] for n in names]), np.where(spread_D > 0, spread_D, 1.0)


def yardstick_scales(stored: Stored, layer: str) -> tuple[Vector, Vector] | None:
    """lambda and s by the yardstick; None before it is run, or where it admits no objective."""
    names = stored.objectives
    admitted = {
        a.objective: a for a in admissions(stored.settings, stored.tier, stored.tables) if a.layer == layer
    }
    weight_D = np.array([admitted[n].weight if n in admitted else 0.0 for n in names])
    if not weight_D.any():
        return None
    scale_D = np.array([admitted[n].scale if n in admitted else 1.0 for n in names])
    return weight_D / weight_D.sum(), np.where(scale_D > 0, scale_D, 1.0)


def spec_of(run: Row) -> str:
    """Spec of the unit of a stored run."""
    spec: str = json.loads(run["spec"])["spec"]
    return spec
