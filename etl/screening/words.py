"""The normal form of texts, in which documents are compared with each other and with evaluation items.

A text becomes its words, lower-cased, one space after each. A word is a run of letters and digits
with the marks on them (the vowel signs of Hindi, Thai or Tamil are marks); everything else
(punctuation, signs, underscores, white space, marks that stand alone) only separates. What nobody
sees (joiners, soft hyphens, variation selectors, byte order marks) is left out. Text beyond ASCII is
then put into Unicode form NFKC, so that ligatures, full-width characters and composed accents do
not hide an equal text. So "2 + 3" and "2 - 3" are the same: the form is made for whole documents
and for runs of many words.

Departs from NFKC: after each 30 marks in a row sorting begins anew, as in the stream-safe text
format of Unicode (UAX #15), since sorting a run of them takes time that is the square of its length.

All words of a batch are found and hashed at once, by numpy over the bytes of all texts. So are the
letters beyond ASCII, but for texts with characters whose form depends on their neighbours (combining
marks, the Greek sigma), which pass through Python one by one. Shapes: D documents, W words.
"""

import functools
import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VERSION = 2
"""Part of every digest and id that follows from the normal form; one more for every change of it."""

_SPACE = 0x20
_LONG_WORD_BYTES = 256
"""Longer words are hashed one by one; the others eight bytes of all of them at a time."""
_MOST_MARKS = 30
_GRAPHEME_JOINER = 0x034F
_ASCII_FORM = bytes(
    byte if byte >= 0x80 else ord(chr(byte).lower()) if chr(byte).isalnum() else _SPACE for byte in range(256)
)
_BLOCK_WORDS = 1 << 14
"""Words whose running sums are made at once, so that they stay in the cache."""

_PADDING = bytes(8)
"""Lets eight bytes be loaded from every place."""

_UNKNOWN, _DROPPED, _DEPENDS = 0, 0xFFFFFFFE, 0xFFFFFFFF
_FOLDED_CODES = np.full(0x110000, _UNKNOWN, dtype=np.uint32)
"""What each character beyond ASCII becomes, filled as they are met; `_DEPENDS` on its neighbours."""

_WORD, _MARK, _SEPARATOR, _UNSEEN = 1, 2, 3, 4
_WHAT, _SORTED = 7, 8
"""Bits of what a character is, and the flag of one that normalisation sorts with its neighbours."""
_KINDS = np.full(0x110000, _UNKNOWN, dtype=np.uint8)
"""What each character is, filled as they are met."""

# bytes of a word that lie in a block of eight, by how many there are
_MASKS = np.array([(1 << (8 * length)) - 1 for length in range(9)], dtype=np.uint64)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, eq=False)
class NormalTexts:
    """Normal forms of D texts with W words in all, one after the other.

    Attributes:
        content: Their bytes (UTF-8), each word followed by one space, uint8.
        ends_D: Where each text ends in `content`, int64.
    """

    content: NDArray[np.uint8]
    ends_D: NDArray[np.int64]

    def text(self, index: int) -> bytes:
        """The normal form of one text."""
        start = self.ends_D[index - 1] if index else 0
        return self.content[start : self.ends_D[index]].tobytes()

    @functools.cached_property
    def word_ends_W(self) -> NDArray[np.int64]:
        """Where each word ends: the place of the space after it."""
        return np.flatnonzero(self.content == _SPACE)

    @functools.cached_property
    def word_starts_W(self) -> NDArray[np.int64]:
        """Where each word begins."""
        starts_W = np.zeros_like(self.word_ends_W)
        starts_W[1:] = self.word_ends_W[:-1] + 1
        return starts_W

    @functools.cached_property
    def last_words_D(self) -> NDArray[np.int64]:
        """Number of words up to the end of each text."""
        return np.searchsorted(self.word_ends_W, self.ends_D)

    def word_hashes(self) -> NDArray[np.uint64]:
        """A hash of each word, shape (W,); equal words have equal ones, in every batch and process."""
        starts_W, lengths_W = self.word_starts_W, self.word_ends_W - self.word_starts_W
        padded = np.concatenate([self.content, np.frombuffer(_PADDING, np.uint8)])
        count = len(padded) - 7
        eight_at: NDArray[np.uint64] = np.ndarray((count,), dtype="<u8", buffer=padded, strides=(1,))
        hashes_W = _mixed(eight_at[starts_W] & _MASKS[np.minimum(lengths_W, 8)])
        for word in np.flatnonzero(lengths_W > _LONG_WORD_BYTES).tolist():
            content = self.content[starts_W[word] : starts_W[word] + lengths_W[word]].tobytes()
            hashes_W[word] = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
        rest = np.flatnonzero((lengths_W > 8) & (lengths_W <= _LONG_WORD_BYTES))
        done = 8
        while len(rest):
            block = eight_at[starts_W[rest] + done] & _MASKS[np.minimum(lengths_W[rest] - done, 8)]
            hashes_W[rest] = _mixed(hashes_W[rest] * _GOLDEN + block)
            done += 8
            rest = rest[lengths_W[rest] > done]
        return hashes_W


