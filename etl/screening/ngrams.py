"""Finds passages of evaluation items in texts: the items' n-grams, looked up in one pass.

What is looked for, in the normal form of `dmix.etl.screening.words`:

- every run of `GRAM_WORDS` words of an item, question and answer taken as one text;
- a question, and an item, of `FEWEST_WORDS` to 12 words as a whole.

An item with fewer words has nothing that could be told from everyday speech; it is counted, not
looked for. Runs of 13 words are the measure of GPT-3 (Brown et al. 2020, arXiv 2005.14165, appendix
C); the whole short questions are ours. Every match is compared byte by byte, so that none is due to
a hash. Shapes: W words of the texts, K n-grams.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.etl.screening.words import VERSION as WORDS_VERSION
from dmix.etl.screening.words import NormalTexts, normal_texts, window_hashes
from dmix.warehouse_schema.files.manifest_json import digest_of

VERSION = 1
"""Part of the digest of items; one more for every change of what is found."""

GRAM_WORDS = 13
FEWEST_WORDS = 7


@dataclass(frozen=True, kw_only=True)
class EvaluationItem:
    """One item that training text must not contain.

    Attributes:
        objective: What it measures.
        item_id: Its id, unique within the objective.
        question: What a model is given.
        answer: What is scored.
    """

    objective: str
    item_id: str
    question: str
    answer: str


def items_digest(items: Sequence[EvaluationItem]) -> str:
    """Hash of items and of how they are looked for; their order plays no part."""
    rows = sorted([item.objective, item.item_id, item.question, item.answer] for item in items)
    return digest_of([VERSION, WORDS_VERSION, GRAM_WORDS, FEWEST_WORDS, rows])


@dataclass(frozen=True, kw_only=True)
class Match:
    """An item that a text contains.

    Attributes:
        text: Number of the text.
        item: Number of the item.
        overlap: Share of the item's runs of 13 words that the text has, in (0, 1]; 1 where the text
            has a whole question or item of 7 to 12 words.
    """

    text: int
    item: int
    overlap: float


class NgramIndex:
    """The index of what is looked for.

    Attributes:
        too_short: Numbers of the items that have too few words to be looked for.

    Args:
        items: What must not stand in the texts.
    """

    def __init__(self, items: Sequence[EvaluationItem]) -> None:
        count = len(items)
        passages = [f"{item.question} {item.answer}" for item in items] + [item.question for item in items]
        self._words = normal_texts(passages)
        last = self._words.last_words_D
        first = np.concatenate([[0], last[:-1]]).astype(np.int64)
        lengths = last - first
        grams = np.maximum(lengths[:count] - GRAM_WORDS + 1, 0)
        item_K = np.repeat(np.arange(count), grams)
        begin_K = np.repeat(first[:count] - (np.cumsum(grams) - grams), grams) + np.arange(grams.sum())
        short = np.flatnonzero((lengths >= FEWEST_WORDS) & (lengths < GRAM_WORDS))
        hashes = self._words.word_hashes()
        self._gram_counts = grams
        self._grams = _Table(hashes, begin_K, item_K, np.full(len(item_K), GRAM_WORDS), key_words=GRAM_WORDS)
        self._short = _Table(
            hashes, first[short], short % max(count, 1), lengths[short], key_words=FEWEST_WORDS
        )
        searched = {*item_K.tolist(), *self._short.item_K.tolist()}
        self.too_short = tuple(item for item in range(count) if item not in searched)

    def matches(self, texts: NormalTexts) -> list[Match]:
        """All items that the texts contain, sorted by text and item."""
        hashes_W = texts.word_hashes()
        grams: dict[tuple[int, int], set[bytes]] = {}
        whole: set[tuple[int, int]] = set()
        for text, item, content in self._found(self._grams, texts, hashes_W):
            grams.setdefault((text, item), set()).add(content)
        for text, item, _ in self._found(self._short, texts, hashes_W):
            whole.add((text, item))
        return [
            Match(
                text=text,
                item=item,
                overlap=self._overlap(item, grams.get((text, item)), (text, item) in whole),
            )
            for text, item in sorted(grams.keys() | whole)
        ]

    def _overlap(self, item: int, found: set[bytes] | None, whole: bool) -> float:
        # a run that an item has twice counts once in what was found, so this is a lower bound
        return 1.0 if whole else round(len(found or ()) / int(self._gram_counts[item]), 4)

    def _found(
        self, table: "_Table", texts: NormalTexts, hashes_W: NDArray[np.uint64]
    ) -> Iterator[tuple[int, int, bytes]]:
        """(text, item, bytes of the n-gram) for each n-gram of a table that stands in a text."""
        for text, word, ngram in table.candidates(hashes_W, texts.last_words_D):
            length = int(table.length_K[ngram])
            if word + length > texts.last_words_D[text]:
                continue
            wanted = _passage(self._words, int(table.begin_K[ngram]), length)
            if _passage(texts, word, length) == wanted:
                yield text, int(table.item_K[ngram]), wanted


class _Table:
    """N-grams by the hash of their first `key_words` words.

    Args:
        hashes: Of all words of all items.
        begin_K: Word at which each n-gram begins.
        item_K: Item that each belongs to.
        length_K: Words of each.
        key_words: Words that the hash is of.
    """

    def __init__(
        self,
        hashes: NDArray[np.uint64],
        begin_K: NDArray[np.int64],
        item_K: NDArray[np.int64],
        length_K: NDArray[np.int64],
        *,
        key_words: int,
    ) -> None:
        keys_K = window_hashes(hashes, key_words)[begin_K]
        order = np.argsort(keys_K, kind="stable")
        # where the hash is of all words of an n-gram, one of equal n-grams and one of equal places is
        # enough: an item and a text of one word over and over would have the product of their lengths
        self._is_whole = bool((length_K == key_words).all())
        if self._is_whole:
            order = order[_firsts(keys_K[order], item_K[order])]
        self._keys_K = keys_K[order]
        self.begin_K, self.item_K, self.length_K = begin_K[order], item_K[order], length_K[order]
        self._key_words = key_words
        # 32 to 64 places an n-gram: of fifty windows one has to be looked up without being one
        bits = max(10, (32 * len(self._keys_K)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._taken = np.zeros(1 << bits, dtype=bool)
        self._taken[self._keys_K >> self._shift] = True

    def candidates(
        self, hashes_W: NDArray[np.uint64], last_words_D: NDArray[np.int64]
    ) -> Iterator[tuple[int, int, int]]:
        """(text, word, n-gram) where the hashes of a text's words agree with those of an n-gram.

        Args:
            hashes_W: Of the words of all texts.
            last_words_D: Number of words up to the end of each text.
        """
        if not len(self._keys_K):
            return
        windows = window_hashes(hashes_W, self._key_words)
        at = np.flatnonzero(self._taken[windows >> self._shift])
        low = np.searchsorted(self._keys_K, windows[at], side="left")
        high = np.searchsorted(self._keys_K, windows[at], side="right")
        text = np.searchsorted(last_words_D, at, side="right")
        hits = np.flatnonzero((high > low) & (at + self._key_words <= last_words_D[text]))
        if self._is_whole:
            order = hits[np.lexsort((at[hits], low[hits], text[hits]))]
            hits = order[_firsts(text[order], low[order])]
        for hit in hits.tolist():
            for ngram in range(int(low[hit]), int(high[hit])):
                yield int(text[hit]), int(at[hit]), ngram


def _firsts(*columns: NDArray[np.generic]) -> NDArray[np.bool_]:
    """True for the first of each run of rows that are equal."""
    firsts = np.ones(len(columns[0]), dtype=bool)
    if len(firsts):
        firsts[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return firsts


def _passage(texts: NormalTexts, word: int, length: int) -> bytes:
    """The bytes of `length` words from word number `word` on."""
    return texts.content[texts.word_starts_W[word] : texts.word_ends_W[word + length - 1]].tobytes()
