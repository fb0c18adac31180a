"""Mixtures that people write: names of fields and domains with weights, as in a mixture file."""

import contextlib
import difflib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.taxonomy import FIELDS


def parse_mixture(weights: Mapping[str, Any], *, space: DomainSpace, where: str) -> Vector:
    """The mixture that names and weights describe, normalised, shape (N,).

        source/News: 0.3
        source/Science: 0.1
        target: 0.6

    `field/domain` names one domain, `field` alone the whole field by natural shares. Weights need not
    sum to 1; what is not named has weight 0.

    Args:
        weights: Weight by `field/domain` or `field`.
        space: The domain space of the run.
        where: What messages call the origin of the weights.

    Raises:
        InputError: If a name is unknown, a domain with weight has no samples, a weight is
            negative or no number, or all are 0.
    """
    mixture_N = np.zeros(len(space))
    for name, given in weights.items():
        weight = checked_weight(given, f"{where}: {name}")
        if name in FIELDS:
            if weight:
                mixture_N += weight * (space.start_N if name == "source" else space.target_state_N)
            continue
        index = index_of_name(name, space=space, where=where)
        if weight and not space.active_N[index]:
            raise InputError(
                f"{where}: {name!r} has weight {weight:g}, but the dataset has no sample of this domain; "
                "remove the line or add text"
            )
        mixture_N[index] += weight
    if not mixture_N.any():
        raise InputError(f"{where}: the weights sum to 0; give at least one domain a weight above 0")
    with np.errstate(over="ignore"):
        total = float(mixture_N.sum())
    if not math.isfinite(total):
        raise InputError(f"{where}: the sum of the weights is too large; give shares from 0 to 1")
    return mixture_N / total


def index_of_name(name: str, *, space: DomainSpace, where: str) -> int:
    """The index of `field/domain`.

    Raises:
        InputError: If there is no such domain; the message names the nearest one.
    """
    index = {f"{field}/{domain}": i for i, (field, domain) in enumerate(space.names)}
    if name not in index:
        near = difflib.get_close_matches(name, [*index, *FIELDS], n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"a valid name is for example {next(iter(index))!r}"
        raise InputError(f"{where}: {name!r} is not a field/domain of the dataset; {hint}")
    return index[name]


def checked_weight(given: Any, where: str) -> float:
    """A number from 0 on; InputError otherwise."""
    weight = math.nan
    if isinstance(given, int | float | str) and not isinstance(given, bool):
        with contextlib.suppress(ValueError, OverflowError):
            weight = float(given)  # YAML 1.1 reads 1e-3 as text
    if not math.isfinite(weight) or weight < 0:
        raise InputError(f"{where} is {given!r}, expected a finite number, 0 or more")
    return weight
