"""Unigrams and bigrams of domains, counted where somebody asks for them, and their interpolation.

Only the n-grams of evaluation items, and of some held-out tokens of the domain itself, are counted,
so memory does not grow with the corpus. Keys of a chunk are sorted once and all wanted ones are
looked up in them. Interpolated n-gram models: Jelinek and Mercer 1980.

Shapes: S samples, L tokens per sample, K wanted bigrams, U wanted tokens, T tokens, 3 components
(bigram, unigram, uniform).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import Array, Vector

Integers = NDArray[np.integer]
# Weights of a domain without held-out tokens.
DEFAULT_WEIGHTS = np.array([0.5, 0.4, 0.1])
# No token of an item may have probability 0.
_LEAST_UNIFORM = 1e-4
# How many held-out tokens the average weights of all domains count for.
_PRIOR_TOKENS = 20.0
_EM_STEPS = 30
_CHUNK_TOKENS = 4_000_000


@dataclass(frozen=True, eq=False)
class Wanted:
    """The n-grams to count.

    Attributes:
        vocab_size: Number of token ids, V.
        pairs_K: Keys of bigrams (`pair_keys`), ascending, each once.
        tokens_U: Token ids, ascending, each once.
    """

    vocab_size: int
    pairs_K: Integers
    tokens_U: Integers

    @classmethod
    def of_pairs(cls, previous_T: Integers, token_T: Integers, *, vocab_size: int) -> "Wanted":
        """All that these bigrams need: themselves, and both of their tokens."""
        pairs_K = np.unique(pair_keys(previous_T, token_T, vocab_size=vocab_size))
        return cls(vocab_size, pairs_K, np.unique(np.concatenate([previous_T, token_T])).astype(np.int64))

    def places(self, previous_T: Integers, token_T: Integers) -> "Places":
        """Where these bigrams and their tokens are among the wanted ones; all of them must be."""
        keys_T = pair_keys(previous_T, token_T, vocab_size=self.vocab_size)
        return Places(
            self.vocab_size,
            np.searchsorted(self.pairs_K, keys_T),
            np.searchsorted(self.tokens_U, previous_T),
            np.searchsorted(self.tokens_U, token_T),
        )


@dataclass(frozen=True, eq=False)
class Places:
    """Tokens in their contexts, as indices into wanted n-grams, shape (T,) each."""

    vocab_size: int
    pair_T: Integers
    previous_T: Integers
    token_T: Integers


@dataclass(frozen=True, eq=False)
class NgramCounts:
    """Counts of wanted n-grams; addable.

    Attributes:
        pairs_K: Times each bigram occurs.
        contexts_U: Times each token is followed by another one of its sample.
        tokens_U: Times each token occurs.
        total: Tokens counted.
    """

    pairs_K: NDArray[np.int64]
    contexts_U: NDArray[np.int64]
    tokens_U: NDArray[np.int64]
    total: int

    @classmethod
    def nothing(cls, wanted: Wanted) -> "NgramCounts":
        """Counts of no text."""
        pairs, tokens = len(wanted.pairs_K), len(wanted.tokens_U)
        return cls(np.zeros(pairs, np.int64), np.zeros(tokens, np.int64), np.zeros(tokens, np.int64), 0)

    def __add__(self, other: "NgramCounts") -> "NgramCounts":
        return NgramCounts(
            self.pairs_K + other.pairs_K,
            self.contexts_U + other.contexts_U,
            self.tokens_U + other.tokens_U,
            self.total + other.total,
        )

    def __sub__(self, other: "NgramCounts") -> "NgramCounts":
        return NgramCounts(
            self.pairs_K - other.pairs_K,
            self.contexts_U - other.contexts_U,
            self.tokens_U - other.tokens_U,
            self.total - other.total,
        )


def pair_keys(previous_T: Integers, token_T: Integers, *, vocab_size: int) -> Integers:
    """One number for each bigram: 32 bits where they suffice, which sort twice as fast."""
    dtype = np.dtype(np.uint32 if vocab_size <= 1 << 16 else np.uint64)
    first: Integers = np.multiply(previous_T, vocab_size, dtype=dtype, casting="unsafe")
    keys: Integers = np.add(first, token_T, dtype=dtype, casting="unsafe")
    return keys


def count_rows(rows_SL: Integers, wanted: Wanted) -> NgramCounts:
    """Counts of the wanted n-grams in token rows; bigrams do not cross rows."""
    counts = NgramCounts.nothing(wanted)
    if not rows_SL.size:
        return counts
    step = max(1, _CHUNK_TOKENS // rows_SL.shape[1])
    for start in range(0, len(rows_SL), step):
        counts = counts + _count_chunk(np.asarray(rows_SL[start : start + step]), wanted)
    return counts


def _count_chunk(rows_SL: Integers, wanted: Wanted) -> NgramCounts:
    tokens_V = np.bincount(rows_SL.ravel(), minlength=wanted.vocab_size)
    last_V = np.bincount(rows_SL[:, -1], minlength=wanted.vocab_size)
    keys = pair_keys(rows_SL[:, :-1], rows_SL[:, 1:], vocab_size=wanted.vocab_size).ravel()
    keys.sort()
    found_K = np.searchsorted(keys, wanted.pairs_K, side="right") - np.searchsorted(keys, wanted.pairs_K)
    return NgramCounts(
        found_K.astype(np.int64),
        (tokens_V - last_V)[wanted.tokens_U].astype(np.int64),
        tokens_V[wanted.tokens_U].astype(np.int64),
        int(rows_SL.size),
    )


def components(counts: NgramCounts, places: Places) -> tuple[Array, NDArray[np.bool_]]:
    """Probabilities of tokens by the three components, shape (T, 3), and whether a bigram is known.

    Where the token before never occurs in the domain, the bigram component is 0 and unknown.
    """
    context_T = counts.contexts_U[places.previous_T]
    parts_T3 = np.stack(
        [
            counts.pairs_K[places.pair_T] / np.maximum(context_T, 1),
            counts.tokens_U[places.token_T] / max(counts.total, 1),
            np.full(len(context_T), 1 / places.vocab_size),
        ],
        axis=1,
    )
    return parts_T3, context_T > 0


def interpolated(parts_T3: Array, known_T: NDArray[np.bool_], weights_3: Vector) -> Vector:
    """p(token | previous), shape (T,); the bigram's weight goes to the others where it is unknown."""
    weights_T3 = np.where(known_T[:, None], weights_3, _without_bigram(weights_3))
    return (parts_T3 * weights_T3).sum(1)


