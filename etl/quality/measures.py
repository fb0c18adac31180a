"""Measures of a text that distinguish running text from noise, loops and word salad.

The simple ones are those of web corpora (Gopher, arXiv 2112.11446, and C4): shares of letters,
digits, symbols and function words, lengths, repetition. The others compare neighbouring words
with tables of what stood together in good text: `word_frequency` is the mean logarithm of how
often its words occurred there, `known_pairs` the share of its pairs that stood together more often
than chance would have it, `known_triples` the share of its triples that came more than once, and
`order` the log ratio of known pairs among neighbours and among words that stand apart, which asks
about the order of a text by its own measure, whatever its topic. Text of a weak model has common
words in an order that nobody writes, which only these notice.

A word is a run of letters or digits with the marks on them (the vowel signs of Hindi, Thai or Tamil are
marks) and the joiners between them, lower-cased; every other visible character is a word of its own, so
that punctuation counts. Tables are hashed: bytes for words, bits for pairs and triples, of
which some are taken for known by accident.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dmix.warehouse_schema.letters import JOINERS, find_words

VERSION = 2
"""Part of the fingerprint of who judges by these measures; one more for every change of them."""

MAX_CHARACTERS = 20_000
"""A longer text is judged by its beginning, which bounds time."""

WORD_BUCKETS = 1 << 16
PAIR_BUCKETS = 1 << 23
TRIPLE_BUCKETS = 1 << 22
"""Bits of the tables of pairs and of triples."""

APART = 7
"""Words this far from each other make a pair that is no neighbourhood."""

STEPS_A_DOUBLING = 8
"""Counts of words are stored as round(8 * log2(1 + count)), in a byte."""

LEAST_COUNT = 2
LEAST_ASSOCIATION = 2.0
"""A pair is known if it came this many times as often as chance would have it."""

MEASURES = (
    "log_words",
    "letters",
    "digits",
    "symbols",
    "odd_characters",
    "capitals",
    "mean_word_length",
    "long_words",
    "function_words",
    "distinct_words",
    "repeated_triples",
    "word_frequency",
    "unknown_words",
    "known_pairs",
    "known_triples",
    "order",
)

_COMMONEST = (
    "the of and to in a is that for it as was with be by on not he his but at are this have from or had"
    " an they which one you were all her she there would their we him been has when who will no more if"
    " out so up into than them can its only some could these may then do first any my such"
)
_FUNCTION_WORDS = frozenset(_COMMONEST.split())
_MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)


@dataclass(frozen=True, eq=False)
class NeighbourTables:
    """What stood together in good text.

    Attributes:
        words: Rounded logarithms of counts, uint8, shape (WORD_BUCKETS,).
        pairs: Bits, packed, uint8, shape (PAIR_BUCKETS / 8,).
        triples: Bits, packed, uint8, shape (TRIPLE_BUCKETS / 8,).
    """

    words: NDArray[np.uint8]
    pairs: NDArray[np.uint8]
    triples: NDArray[np.uint8]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "NeighbourTables":
        """The tables of good texts; some hundred bytes of memory a word."""
        rows = [row for row in (word_hashes(words_of(text)) for text in texts) if len(row) >= 3]
        hashes = np.concatenate([np.zeros(0, np.uint64), *rows])
        counts = np.bincount(_word_buckets(hashes), minlength=WORD_BUCKETS)
        words = np.minimum(np.round(STEPS_A_DOUBLING * np.log2(1 + counts)), 255).astype(np.uint8)

        pairs, places, pair_counts = np.unique(
            np.concatenate([runs(row, 2) for row in rows]), return_index=True, return_counts=True
        )
        firsts = np.concatenate([row[:-1] for row in rows])[places]
        seconds = np.concatenate([row[1:] for row in rows])[places]
        expected = counts[_word_buckets(firsts)] * counts[_word_buckets(seconds)] / len(hashes)
        known = (pair_counts >= LEAST_COUNT) & (pair_counts >= LEAST_ASSOCIATION * expected)

        triples, triple_counts = np.unique(np.concatenate([runs(row, 3) for row in rows]), return_counts=True)
        often = triples[triple_counts >= LEAST_COUNT]
        return cls(words, _bits(pairs[known], PAIR_BUCKETS), _bits(often, TRIPLE_BUCKETS))


def words_of(text: str) -> list[str]:
    """The words of the beginning of a text."""
    return _words(text[:MAX_CHARACTERS].lower())


def word_hashes(words: list[str]) -> NDArray[np.uint64]:
    """A hash of each word, the same on every machine."""
    return np.fromiter((_hash(word) for word in words), np.uint64, len(words))


def runs(hashes: NDArray[np.uint64], order: int) -> NDArray[np.uint64]:
    """A hash of each run of `order` neighbouring words, shape (words - order + 1,)."""
    count = max(0, len(hashes) - order + 1)
    return mixed_hashes([hashes[place : place + count] for place in range(order)])


def mixed_hashes(columns: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """One hash of the words at the same place of some columns; their order counts."""
    mixed = np.zeros(len(columns[0]), np.uint64)
    for place, column in enumerate(columns):
        mixed = (mixed ^ column) * _MULTIPLIERS[place]
        mixed ^= mixed >> np.uint64(29)
    return mixed


def text_measures(text: str, tables: NeighbourTables) -> NDArray[np.float64]:
    """The measures of a text in the order of `MEASURES`; zeros for what a text is too short for."""
    text = text[:MAX_CHARACTERS]
    words = words_of(text)
    if not words:
        return np.zeros(len(MEASURES))
    visible = [character for character in text if not character.isspace()]
    proper = [word for word in words if word[0].isalnum()]
    hashes = word_hashes(words)
    triples = runs(hashes, 3)
    frequency = tables.words[_word_buckets(hashes)] / STEPS_A_DOUBLING
    on_letters = _on_letters(text)
    letters = sum(character.isalpha() for character in visible) + on_letters
    signs = sum(not character.isalnum() for character in visible) - on_letters
    odd = sum((not c.isprintable() and c not in JOINERS) or c == "\ufffd" for c in visible)
    known_pairs = _mean(_known(tables.pairs, runs(hashes, 2)))
    apart = mixed_hashes([hashes[:-APART], hashes[APART:]])
    by_chance = _mean(_known(tables.pairs, apart)) if len(apart) else known_pairs
    values = {
        "log_words": np.log(len(words)),
        "letters": letters / len(visible),
        "digits": sum(character.isdigit() for character in visible) / len(visible),
        "symbols": signs / len(visible),
        "odd_characters": odd / len(visible),
        "capitals": sum(character.isupper() for character in visible) / max(1, letters),
        "mean_word_length": _mean([len(word) for word in proper]),
        "long_words": _mean([len(word) > 15 for word in proper]),
        "function_words": _mean([word in _FUNCTION_WORDS for word in proper]),
        "distinct_words": len(set(words)) / len(words) ** 0.75,
        "repeated_triples": _repeated(triples),
        "word_frequency": _mean(frequency),
        "unknown_words": _mean(frequency == 0),
        "known_pairs": known_pairs,
        "known_triples": _mean(_known(tables.triples, triples)),
        "order": np.log((known_pairs + 0.01) / (by_chance + 0.01)),
    }
    return np.array([values[name] for name in MEASURES])


def _words(text: str) -> list[str]:
    return find_words(text, letters=r"[^\W_]", others=r"[^\w\s]|_")


def _on_letters(text: str) -> int:
    """Number of marks and joiners that belong to words."""
    if text.isascii():
        return 0
    return sum(not character.isalnum() for word in _words(text) if word[0].isalnum() for character in word)


@lru_cache(maxsize=1 << 16)
def _hash(word: str) -> int:
    encoded = word.encode("utf-8", "surrogatepass")
    return zlib.crc32(encoded) | zlib.adler32(encoded) << 32


def _word_buckets(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (hashes % np.uint64(WORD_BUCKETS)).astype(np.int64)


def _bits(hashes: NDArray[np.uint64], buckets: int) -> NDArray[np.uint8]:
    table = np.zeros(buckets, bool)
    table[(hashes % np.uint64(buckets)).astype(np.int64)] = True
    return np.packbits(table)


def _known(table: NDArray[np.uint8], hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """1 for runs whose bit is set, 0 for others."""
    places = (hashes % np.uint64(8 * len(table))).astype(np.int64)
    return (table[places >> 3] >> (7 - (places & 7)).astype(np.uint8)) & 1


def _repeated(hashes: NDArray[np.uint64]) -> float:
    """Share of what came before already."""
    return 1 - len(np.unique(hashes)) / max(1, len(hashes))


def _mean(values: NDArray | list) -> float:
    return float(np.mean(values)) if len(values) else 0.0
