"""Hashed word features of texts, computed from the ids of a byte-level tokenizer.

A word is a run of letters (bytes from 0x80 on count as letters), lower-cased, less a final `s`;
any other token is a feature of its own. Words are put together again from token ids by adding up
the tokens' shares of a polynomial hash, so that the feature of a word does not depend on how the
tokenizer cut it, and no text is looked at twice. To the words come pairs of neighbouring words.

A feature is counted once a document, however often it occurs: repeated words say little more
about the topic, and tables of numbers would otherwise outvote the prose.
"""

import itertools
import json
import operator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.etl.classifiers.loops import compiled, compiled_features

WORD_BUCKETS = 1 << 16
PAIR_BUCKETS = 1 << 15
NUM_FEATURES = WORD_BUCKETS + PAIR_BUCKETS

_BASE = 0x01000193
"""Base of the polynomial hash: the prime of FNV-1, odd, so that no power of it vanishes."""

_MAX_LETTERS = 64
"""Letters from this one on are hashed as if they stood there."""

_POWERS = np.array([pow(_BASE, i, 1 << 32) for i in range(_MAX_LETTERS)], np.uint32)
_PLURAL = ord("s")


@dataclass(frozen=True, eq=False)
class WordTable:
    """What each of V token ids contributes to words.

    Attributes:
        opens: The token does not go on with the word before it, bool, shape (V,).
        closes: The next token does not go on with its word, bool, shape (V,).
        alone: Hash of the word that the token is if no other one belongs to it, uint32, shape (V,).
        share: Its share in the hash of a word that it begins, uint32, shape (V,).
        letters: How many letters of a word it has, uint32, shape (V,).
        plural: Its last letter is an s, bool, shape (V,).
    """

    opens: NDArray[np.bool_]
    closes: NDArray[np.bool_]
    alone: NDArray[np.uint32]
    share: NDArray[np.uint32]
    letters: NDArray[np.uint32]
    plural: NDArray[np.bool_]

    @property
    def columns(self) -> tuple[NDArray, ...]:
        """The six, in the order in which the compiled loop takes them."""
        return self.opens, self.closes, self.plural, self.alone, self.share, self.letters

    @classmethod
    def of(cls, tokenizer_json: bytes) -> "WordTable":
        """The table of a byte-level BPE `tokenizer.json`."""
        vocab: dict[str, int] = json.loads(tokenizer_json)["model"]["vocab"]
        byte_of = {symbol: byte for byte, symbol in _byte_symbols().items()}
        size = max(vocab.values()) + 1
        opens, closes, plural = np.ones(size, bool), np.ones(size, bool), np.zeros(size, bool)
        share, letters = np.zeros(size, np.uint32), np.zeros(size, np.uint32)
        powers, alone = _POWERS.tolist(), _mixed(np.arange(size, dtype=np.uint32))
        for token, index in vocab.items():
            text = bytes(map(byte_of.__getitem__, token)).lower()
            word = text.lstrip(_NOT_LETTERS)
            if not word or word.rstrip(_NOT_LETTERS) != word:
                share[index] = alone[index]
                continue
            places = itertools.chain(powers, itertools.repeat(powers[-1]))
            share[index] = sum(map(operator.mul, word, places)) % 2**32
            letters[index] = len(word)
            opens[index], closes[index], plural[index] = word != text, False, word[-1] == _PLURAL
        alone = _singular(share.copy(), letters, plural)
        return cls(opens, closes, alone, share, letters, plural)