def fitted_weights(parts_T3: Array, known_T: NDArray[np.bool_], *, prior_3: Vector | None = None) -> Vector:
    """Interpolation weights that make held-out tokens likely, by EM; at least 1e-4 for the uniform part.

    Args:
        parts_T3: Components of held-out tokens, by counts that do not hold them.
        known_T: As `components` gives it; other tokens are left out.
        prior_3: Weights that stand for some tokens more; they are the answer where there is no token.
    """
    prior_3 = DEFAULT_WEIGHTS if prior_3 is None else prior_3
    parts_T3, weights_3 = parts_T3[known_T], prior_3
    for _ in range(_EM_STEPS if len(parts_T3) else 0):
        share_T3 = parts_T3 * weights_3
        share_T3 /= share_T3.sum(1, keepdims=True)
        weights_3 = share_T3.sum(0) + _PRIOR_TOKENS * prior_3
        weights_3 /= weights_3.sum()
    weights_3 = np.maximum(weights_3, [0.0, 0.0, _LEAST_UNIFORM])
    result: Vector = weights_3 / weights_3.sum()
    return result


def _without_bigram(weights_3: Vector) -> Vector:
    rest_3 = np.array([0.0, weights_3[1], weights_3[2]])
    result: Vector = rest_3 / rest_3.sum()
    return result
