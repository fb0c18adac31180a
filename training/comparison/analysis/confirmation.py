"""The verdicts of the third protocol, from stored rows alone (method §7).

Differences are paired by base model: U of the agent less U of another cell, each a mean over run seeds, and
Student's t over base models. Hypothesis (a): the agent is behind no reference by the margin; (b): it is ahead
of every rival. Either is as strong as its weakest comparison, so its p is the largest one of them
(intersection-union; Berger 1982), and Holm's correction goes over settings. Shapes: B base models, S seeds,
D objectives, M mixtures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from dmix.mixing.space.domains import Array, Vector
from dmix.mixing.space.simplex import total_variation
from dmix.training.comparison.analysis.statistics import holm
from dmix.training.comparison.effects.judgement import JUDGING, Row, Stored, yardstick_scales
from dmix.training.comparison.runs.protocol import ThirdProtocol
from dmix.training.comparison.yardstick.variance import components, scale
from dmix.warehouse_schema.errors import InputError

LEVEL, POWER = 0.95, 0.8
REFERENCE, RIVAL, BESIDE = "reference", "rival", "beside"
NOT_BEHIND, AHEAD = "not behind", "ahead"


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The agent against another cell in one setting.

    Attributes:
        setting: Its name.
        cell: The other cell.
        role: `reference`, `rival` or `beside`.
        bases: Base models on which both cells are done.
        difference: Mean difference in U.
        low, high: Its 95% interval.
        p: One-sided p that the difference is at most the bound: minus the margin for references, else 0.
        nats: The same difference without scales, nats per token.
        nats_low, nats_high: Its 95% interval.
        outside: Difference in U on objectives whose corpus is no domain of the run.
        weakest: Lowest difference in U when one objective is left out.
        weakest_without: That objective.
        total_variation: Distance between the two cells' mixtures, mean over steps and base models.
        source_tokens: Source tokens of the agent less those of the other cell, as a share of the latter.
    """

    setting: str
    cell: str
    role: str
    bases: int
    difference: float
    low: float
    high: float
    p: float
    nats: float
    nats_low: float
    nats_high: float
    outside: float
    weakest: float
    weakest_without: str
    total_variation: float
    source_tokens: float

    @property
    def word(self) -> str:
        """`ahead`, `behind` or `tie` by the interval; `depends on the scale` where nats have another sign."""
        if self.low <= 0 <= self.high:
            return "tie"
        if np.sign(self.difference) != np.sign(self.nats):
            return "depends on the scale"
        return "ahead" if self.low > 0 else "behind"


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One hypothesis in one setting.

    Attributes:
        setting: Its name.
        claim: `not behind` the references, or `ahead` of the rivals.
        weakest: The cell with the largest p.
        p: That p.
        p_holm: After Holm's correction over settings.
        holds: Whether the hypothesis is shown, in U and in nats.
    """

    setting: str
    claim: str
    weakest: str
    p: float
    p_holm: float
    holds: bool


def utilities(stored: Stored, cell: str, protocol: ThirdProtocol, value_D: Vector) -> Array | None:
    """U of a cell, shape (B, S); None unless all of its runs are done."""
    runs = _cell_runs(stored, cell, protocol)
    if runs is None:
        return None
    gains = stored.gains([run for row in runs for run in row], JUDGING) @ value_D
    found: Array = gains.reshape(len(runs), protocol.seeds)
    return found


def contrasts(stored: Stored, protocol: ThirdProtocol) -> list[Contrast]:
    """The agent against every other cell whose runs are all done; empty before its own are.

    Raises:
        InputError: If the yardstick admits no objective.
    """
    weight_D, scale_D = _judging_scales(stored)
    agent = _cell_runs(stored, protocol.agent, protocol)
    if agent is None:
        return []
    spread = utility_spread(stored, weight_D / scale_D)
    bounds = dict.fromkeys(protocol.references, -protocol.margin * spread)
    roles = dict.fromkeys(protocol.references, REFERENCE) | dict.fromkeys(protocol.rivals, RIVAL)
    found = []
    for cell in protocol.cells[1:]:
        other = _cell_runs(stored, cell, protocol)
        if other is None:
            continue
        pair = _Pair(stored, agent, other)
        difference, low, high, p = paired(pair.differences(weight_D / scale_D), bound=bounds.get(cell, 0.0))
        nats, nats_low, nats_high, _ = paired(pair.differences(weight_D))
        weakest, without = pair.weakest(weight_D, scale_D)
        found.append(
            Contrast(
                setting=stored.settings.name,
                cell=cell,
                role=roles.get(cell, BESIDE),
                bases=len(agent),
                difference=difference,
                low=low,
                high=high,
                p=p,
                nats=nats,
                nats_low=nats_low,
                nats_high=nats_high,
                outside=float(pair.differences(_outside(stored, weight_D) / scale_D).mean()),
                weakest=weakest,
                weakest_without=without,
                total_variation=pair.total_variation(),
                source_tokens=pair.source_tokens(),
            )
        )
    return found


def objective_gains(stored: Stored, protocol: ThirdProtocol) -> dict[str, Vector]:
    """Gain of the agent over each other finished cell by objective, mean over base models and seeds.

    Returns:
        Nats per token by cell, shape (D,); empty before the agent's own runs are done.
    """
    agent = _cell_runs(stored, protocol.agent, protocol)
    others = {cell: _cell_runs(stored, cell, protocol) for cell in protocol.cells[1:]}
    return {
        cell: _Pair(stored, agent, runs).gains().mean(0)
        for cell, runs in others.items()
        if agent is not None and runs is not None
    }


def hypotheses(found: Mapping[str, Sequence[Contrast]], protocol: ThirdProtocol) -> list[Hypothesis]:
    """Both hypotheses in every setting in which all their comparisons are done, corrected for all settings.

    Args:
        found: Contrasts by setting.
        protocol: What was promised.
    """
    claims = ((NOT_BEHIND, protocol.references), (AHEAD, protocol.rivals))
    result = []
    for claim, cells in claims:
        weakest = {}
        for setting, of_setting in found.items():
            own = [contrast for contrast in of_setting if contrast.cell in cells]
            if {contrast.cell for contrast in own} == set(cells):
                weakest[setting] = max(own, key=lambda contrast: contrast.p)
        # a setting that is not finished counts as one that shows nothing, so later ones take no verdict back
        unfinished = [1.0] * len(set(protocol.settings) - set(weakest))
        corrected = holm([*(contrast.p for contrast in weakest.values()), *unfinished])
        for (setting, contrast), p in zip(weakest.items(), corrected, strict=False):
            ahead = [c for c in found[setting] if c.cell in cells]
            signs = claim == NOT_BEHIND or all(c.nats > 0 for c in ahead)
            result.append(
                Hypothesis(
                    setting=setting,
                    claim=claim,
                    weakest=contrast.cell,
                    p=contrast.p,
                    p_holm=p,
                    holds=p < 1 - LEVEL and signs,
                )
            )
    return result


def paired(difference_B: Vector, *, bound: float = 0.0) -> tuple[float, float, float, float]:
    """Mean, both ends of its 95% interval, and the one-sided p that the mean is at most the bound.

    Raises:
        ValueError: If there are fewer than two base models.
    """
    bases = len(difference_B)
    if bases < 2:
        raise ValueError(f"differences of {bases} base models, expected at least two")
    mean, error = float(difference_B.mean()), float(difference_B.std(ddof=1) / np.sqrt(bases))
    half = float(stats.t.ppf((1 + LEVEL) / 2, bases - 1)) * error
    if error == 0:
        return mean, mean, mean, 0.0 if mean > bound else 1.0
    return mean, mean - half, mean + half, float(stats.t.sf((mean - bound) / error, bases - 1))


def utility_spread(stored: Stored, value_D: Vector) -> float:
    """Standard deviation of U over the yardstick's tilts, base means removed."""
    return scale(_tilt_utilities(stored, value_D))


