"""Statistics of the studies: pure functions of counts and arrays, each with its source.

Shapes: R rows, C columns of an explanation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dmix.mixing.space.domains import Array, Vector
from dmix.training.comparison.yardstick.variance import spearman

LEVEL = 0.95
_NORMAL = float(stats.norm.ppf((1 + LEVEL) / 2))


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95% interval; NaN where there is none."""

    value: float
    low: float
    high: float

    @property
    def excludes_0(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0


NONE = Interval(float("nan"), float("nan"), float("nan"))


def wilson(successes: int, trials: int) -> Interval:
    """A proportion with the score interval of Wilson 1927; `NONE` without a trial."""
    if not trials:
        return NONE
    share, part = successes / trials, _NORMAL**2 / trials
    middle, half = share + part / 2, math.sqrt(share * (1 - share) * part + part**2 / 4)
    return Interval(share, max(0.0, (middle - half) / (1 + part)), min(1.0, (middle + half) / (1 + part)))


def mean_interval(values_R: Vector) -> Interval:
    """A mean with Student's t over its rows; without ends for a single row."""
    rows = len(values_R)
    if not rows:
        return NONE
    mean = float(values_R.mean())
    if rows == 1:
        return Interval(mean, float("nan"), float("nan"))
    half = _student(rows - 1) * float(values_R.std(ddof=1) / np.sqrt(rows))
    return Interval(mean, mean - half, mean + half)


def welch(first_R: Vector, second_R: Vector) -> Interval:
    """Difference of two means; variances may differ, degrees of freedom by Welch 1947.

    Without ends where one side has fewer than two rows.
    """
    if not (len(first_R) and len(second_R)):
        return NONE
    difference = float(first_R.mean() - second_R.mean())
    if min(len(first_R), len(second_R)) < 2:
        return Interval(difference, float("nan"), float("nan"))
    if np.ptp(first_R) == np.ptp(second_R) == 0:
        return Interval(difference, difference, difference)
    found = stats.ttest_ind(first_R, second_R, equal_var=False).confidence_interval(LEVEL)
    return Interval(difference, float(found.low), float(found.high))


def pearson_interval(first_R: Vector, second_R: Vector) -> Interval:
    """Pearson's correlation; interval by Fisher's z (1921). `NONE` where one side is constant."""
    if len(first_R) < 2 or min(np.ptp(first_R), np.ptp(second_R)) == 0:
        return NONE
    value = float(np.corrcoef(first_R, second_R)[0, 1])
    return _by_z(value, variance=1.0, rows=len(first_R))


def spearman_interval(first_R: Vector, second_R: Vector) -> Interval:
    """Spearman's correlation; interval by z with the variance of Bonett and Wright 2000.

    `NONE` where one side is constant.
    """
    if len(first_R) < 2 or min(np.ptp(first_R), np.ptp(second_R)) == 0:
        return NONE
    value = spearman(first_R, second_R)
    return _by_z(value, variance=1 + value**2 / 2, rows=len(first_R))


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A line by least squares.

    Attributes:
        coefficients: One for each column, with its interval by Student's t.
        predicted: Part of the variance that is predicted with the row left out (PRESS, Allen 1974).
        freedom: Rows less columns.
    """

    coefficients: tuple[Interval, ...]
    predicted: float
    freedom: int


def least_squares(rows_RC: Array, outcome_R: Vector) -> Fit | None:
    """The fit of an outcome to columns; None where rows are too few or columns depend on each other."""
    rows, columns = rows_RC.shape
    if rows <= columns or np.linalg.matrix_rank(rows_RC) < columns:
        return None
    inverse_CC = np.linalg.inv(rows_RC.T @ rows_RC)
    coefficient_C = inverse_CC @ rows_RC.T @ outcome_R
    left_R = outcome_R - rows_RC @ coefficient_C
    variance = float(left_R @ left_R) / (rows - columns)
    half_C = _student(rows - columns) * np.sqrt(variance * np.diag(inverse_CC))
    leverage_R = np.einsum("rc,cd,rd->r", rows_RC, inverse_CC, rows_RC)
    without_R = left_R / np.maximum(1 - leverage_R, 1e-12)
    total = float(((outcome_R - outcome_R.mean()) ** 2).sum())
    return Fit(
        coefficients=tuple(
            Interval(float(c), float(c - h), float(c + h)) for c, h in zip(coefficient_C, half_C, strict=True)
        ),
        predicted=1 - float(without_R @ without_R) / total if total > 0 else float("nan"),
        freedom=rows - columns,
    )


def shown(found: Interval, digits: int = 2, *, sign: bool = False) -> str:
    """An interval in a table: `0.50 [0.20, 0.80]`, without ends where there are none."""
    if not np.isfinite(found.value):
        return "–"
    form = f"{'+' if sign else ''}.{digits}f"
    ends = f" [{found.low:{form}}, {found.high:{form}}]" if np.isfinite(found.low) else ""
    return f"{found.value:{form}}{ends}".replace("-", "−")


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    rows = [list(head), ["---"] * len(head), *map(list, lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _student(freedom: float) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom))


def _by_z(value: float, *, variance: float, rows: int) -> Interval:
    if rows <= 3 or abs(value) >= 1:
        return Interval(value, float("nan"), float("nan"))
    half = _NORMAL * np.sqrt(variance / (rows - 3))
    z = np.arctanh(value)
    return Interval(value, float(np.tanh(z - half)), float(np.tanh(z + half)))
