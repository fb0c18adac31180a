"""Whole samples out of fractional quotas, the nearest vector of integers there is.

Shapes: N domains. Quotas are R times the planned weights plus what earlier steps owe.
"""

import heapq
import math

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import Vector
from dmix.warehouse_schema.sizes import num_text


def apportion(quota_N: Vector, *, total: int, limit_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """The integers 0 <= n <= limit with sum `total` that minimise the sum of (quota - n)^2.

    The k-th sample of a domain lowers the sum by 2 (quota - k + 1) - 1, less with each further
    one, so taking samples in the order of `quota - k + 1` is optimal; ties go to the lower
    index. With quotas >= 0 that sum to `total` and no limit this is the method of largest
    remainders. Costs O(N log N), whatever the total.

    Args:
        quota_N: Wanted samples, any finite float64, negative ones included, shape (N,).
        total: Samples to give out.
        limit_N: Samples that each domain can give, shape (N,).

    Returns:
        int64, shape (N,).

    Raises:
        ValueError: If the limits sum to less than `total`.
    """
    if limit_N.sum() < total:
        raise ValueError(
            f"{num_text(total, 'sample', 'were')} requested, but only {limit_N.sum()} are available"
        )
    level = _level(quota_N, total=total, limit_N=limit_N)
    # Everything worth `level + 2` or more is taken for certain, also if rounding moved the level.
    sure_N = np.clip(np.floor(quota_N - level) - 1, 0, limit_N)
    counts = [int(count) for count in sure_N]
    quotas, limits = quota_N.tolist(), limit_N.tolist()
    waiting = [(count - quotas[i], i) for i, count in enumerate(counts) if count < limits[i]]
    heapq.heapify(waiting)
    for _ in range(total - sum(counts)):
        _, i = waiting[0]
        counts[i] += 1
        if counts[i] < limits[i]:
            heapq.heapreplace(waiting, (counts[i] - quotas[i], i))
        else:
            heapq.heappop(waiting)
    return np.array(counts, dtype=np.int64)


def _level(quota_N: Vector, *, total: int, limit_N: NDArray[np.int64]) -> float:
    """The number l at which the sum of clip(quota - l, 0, limit) is `total`, within rounding.

    Bisection over the breakpoints (where a domain reaches 0 or its limit), then the straight
    line between the two that enclose `total`.
    """

    def filled(level: float) -> float:
        return math.fsum(np.clip(quota_N - level, 0, limit_N))

    breaks = np.unique(np.concatenate([quota_N, quota_N - limit_N]))
    low, high = 0, len(breaks) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if filled(breaks[middle]) >= total:
            low = middle
        else:
            high = middle
    at_low, at_high = filled(breaks[low]), filled(breaks[high])
    if at_low == at_high:
        return float(breaks[low])
    share = min(1.0, max(0.0, (at_low - total) / (at_low - at_high)))
    return float(breaks[low] + share * (breaks[high] - breaks[low]))
