"""Tokens of documents to samples of fixed length: pure numpy, no padding, nothing dropped.

Shapes: T tokens, D documents, K samples, L tokens per sample (`seq_len`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[Any]  # uint16 or uint32


def token_dtype(vocab_size: int) -> str:
    """numpy name of the smallest type that streams store ids in: `uint16` or `uint32`."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def with_end_of_text(ids_T: NDArray[Any], lengths_D: NDArray[Any], *, eot_id: int, dtype: str) -> Tokens:
    """The documents' tokens in order, with `eot_id` after every document, empty ones included.

    Args:
        ids_T: Tokens of all documents one after the other, shape (T,).
        lengths_D: Tokens of each document, shape (D,); sums to T.
        eot_id: Id of the end-of-text token.
        dtype: numpy name of the result's type.

    Returns:
        Shape (T + D,).
    """
    packed = np.empty(len(ids_T) + len(lengths_D), dtype=dtype)
    ends_D = np.cumsum(lengths_D) + np.arange(len(lengths_D))
    is_token = np.ones(len(packed), dtype=bool)
    is_token[ends_D] = False
    packed[ends_D] = eot_id
    packed[is_token] = ids_T
    return packed


def cut_samples(rest: Tokens, tokens: Tokens, *, seq_len: int) -> tuple[Tokens, Tokens]:
    """Full samples from `rest` followed by `tokens`, and what is left over.

    Cutting a text in one call or in many gives the same samples, if each call is handed the
    `rest` of the one before.

    Returns:
        Samples of shape (K, L), and the new rest, shorter than L. Both may share memory with
        the arguments.
    """
    joined = np.concatenate([rest, tokens]) if len(rest) else tokens
    full = len(joined) - len(joined) % seq_len
    return joined[:full].reshape(-1, seq_len), joined[full:]