def normal_texts(texts: Sequence[str]) -> NormalTexts:
    """The normal forms of texts, of which there may be none; a text without a word has an empty one."""
    pieces = _folded_texts(texts)
    lengths_D = np.fromiter((len(piece) + 1 for piece in pieces), dtype=np.int64, count=len(pieces))
    raw = np.frombuffer(b" ".join([*pieces, b""]).translate(_ASCII_FORM), dtype=np.uint8)
    if not len(raw):
        return NormalTexts(raw, np.zeros(len(texts), dtype=np.int64))
    in_word = raw != _SPACE
    kept = in_word.copy()
    kept[1:] |= in_word[:-1]  # the first separator after a word stays
    starts_D = np.cumsum(lengths_D) - lengths_D
    return NormalTexts(raw[kept], np.cumsum(np.add.reduceat(kept, starts_D, dtype=np.int64)))


def window_hashes(hashes_W: NDArray[np.uint64], size: int) -> NDArray[np.uint64]:
    """A hash of each run of `size` words, shape (max(0, W - size + 1),).

    Runs do not stop at the ends of texts; whoever finds one has to look whether it lies in one.

    Args:
        hashes_W: Of the words.
        size: Words of a run, at least 1.
    """
    count = max(0, len(hashes_W) - size + 1)
    windows = np.empty(count, dtype=np.uint64)
    powers, inverses = _powers(_BLOCK_WORDS + size)
    for start in range(0, count, _BLOCK_WORDS):
        block = hashes_W[start : start + _BLOCK_WORDS + size - 1]
        sums = np.zeros(len(block) + 1, dtype=np.uint64)
        np.cumsum(block * powers[: len(block)], out=sums[1:])
        found = len(block) - size + 1
        windows[start : start + found] = (sums[size:] - sums[:found]) * inverses[:found]
    return windows


