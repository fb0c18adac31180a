"""The best mixture in a regressor: RegMix's search by simulation (arXiv 2407.01492).

Many mixtures are drawn around natural shares, their values predicted, and the best of them
averaged, since the single best one sits where the regressor errs upwards. RegMix draws from
Dirichlet distributions around natural shares; here the farm's own law is used (target share first, then
each field around its natural shares), so that the search stays where runs were made.
Shapes: C candidates, N (field, domain) pairs, A active ones.
"""

from collections.abc import Callable

import numpy as np

from dmix.mixing.space.domains import Array, DomainSpace, Vector
from dmix.mixing.trajectories.candidates import HierarchicalDistribution, mixture_of

CANDIDATES = 100_000
AVERAGED = 100
# Mixtures drawn at a time.
_CHUNK = 20_000


def simulated_mixtures(space: DomainSpace, *, number: int, seed: int) -> Array:
    """Mixtures drawn around the natural shares of a space, shape (C, N).

    Raises:
        InputError: If a field has no samples.
    """
    distribution, rng = HierarchicalDistribution(space), np.random.default_rng(seed)
    active_N = space.active_N
    mixtures_CN = np.zeros((number, len(space)))
    for first in range(0, number, _CHUNK):
        part = mixtures_CN[first : first + _CHUNK]
        buffer_AC = np.empty((int(active_N.sum()), len(part)), np.float32)
        distribution.fill(rng, buffer_AC)
        part[:, active_N] = mixture_of(buffer_AC.T)
    return mixtures_CN


def best_mixture(value: Callable[[Array], Array], mixtures_CN: Array, *, averaged: int = AVERAGED) -> Vector:
    """The mean of the mixtures with the highest values, shape (N,), sum 1.

    Args:
        value: Predicted values (C,) of mixtures (C, N); high is good.
        mixtures_CN: Where to look.
        averaged: How many of the best are averaged; all if there are fewer.
    """
    order = np.argsort(-value(mixtures_CN), kind="stable")[:averaged]
    mean_N: Vector = mixtures_CN[order].mean(0)
    return mean_N / mean_N.sum()
