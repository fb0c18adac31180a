"""Items that the training text nearly contains, by number-masked 8-grams.

Word problems come in templates that differ in their numbers alone, so numbers are masked before
texts are compared. An item is compared with the passage of a training document that is like it:
shared 8-grams over those of the item and of as long a stretch of the document (the whole document
where it is shorter), which is Jaccard's similarity of the two.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from dmix.warehouse_schema.letters import find_words

GRAM = 8


def masked_grams(text: str) -> frozenset[tuple[str, ...]]:
    """Sets of 8 words in a row, lower case, numbers as `#`; a shorter text is one gram."""
    words = ["#" if word[0].isdigit() else word for word in _words(text.lower())]
    if len(words) <= GRAM:
        return frozenset([tuple(words)] if words else [])
    return frozenset(zip(*(words[start:] for start in range(GRAM)), strict=False))


def _words(text: str) -> list[str]:
    return find_words(text, letters=r"[^\W\d_]", others=r"\d+")


def similarities(items: Mapping[str, str], documents: Iterable[str]) -> dict[str, float]:
    """The greatest similarity of each item to a passage of any document, from 0 to 1.

    Args:
        items: Text of each item, by any key.
        documents: Training text; read once, nothing of it is kept.
    """
    grams = {key: masked_grams(text) for key, text in items.items()}
    holders: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for key, own in grams.items():
        for gram in own:
            holders[gram].append(key)
    highest = dict.fromkeys(items, 0.0)
    for document in documents:
        found = masked_grams(document)
        shared = Counter(key for gram in found & holders.keys() for key in holders[gram])
        for key, common in shared.items():
            size = len(grams[key])
            highest[key] = max(highest[key], common / (size + min(size, len(found)) - common))
    return highest
