"""Softmax in float32, the same bits on every machine.

NumPy's and PyTorch's exponentials differ in the last bit from one processor to the next, and a
probability that is rounded to 1e-4 shows that once in some thousand times. Label files are hashed, so
each operation here is one of IEEE arithmetic, in a fixed order: that of PyTorch 2.7 on AVX-512, which
earlier versions used, bit for bit. Source of the exponential: SLEEF's `expf_u10` (Shibata and Petrogalli
2020), written with fused multiply-adds.

Shapes: N rows, C columns.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_LANES = 16
_LOG2_E = np.float32(1.442695040888963407)
_LN2_HIGH, _LN2_LOW = -0.693145751953125, -1.428606765330187045e-06
_POLYNOMIAL = (
    0.000198527617612853646,
    0.00139304355252534151,
    0.00833336077630519866,
    0.0416664853692054748,
    0.166666671633720397,
    0.5,
)
_NO_LESS = -104.0


def softmax(logits_NC: Floats) -> Floats:
    """Probabilities of each row, float32, shape (N, C)."""
    powers_NC = _exp(logits_NC - logits_NC.max(axis=1, keepdims=True, initial=-np.inf))
    return powers_NC * (np.float32(1) / _row_sums(powers_NC))[:, None]


def _exp(values: Floats) -> Floats:
    exponent = np.rint(values * _LOG2_E)
    rest = _fused(_fused(values, exponent, _LN2_HIGH), exponent, _LN2_LOW)
    result = np.full_like(rest, _POLYNOMIAL[0])
    for coefficient in _POLYNOMIAL[1:]:
        result = (result.astype(np.float64) * rest + np.float32(coefficient)).astype(np.float32)
    result = np.float32(1) + _fused(rest, rest * rest, result)
    return np.where(values < _NO_LESS, np.float32(0), np.ldexp(result, exponent.astype(np.int32)))


def _fused(added: Floats, left: Floats, right: Floats | float) -> Floats:
    """added + left * right, rounded once: products of float32 are exact in float64."""
    return (left.astype(np.float64) * np.float32(right) + added).astype(np.float32)


def _row_sums(values_NC: Floats) -> Floats:
    """Sums of rows, shape (N,): 16 partial sums, then halves added; fewer columns one after the other."""
    columns = values_NC.shape[1]
    if columns < _LANES:
        total_N = values_NC[:, 0].copy()
        for column in range(1, columns):
            total_N += values_NC[:, column]
        return total_N
    lanes = values_NC[:, :_LANES].copy()
    for start in range(_LANES, columns, _LANES):
        block = values_NC[:, start : start + _LANES]
        lanes[:, : block.shape[1]] += block
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]
