"""The quality judge that ships with dmix: two rules and a logistic model over measures of a text.

A text is Low without asking the model if it has fewer than `LEAST_WORDS` words, or if more than
`MOST_REPEATED` of its runs of three words came before (a model caught in a loop). Otherwise
P(Low) is the logistic function of a weighted sum of its measures (`etl.quality.measures`) and of their
products, since what is odd in prose is usual in source code and tables. How the weights were
found, and what the judge does to text of origins that it has not seen, is in
`docs/synthetic-source.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dmix.etl.quality.measures import (
    MAX_CHARACTERS,
    MEASURES,
    PAIR_BUCKETS,
    TRIPLE_BUCKETS,
    VERSION,
    WORD_BUCKETS,
    NeighbourTables,
    text_measures,
    words_of,
)
from dmix.etl.quality.verdict import QUALITIES, Judged
from dmix.warehouse_schema.errors import InputError, NotFoundError

WEIGHTS_PATH = Path(__file__).parent.parent / "assets" / "quality_linear.safetensors"

LEAST_WORDS = 8
MOST_REPEATED = 0.6
LOW_FROM = 0.5
"""P(Low) from which on a text is Low."""

FARTHEST = 4.0
NUM_INPUTS = len(MEASURES) + len(MEASURES) * (len(MEASURES) + 1) // 2

MEDIUM_FROM = 0.1
"""P(Low) from which on a text is Medium."""


@dataclass(frozen=True, eq=False)
class QualityModel:
    """Weights of the judge.

    Attributes:
        tables: What stands together in good text.
        mean: Of each measure over the texts that it was fitted to, float64, shape (len(MEASURES),).
        std: Standard deviations, likewise.
        weight: Of each of `model_inputs`, float64.
        bias: Log odds of Low where all of these are 0.
    """

    tables: NeighbourTables
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: float

    def probability_low(self, text: str) -> float:
        """P(Low) of a text, rounded to 1e-4."""
        measures = text_measures(text, self.tables)
        if len(words_of(text)) < LEAST_WORDS or measures[MEASURES.index("repeated_triples")] > MOST_REPEATED:
            return 1.0
        inputs = model_inputs(measures[None], mean=self.mean, std=self.std)[0]
        score = float(np.clip(inputs @ self.weight + self.bias, -40, 40))
        return round(1 / (1 + np.exp(-score)), 4)

    def save(self, path: Path) -> None:
        """Writes the safetensors file."""
        from safetensors.numpy import save_file

        save_file(
            {
                "words": self.tables.words,
                "pairs": self.tables.pairs,
                "triples": self.tables.triples,
                "mean": self.mean,
                "deviation": self.std,
                "weight": self.weight,
                "bias": np.array([self.bias]),
            },
            path,
        )

    @classmethod
    def load(cls, path: Path) -> "QualityModel":
        """The model that `save` wrote.

        Raises:
            NotFoundError: If there is no such file.
            InputError: If it is not such a file.
        """
        from safetensors.numpy import load_file

        if not path.is_file():
            raise NotFoundError(f"the file of quality weights {path} does not exist; install dmix again")
        try:
            tensors = load_file(path)
            tables = [tensors[name] for name in ("words", "pairs", "triples")]
            weight, bias = tensors["weight"], float(tensors["bias"][0])
            mean, std = tensors["mean"], tensors["deviation"]
        except Exception as error:  # safetensors raises a type of its own, KeyError or OSError
            raise InputError(
                f"{path} is not a file of quality weights ({error}); train the classifier again"
            ) from None
        if weight.shape != (NUM_INPUTS,) or [len(table) for table in tables] != [
            WORD_BUCKETS,
            PAIR_BUCKETS // 8,
            TRIPLE_BUCKETS // 8,
        ]:
            raise InputError(f"{path} has weights for other measures or tables; train the classifier again")
        return cls(NeighbourTables(*tables), mean, std, weight, bias)


def model_inputs(
    measures_NK: NDArray[np.float64], *, mean: NDArray[np.float64], std: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Standardised measures, and the products of each two of them, shape (N, NUM_INPUTS).

    Standardised measures are cut at `FARTHEST`, so that a text unlike all others is not judged by
    squares of numbers that no text had.
    """
    standard_NK = np.clip((measures_NK - mean) / std, -FARTHEST, FARTHEST)
    first, second = np.triu_indices(len(MEASURES))
    return np.concatenate([standard_NK, standard_NK[:, first] * standard_NK[:, second]], axis=1)


class EmbeddedQuality:
    """Judges texts by the weights that ship with dmix.

    Args:
        weights: A file written by `QualityModel.save`.
    """

    def __init__(self, weights: Path = WEIGHTS_PATH) -> None:
        self._weights = weights

    @cached_property
    def _model(self) -> QualityModel:
        return QualityModel.load(self._weights)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights, the version of the measures, the rules and the length at which texts end."""
        rules = (
            f"{VERSION} {LEAST_WORDS} {MOST_REPEATED} {LOW_FROM} {MEDIUM_FROM} {MAX_CHARACTERS} {MEASURES} "
        )
        return sha256(rules.encode() + self._weights.read_bytes()).hexdigest()

    def judge(self, texts: Sequence[str]) -> Judged:
        """Label and P(Low) of each text; those of a text do not depend on the others."""
        low = np.array([self._model.probability_low(text) for text in texts], np.float32)
        return Judged(labels_of(low), low)


def labels_of(probability_low: NDArray[np.float32]) -> NDArray[np.int64]:
    """Index in `QUALITIES` for each P(Low)."""
    high, medium, low = (QUALITIES.index(name) for name in ("High", "Medium", "Low"))
    return np.where(probability_low >= LOW_FROM, low, np.where(probability_low >= MEDIUM_FROM, medium, high))
