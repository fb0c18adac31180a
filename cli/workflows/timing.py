"""Durations in words."""

from dmix.training.run.watching.progress import duration


def in_words(seconds: float) -> str:
    """An estimated duration in the unit that a person would say: seconds, minutes or hours."""
    return f"about {duration(seconds)}"
