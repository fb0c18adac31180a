"""Words in every script: which characters belong to the word before them.

The vowel signs of Hindi, Thai, Tamil or Khmer, the points of Arabic and Hebrew and accents that stand apart
are combining marks, which are no letters for Python's regular expressions: `\\w` ends a word at each of them.
"""

import functools
import re
import unicodedata

JOINERS = "\u200c\u200d"
"""Zero-width non-joiner and joiner, which stand within words of Persian and of Indic scripts."""

_MARKS_FROM, _MARKS_TO = 0x300, 0x20000
"""All marks but the variation selectors are between these."""
_SELECTORS = range(0xE0100, 0xE01F0)


@functools.cache
def followers() -> str:
    """The inside of a character class of regular expressions: marks and joiners."""
    spans: list[list[int]] = []
    for code in (*range(_MARKS_FROM, _MARKS_TO), *_SELECTORS):
        if unicodedata.category(chr(code))[0] != "M":
            continue
        if spans and spans[-1][1] == code - 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in spans) + JOINERS


def find_words(text: str, *, letters: str, others: str) -> list[str]:
    """All runs of letters with the marks and joiners on them, and whatever else is looked for.

    Args:
        text: A text.
        letters: What a word begins with, a character class such as `[^\\W_]`.
        others: Pattern of what is found beside words, which must match no letter.
    """
    return _pattern(letters, others, text.isascii()).findall(text)


@functools.cache
def _pattern(letters: str, others: str, is_ascii: bool) -> re.Pattern[str]:
    # the class of all marks takes some 30 ms to make, and an ASCII text has none
    rest = "" if is_ascii else rf"(?:[{followers()}]+{letters}*)*"
    return re.compile(rf"{letters}+{rest}|{others}")
