"""Numbers out of plain values of JSON, which somebody may have changed, in the shapes that they must have."""

import numpy as np
from numpy.typing import NDArray

_LARGEST = 2**63 - 1
_ROUNDING = 1e-4
"""Of weights that were stored with fewer digits."""


def count_of(value: object, *, what: str) -> int:
    """A whole number of 0 or more.

    Raises:
        ValueError: If it is none; `what` names it.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        raise ValueError(f"{what} is {_shown(value)}, expected a whole number of 0 or more")
    return value


def counts_of(value: object, *, shape: tuple[int | None, ...], what: str) -> NDArray[np.int64]:
    """Whole numbers of 0 or more, in an array of this shape; None allows any length."""
    found = _array(value, shape=shape, kinds="iu", what=what)
    if found.size and not 0 <= found.min() <= found.max() <= _LARGEST:
        raise ValueError(f"{what} has a number below 0, or one of more than 63 bits")
    return found.astype(np.int64)


def floats_of(
    value: object, *, shape: tuple[int | None, ...], what: str, finite: bool = True
) -> NDArray[np.float64]:
    """Numbers in an array of this shape; None allows any length.

    Raises:
        ValueError: If they are no numbers, of another shape, or not finite where they have to be.
    """
    found = _array(value, shape=shape, kinds="iuf", what=what).astype(np.float64)
    if finite and not np.isfinite(found).all():
        raise ValueError(f"{what} has a number that is not finite")
    return found


def mixtures_of(value: object, *, domains: int | None, what: str) -> NDArray[np.float64]:
    """Mixtures of stored files, a row each; None allows any number of domains.

    Raises:
        ValueError: If a row is no mixture.
    """
    found = floats_of(value, shape=(None, domains), what=what)
    if (found < -_ROUNDING).any() or (abs(found.sum(axis=1) - 1) > _ROUNDING).any():
        raise ValueError(f"{what} has weights below 0, or that do not sum to 1")
    return found


def _array(value: object, *, shape: tuple[int | None, ...], kinds: str, what: str) -> NDArray:
    wanted = ", ".join("any" if length is None else str(length) for length in shape)
    try:
        found = np.array(value)
    except ValueError:  # rows of several lengths
        raise ValueError(f"{what} has rows of several lengths, expected the shape ({wanted})") from None
    if len(found.shape) != len(shape) or any(
        length not in (None, own) for length, own in zip(shape, found.shape, strict=True)
    ):
        raise ValueError(f"{what} has the shape {found.shape}, expected ({wanted})")
    if found.size and found.dtype.kind not in kinds:
        raise ValueError(f"{what} holds other values than {'whole ' if kinds == 'iu' else ''}numbers")
    return found


def _shown(value: object) -> str:
    return repr(value)[:40]
