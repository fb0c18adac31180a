"""Durations in words."""

from dmix.training.run.watching.progress import duration


def in_words(seconds: float) -> str:
    """An estimated duration in the unit that a person would say: seconds, minutes or hours."""
    return f"about {duration(seconds)}"


ESTIMATED = (
    "dmix estimated this from one matrix product. The true time can be half or twice as long, or longer if "
    "other processes use the machine"
)
"""How a dry run knows a time."""