def power(stored: Stored, protocol: ThirdProtocol) -> tuple[float, float]:
    """(power of (a) for one reference if nothing differs, smallest difference that (b) finds at power 0.8).

    From the variance components of U over the yardstick's runs: a difference of two cells on a base model has
    twice the variance of base x mixture, and twice that of seeds over their number.
    """
    weight_D, scale_D = _judging_scales(stored)
    grid_MBS = _tilt_utilities(stored, weight_D / scale_D)
    parts, bases = components(grid_MBS), stored.settings.bases
    error = np.sqrt(2 * (parts.interaction + parts.seed / protocol.seeds) / bases)
    critical = stats.t.ppf(LEVEL, bases - 1)

    def reached(difference: float) -> float:
        return float(stats.nct.sf(critical, bases - 1, difference / error))

    least = optimize.brentq(lambda difference: reached(difference) - POWER, 0.0, 20 * error)
    return reached(protocol.margin * scale(grid_MBS)), float(least)


@dataclass(frozen=True, eq=False)
class _Pair:
    """Finished runs of two cells, shape (B, S) each."""

    stored: Stored
    agent: list[list[Row]]
    other: list[list[Row]]

    def gains(self) -> Array:
        """Gain of the agent over the other cell, mean over seeds, shape (B, D)."""
        first, second = (
            np.array([self.stored.gains(row, JUDGING).mean(0) for row in runs])
            for runs in (self.agent, self.other)
        )
        found: Array = first - second
        return found

    def differences(self, value_D: Vector) -> Vector:
        """Difference of each base model, shape (B,)."""
        found: Vector = self.gains() @ value_D
        return found

    def weakest(self, weight_D: Vector, scale_D: Vector) -> tuple[float, str]:
        """The lowest mean difference in U without one objective, and that objective."""
        found = []
        for o in np.flatnonzero(weight_D):
            kept_D = np.where(np.arange(len(weight_D)) == o, 0.0, weight_D)
            if kept_D.any():
                value = float(self.differences(kept_D / kept_D.sum() / scale_D).mean())
                found.append((value, self.stored.objectives[o]))
        return min(found) if found else (float(self.differences(weight_D / scale_D).mean()), "")

    def total_variation(self) -> float:
        """Distance of the mixtures step by step, mean over steps, seeds and base models."""
        mixtures = self.stored.step_mixtures
        found = [
            float(total_variation(mixtures[a["unit_id"]], mixtures[b["unit_id"]]).mean())
            for row_a, row_b in zip(self.agent, self.other, strict=True)
            for a, b in zip(row_a, row_b, strict=True)
        ]
        return float(np.mean(found))

    def source_tokens(self) -> float:
        """Source tokens of the agent relative to the other cell's."""
        first, second = (
            sum(run["source_tokens"] for row in runs for run in row) for runs in (self.agent, self.other)
        )
        return first / second - 1 if second else float("nan")


