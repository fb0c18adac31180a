"""Hashed word features of texts, computed from the ids of a byte-level tokenizer.

A word is a run of letters (bytes from 0x80 on count as letters), lower-cased, less a final `s`;
any other token is a feature of its own. Words are put together again from token ids by adding up
the tokens' shares of a polynomial hash, so that the feature of a word does not depend on how the
tokenizer cut it, and no text is looked at twice. To the words come pairs of neighbouring words.

A feature is counted once a document, however often it occurs: repeated words say little more
about the topic, and tables of numbers would otherwise outvote the prose.
"""

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    """What each of V token ids contributes to words; all of shape (V,).

    Attributes:
        value: Share in the hash of its letters, as if they began a word; uint32.
        letters: Number of its letters.
        opens: It does not go on with the word before it.
        closes: The next token does not go on with its word.
        ends_in_s: Its last letter is an s.
    """

    value: NDArray[np.uint32]
    letters: NDArray[np.int32]
    opens: NDArray[np.bool_]
    closes: NDArray[np.bool_]
    ends_in_s: NDArray[np.bool_]

    @classmethod
    def of(cls, tokenizer_json: bytes) -> "WordTable":
        """The table of a byte-level BPE `tokenizer.json`."""
        vocab: dict[str, int] = json.loads(tokenizer_json)["model"]["vocab"]
        byte_of = {symbol: byte for byte, symbol in _byte_symbols().items()}
        size = max(vocab.values()) + 1
        value, letters = np.zeros(size, np.uint32), np.zeros(size, np.int32)
        opens, closes, ends_in_s = np.ones(size, bool), np.ones(size, bool), np.zeros(size, bool)
        for token, index in vocab.items():
            text = bytes(byte_of[symbol] for symbol in token).lower()
            word = text.lstrip(_NOT_LETTERS)
            if not word or word.strip(_NOT_LETTERS) != word:
                value[index] = _mixed(np.array([index], np.uint32))[0]
                continue
            value[index] = sum(b * int(_POWERS[min(i, _MAX_LETTERS - 1)]) for i, b in enumerate(word)) % 2**32
            letters[index], opens[index] = len(word), word != text
            closes[index], ends_in_s[index] = False, word[-1] == _PLURAL
        return cls(value, letters, opens, closes, ends_in_s)


def document_features(
    ids: NDArray[np.unsignedinteger], lengths: NDArray[np.integer], *, table: WordTable
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The distinct features of each document.

    Args:
        ids: Token ids of n documents one after the other, shape (sum of lengths,).
        lengths: Number of ids of each document, shape (n,).
        table: Of the tokenizer that made the ids.

    Returns:
        features: Feature numbers of all documents, each once a document, int32, flat.
        offsets: Where each document begins in `features`, int32, shape (n,).
    """
    hashes, num_words = word_hashes(ids, lengths, table=table)
    words = (_mixed(hashes) >> np.uint32(16)).astype(np.int32)
    joined = _mixed(hashes[:-1] * np.uint32(0x9E3779B1) + hashes[1:] * np.uint32(0x85EBCA77))
    pairs = (joined >> np.uint32(17)).astype(np.int32) + WORD_BUCKETS
    last_seen = np.zeros(NUM_FEATURES, np.int32)
    parts: list[NDArray[np.int32]] = []
    counts = np.zeros(len(lengths), np.int64)
    end = 0
    for document, length in enumerate(num_words.tolist()):
        start, end = end, end + length
        found = np.concatenate([words[start:end], pairs[start : max(end - 1, start)]])
        order = np.arange(len(found), dtype=np.int32)
        last_seen[found] = order  # the last occurrence stays; far cheaper than sorting
        distinct = found[last_seen[found] == order]
        parts.append(distinct)
        counts[document] = len(distinct)
    offsets = np.cumsum(counts) - counts
    return np.concatenate([np.empty(0, np.int32), *parts]), offsets.astype(np.int32)


def word_hashes(
    ids: NDArray[np.unsignedinteger], lengths: NDArray[np.integer], *, table: WordTable
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The hash of every word of n documents, uint32, flat, and their number in each, shape (n,)."""
    if len(ids) == 0:
        return np.empty(0, np.uint32), np.zeros(len(lengths), np.int64)
    ids = ids.astype(np.intp)
    ends = np.cumsum(lengths)
    begins = table.opens.take(ids, mode="clip")
    begins[1:] |= table.closes.take(ids[:-1], mode="clip")
    begins[(ends - lengths)[lengths > 0]] = True
    first = np.flatnonzero(begins)
    letters = table.letters.take(ids, mode="clip")
    before = np.cumsum(letters, dtype=np.int32) - letters
    run = np.diff(first, append=len(ids))
    position = np.minimum(before - np.repeat(before[first], run), _MAX_LETTERS - 1)
    shares = table.value.take(ids, mode="clip")
    shares *= _POWERS.take(position, mode="clip")
    hashes = np.add.reduceat(shares, first, dtype=np.uint32)
    size = np.add.reduceat(letters, first, dtype=np.int32)
    plural = table.ends_in_s[ids[first + run - 1]] & (size > 3) & (size <= _MAX_LETTERS)
    hashes[plural] -= np.uint32(_PLURAL) * _POWERS[size[plural] - 1]
    return hashes, np.searchsorted(first, ends) - np.searchsorted(first, ends - lengths)


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
