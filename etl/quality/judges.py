"""Is a text fit to train on? High, Medium or Low, by one of two judges.

| `--quality` | what it is |
|---|---|
| `embedded` | a few documented measures of a text and a small linear model (`etl.quality.embedded`) |
| `nvidia`, `nvidia:PATH` | nvidia/quality-classifier-deberta (`classifiers.nvidia`) |
| `none` | nothing is judged; documents without text are dropped all the same |
"""

import functools
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from dmix.etl.quality.verdict import LOW, QUALITIES, Judged
from dmix.warehouse_schema.errors import InputError

NO_QUALITY = "none"


class QualityJudge(Protocol):
    """Judges texts; weights are loaded when first used."""

    @property
    def fingerprint(self) -> str: ...

    def judge(self, texts: Sequence[str]) -> Judged: ...


class NothingJudged:
    """Finds every text good."""

    fingerprint = NO_QUALITY

    def judge(self, texts: Sequence[str]) -> Judged:
        """High, with a probability of `Low` of 0."""
        return Judged(np.zeros(len(texts), np.int64), np.zeros(len(texts), np.float32))


class NvidiaQuality:
    """nvidia/quality-classifier-deberta from a folder or the hub.

    Raises:
        NotFoundError: If the files are not there or cannot be fetched.
        InputError: If they are not those of a classifier with these three labels.
    """

    def __init__(self, location: str) -> None:
        from dmix.etl.classifiers.nvidia import QUALITY_CHECKPOINT, NvidiaClassifier

        self._classifier = NvidiaClassifier(
            location, name="nvidia", taxonomy=QUALITIES, form=QUALITY_CHECKPOINT
        )

    @property
    def fingerprint(self) -> str:
        """Hash of all files and limits."""
        return self._classifier.fingerprint

    def judge(self, texts: Sequence[str]) -> Judged:
        """The most probable label of each text, and the probability of `Low`."""
        probability_NC = self._classifier.probabilities(texts)
        label = probability_NC.argmax(axis=1) if len(texts) else np.zeros(0, np.int64)
        return Judged(label, probability_NC[:, LOW])


@functools.lru_cache(maxsize=2)
def make_quality(name: str) -> QualityJudge:
    """The judge that a user chose, made once per process.

    Raises:
        InputError: If there is none of this name, or it cannot be made as asked.
        NotFoundError: If its files do not exist.
    """
    kind, _, rest = name.partition(":")
    if name == NO_QUALITY:
        return NothingJudged()
    if name == "embedded":
        from dmix.etl.quality.embedded import EmbeddedQuality

        return EmbeddedQuality()
    if kind == "nvidia":
        from dmix.etl.classifiers.nvidia import QUALITY_CHECKPOINT

        return NvidiaQuality(rest or QUALITY_CHECKPOINT.hub_id)
    raise InputError(f"quality classifier {name!r} is unknown; use embedded, nvidia, nvidia:PATH or none")