@functools.lru_cache(maxsize=4)
def _powers(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Powers 0 to count-1 of an odd number modulo 2**64, and those of its inverse."""
    base = int(_GOLDEN)
    inverse = pow(base, -1, 2**64)
    powers, inverses = [1], [1]
    for _ in range(count - 1):
        powers.append(powers[-1] * base % 2**64)
        inverses.append(inverses[-1] * inverse % 2**64)
    return np.array(powers, dtype=np.uint64), np.array(inverses, dtype=np.uint64)


def _folded_texts(texts: Sequence[str]) -> list[bytes]:
    """The bytes of texts whose letters beyond ASCII are lower-cased and whose other signs there are gone."""
    pieces = [text.encode() if text.isascii() else b"" for text in texts]
    beyond = [index for index, text in enumerate(texts) if not text.isascii()]
    if not beyond:
        return pieces
    joined = "".join([texts[index] for index in beyond])
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4").copy()
    at = np.flatnonzero(codes > 0x7F)
    new = np.unique(codes[at])
    for code in new[_FOLDED_CODES[new] == _UNKNOWN].tolist():
        _FOLDED_CODES[code] = _folded_code(chr(code))
    codes[at] = _FOLDED_CODES[codes[at]]
    depends, dropped = codes == _DEPENDS, codes == _DROPPED
    codes[depends] = _SPACE
    lengths = (codes > 0x7F).astype(np.uint8) + (codes > 0x7FF) + (codes > 0xFFFF) + 1
    lengths[dropped] = 0
    content = codes[~dropped].tobytes().decode("utf-32-le").encode()
    starts = np.cumsum([0, *(len(texts[index]) for index in beyond[:-1])])
    ends = np.cumsum(np.add.reduceat(lengths, starts, dtype=np.int64)).tolist()
    one_by_one = np.logical_or.reduceat(depends, starts).tolist()
    for index, start, end, alone in zip(beyond, [0, *ends], ends, one_by_one, strict=False):
        pieces[index] = _folded(texts[index]) if alone else content[start:end]
    return pieces


def _folded_code(char: str) -> int:
    """The code of what a character becomes, whatever stands beside it; else `_DEPENDS`."""
    kind = _kind(char)
    if kind & _WHAT == _UNSEEN:
        return _DROPPED
    plain = unicodedata.normalize("NFKC", char).lower()
    if kind not in (_WORD, _SEPARATOR) or 0x1160 <= ord(char) <= 0x11FF or char == "Σ":  # Hangul jamo
        return _DEPENDS
    if not any(_kind(part) & _WHAT in (_WORD, _MARK) for part in plain):
        return _SPACE
    return ord(plain) if len(plain) == 1 else _DEPENDS


def _folded(text: str) -> bytes:
    """`_folded_texts` of one text, whose characters depend on each other."""
    codes, kinds = _codes_and_kinds(text)
    seen = kinds & _WHAT != _UNSEEN
    codes, is_sorted = codes[seen], kinds[seen] & _SORTED > 0
    places = np.arange(len(codes))
    since = places - np.maximum.accumulate(np.where(is_sorted, -1, places))
    cuts = np.flatnonzero(is_sorted & (since > _MOST_MARKS) & (since % _MOST_MARKS == 1))
    safe = np.insert(codes, cuts, _GRAPHEME_JOINER).tobytes().decode("utf-32-le", "surrogatepass")

    codes, kinds = _codes_and_kinds(unicodedata.normalize("NFKC", safe).lower())
    kinds &= _WHAT
    codes, kinds = codes[kinds != _UNSEEN], kinds[kinds != _UNSEEN]
    if not len(codes):
        return b""
    # marks belong to what stands before them
    places = np.arange(len(codes))
    before = np.maximum.accumulate(np.where(kinds == _MARK, -1, places))
    codes[(before < 0) | (kinds[before] == _SEPARATOR)] = _SPACE
    return codes.tobytes().decode("utf-32-le").encode()


def _codes_and_kinds(text: str) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """The code of each character of a text, and what it is."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").copy()
    kinds = _KINDS[codes]
    if not kinds.all():
        for code in np.unique(codes[kinds == _UNKNOWN]).tolist():
            _KINDS[code] = _kind(chr(code))
        kinds = _KINDS[codes]
    return codes, kinds


def _kind(char: str) -> int:
    """What a character is: part of a word, a mark on one, a separator, or nothing that is seen."""
    category = unicodedata.category(char)
    is_sorted = _SORTED if unicodedata.combining(unicodedata.normalize("NFKD", char)[0]) else 0
    if _is_unseen(ord(char), category):
        return _UNSEEN | is_sorted
    if category.startswith("M"):
        return _MARK | is_sorted
    return (_WORD if char.isalnum() else _SEPARATOR) | is_sorted


def _is_unseen(code: int, category: str) -> bool:
    if code == 0x200B:  # zero-width space: it separates words of Thai and Khmer
        return False
    if category in ("Cf", "Me") or code in (_GRAPHEME_JOINER, 0x180F):
        return True
    return 0x180B <= code <= 0x180D or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Values whose bits all depend on each other: the finaliser of SplitMix64 (Steele et al., 2014)."""
    values = values + _GOLDEN
    values ^= values >> np.uint64(30)
    values *= _MIX_1
    values ^= values >> np.uint64(27)
    values *= _MIX_2
    values ^= values >> np.uint64(31)
    return values