def document_features(
    ids: NDArray[np.unsignedinteger], lengths: NDArray[np.integer], *, table: WordTable
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The distinct features of each document: the words and pairs at their last places, in order.

    Args:
        ids: Token ids of n documents one after the other, shape (sum of lengths,).
        lengths: Number of ids of each document, shape (n,).
        table: Of the tokenizer that made the ids.

    Returns:
        features: Feature numbers of all documents, each once a document, int32, flat.
        offsets: Where each document begins in `features`, int32, shape (n,).
    """
    library = compiled()
    if library is not None:
        kept, sizes = compiled_features(
            library, ids, lengths, tables=table.columns, powers=_POWERS, num_features=NUM_FEATURES
        )
        return kept, (np.cumsum(sizes) - sizes).astype(np.int32)
    hashes, num_words = word_hashes(ids, lengths, table=table)
    ends = np.cumsum(num_words)
    found = np.empty((len(hashes), 2), np.intp)
    found[:, 0] = _mixed(hashes) >> np.uint32(16)
    joined = _mixed(hashes[:-1] * np.uint32(0x9E3779B1) + hashes[1:] * np.uint32(0x85EBCA77))
    found[:-1, 1] = (joined >> np.uint32(17)) + np.uint32(WORD_BUCKETS)
    last = ends[num_words > 0] - 1
    found[last, 1] = found[last, 0]  # the last word of a document has no neighbour
    kept, sizes = _once_a_document(found.reshape(-1), 2 * ends)
    return kept, (np.cumsum(sizes) - sizes).astype(np.int32)


def _once_a_document(
    features: NDArray[np.intp], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """One occurrence of every feature in each document, and their number in each; cheaper than sorting."""
    order = np.arange(len(features), dtype=np.int32)
    seen_at = np.empty(NUM_FEATURES, np.int32)
    kept = np.empty(len(features), bool)
    sizes = np.zeros(len(ends), np.int64)
    start = 0
    for document, end in enumerate(ends.tolist()):
        part, places = features[start:end], order[start:end]
        seen_at[part] = places  # of several places the last one stays
        np.equal(seen_at.take(part), places, out=kept[start:end])
        sizes[document] = np.count_nonzero(kept[start:end])
        start = end
    return features.astype(np.int32).take(np.flatnonzero(kept)), sizes


def word_hashes(
    ids: NDArray[np.unsignedinteger], lengths: NDArray[np.integer], *, table: WordTable
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The hash of every word of n documents, uint32, flat, and their number in each, shape (n,)."""
    if len(ids) == 0:
        return np.empty(0, np.uint32), np.zeros(len(lengths), np.int64)
    ends = np.cumsum(lengths)
    tokens = ids.astype(np.intp)
    begins = table.opens.take(tokens, mode="clip")
    begins[1:] |= table.closes.take(tokens[:-1], mode="clip")
    begins[(ends - lengths)[lengths > 0]] = True
    first = np.flatnonzero(begins)
    hashes = table.alone.take(tokens.take(first), mode="clip")
    size = np.diff(first, append=len(tokens))
    long = np.flatnonzero(size > 1)
    hashes[long] = _joined_hashes(tokens, first[long], size[long], table)
    return hashes, np.searchsorted(first, ends) - np.searchsorted(first, ends - lengths)


def _joined_hashes(
    tokens: NDArray[np.intp], first: NDArray[np.intp], size: NDArray[np.intp], table: WordTable
) -> NDArray[np.uint32]:
    """Hashes of the words that several tokens make: `size` of them from `first` on; uint32, shape (n,)."""
    after = np.cumsum(size)
    start = after - size
    tokens = tokens.take(np.repeat(first - start, size) + np.arange(size.sum()))
    letters = _running_sum(table.letters.take(tokens, mode="clip"))
    place = letters[:-1] - np.repeat(letters[start], size)
    shares = table.share.take(tokens, mode="clip")
    shares *= _POWERS.take(np.minimum(place, _MAX_LETTERS - 1))
    total = _running_sum(shares)
    plural = table.plural.take(tokens[after - 1], mode="clip")
    return _singular(total[after] - total[start], letters[after] - letters[start], plural)


def _singular(
    hashes: NDArray[np.uint32], letters: NDArray[np.uint32], plural: NDArray[np.bool_]
) -> NDArray[np.uint32]:
    """The hashes of words, less the final s of those that have one and are long enough; changes `hashes`."""
    drops = plural & (letters > 3) & (letters <= _MAX_LETTERS)
    hashes[drops] -= np.uint32(_PLURAL) * _POWERS[letters[drops] - 1]
    return hashes


def _running_sum(values: NDArray) -> NDArray[np.uint32]:
    """Sums of the values before each place and of all, modulo 2**32, shape (len(values) + 1,)."""
    sums = np.zeros(len(values) + 1, np.uint32)
    np.cumsum(values, dtype=np.uint32, out=sums[1:])
    return sums


def _mixed(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Values whose upper bits depend on all bits: the finaliser of MurmurHash3 (Appleby, 2008)."""
    values = values ^ (values >> np.uint32(16))
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    values ^= values >> np.uint32(16)
    return values


_NOT_LETTERS = bytes(b for b in range(0x80) if not chr(b).isalpha())


def _byte_symbols() -> dict[int, str]:
    """The character that byte-level BPE writes for each byte: itself if printable, else from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in set(printable)]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(rest)}
