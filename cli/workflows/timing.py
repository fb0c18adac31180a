"""Durations in words, as dmix estimates them: on idle cores, and at the load of the moment."""

from dmix.training.model.estimate.load import slowdown
from dmix.training.run.watching.progress import duration

START_SECONDS = 10
"""What a command takes at least on idle cores, mostly to load libraries."""

# A load that lengthens a time by less is within the error of the estimate.
_WORTH_A_WORD = 1.3


def in_words(seconds: float) -> str:
    """An estimated duration in the unit that a person would say: seconds, minutes or hours."""
    return f"about {duration(seconds)}"


def estimate(idle_seconds: float, *, cores: int | None = None) -> str:
    """An estimated duration on this machine: on idle cores and, where others use these, at the present load.

    Args:
        idle_seconds: What it takes on idle cores.
        cores: Cores that the work uses; as many as numerical libraries use here if None.
    """
    slower = slowdown(cores)
    if slower < _WORTH_A_WORD:
        return in_words(idle_seconds)
    return f"{in_words(idle_seconds)} on idle cores, {in_words(idle_seconds * slower)} at the present load"


ESTIMATED = "This is an estimate. The true time can be half or twice as long"
"""How sure a time is, said after `estimate`."""