def _cell_runs(stored: Stored, cell: str, protocol: ThirdProtocol) -> list[list[Row]] | None:
    """Finished runs of a cell by base model and seed; None unless all are done."""
    seeds = range(protocol.first_seed, protocol.first_seed + protocol.seeds)
    found = []
    for base in range(stored.settings.bases):
        own = {run["seed"]: run for run in stored.runs("cell", base) if run["controller"] == cell}
        if not set(seeds) <= set(own):
            return None
        found.append([own[seed] for seed in seeds])
    return found


def _judging_scales(stored: Stored) -> tuple[Vector, Vector]:
    found = yardstick_scales(stored, JUDGING)
    if found is None:
        raise InputError(
            f"the yardstick of {stored.settings.name!r} admits no objective; run --stage yardstick first"
        )
    return found


def _outside(stored: Stored, weight_D: Vector) -> Vector:
    """Lambda of the objectives whose corpus is no domain, summing to 1; all of them where there are none."""
    origin = {objective.name: objective.origin for objective in stored.settings.objectives}
    kept_D = np.where([origin[name] == "out" for name in stored.objectives], weight_D, 0.0)
    return kept_D / kept_D.sum() if kept_D.any() else weight_D


def _tilt_utilities(stored: Stored, value_D: Vector) -> NDArray[np.float64]:
    """U of the yardstick's runs on the judging items, shape (M, B, S), of the mixtures that are complete."""
    tier = stored.tier
    cells: dict[str, dict[tuple[int, int], float]] = {}
    for base in range(tier.tilt_bases):
        runs = stored.runs("tilt", base)
        for run, value in zip(runs, stored.gains(runs, JUDGING) @ value_D, strict=True):
            cells.setdefault(run["controller"], {})[base, run["seed"]] = float(value)
    whole = [of for of in cells.values() if len(of) == tier.tilt_bases * tier.tilt_seeds]
    return np.array(
        [
            [[of[key] for key in sorted(of) if key[0] == base] for base in range(tier.tilt_bases)]
            for of in whole
        ]
    )
