"""Sizes and numbers, as people read them."""


def size_text(size_bytes: float) -> str:
    """A size in the unit that gives it one to three digits: 950 B, 4.2 kB, 17.0 MB, 2.1 GB."""
    if size_bytes < 1e3:
        return f"{size_bytes:.0f} B"
    for unit, step in (("kB", 1e3), ("MB", 1e6)):
        # what would be rounded to 1,000.0 has the next unit
        if size_bytes < 999.95 * step:
            return f"{size_bytes / step:.1f} {unit}"
    return f"{size_bytes / 1e9:,.1f} GB"


# Verbs of messages that differ in the singular.
_SINGULAR = {"are": "is", "were": "was", "have": "has"}


def num_text(count: int, noun: str, verb: str = "") -> str:
    """A number with its noun: 1 sample, 2,500 samples, 0 passes; with a verb, 1 sample is, 2 samples are.

    Args:
        count: The number.
        noun: The noun in the singular; words may stand before it.
        verb: Follows in the form that fits: "are", "were" or "have".
    """
    counted = f"{count:,} {noun if count == 1 else _plural(noun)}"
    return f"{counted} {_SINGULAR[verb] if count == 1 else verb}" if verb else counted


def _plural(noun: str) -> str:
    """The plural of a noun of dmix's messages."""
    if noun.endswith("corpus"):
        return f"{noun.removesuffix('us')}ora"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    hissing = noun.endswith(("s", "x", "ch", "sh")) and not noun.endswith("epoch")
    return f"{noun}es" if hissing else f"{noun}s"
