"""The default classifier: a linear model over hashed token features that ships with dmix.

It needs no download and no accelerator. How it was trained, on what, and how well it does is
in `docs/classifier.md`.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dmix.etl.classifiers.features import WordTable, document_features
from dmix.etl.classifiers.interface import Labels
from dmix.etl.classifiers.linear import LinearModel
from dmix.etl.classifiers.softmax import softmax
from dmix.etl.text.tokens import EMBEDDED, EMBEDDED_PATH, Tokenizer, load_tokenizer
from dmix.warehouse_schema.taxonomy import Taxonomy

WEIGHTS_PATH = Path(__file__).parent.parent / "assets" / "domain_linear.safetensors"

MAX_CHARACTERS = 20_000
"""A longer text is judged by its beginning, some 4,000 tokens, which bounds memory."""


CHUNK = 128
"""Documents that are scored together, so that what is computed for them stays in the cache."""


class EmbeddedClassifier:
    """Gives each text one of the domains by a linear model.

    Args:
        weights: A file written by `LinearModel.save`; the default ships with dmix.
        name: What users call it.
    """

    columns: tuple[str, ...] = ()

    def __init__(self, weights: Path = WEIGHTS_PATH, *, name: str = "embedded") -> None:
        self.name = name
        self._weights = weights

    @cached_property
    def _model(self) -> LinearModel:
        return LinearModel.load(self._weights)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return load_tokenizer(EMBEDDED)

    @cached_property
    def _table(self) -> WordTable:
        return WordTable.of(self._tokenizer.json_bytes)

    @property
    def taxonomy(self) -> Taxonomy:
        """The labels of the weights."""
        return self._model.taxonomy

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights, the tokenizer and the length at which texts are cut."""
        digest = sha256(f"linear characters={MAX_CHARACTERS} ".encode())
        digest.update(self._weights.read_bytes())
        digest.update(EMBEDDED_PATH.read_bytes())
        return digest.hexdigest()

    def classify(self, texts: Sequence[str], records: Mapping[str, Sequence[object]] | None = None) -> Labels:
        """Labels of `texts`; that of a text does not depend on the others.

        Args:
            texts: The documents, possibly none.
            records: Not looked at.
        """
        ids, lengths = self._tokenizer.encode([text[:MAX_CHARACTERS] for text in texts])
        ends = np.cumsum(lengths)
        probabilities = np.empty((len(texts), len(self.taxonomy)), np.float32)
        for start in range(0, len(texts), CHUNK):
            rows = slice(start, start + CHUNK)
            begin = ends[start] - lengths[start]
            probabilities[rows] = self._probabilities(ids[begin : ends[rows][-1]], lengths[rows])
        return most_probable(probabilities)

    def _probabilities(self, ids: NDArray[np.uint32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rounded to 1e-4, so that they do not depend on the last bits of a sum; shape (n, labels)."""
        features, offsets = document_features(ids, lengths, table=self._table)
        logits = self._model.logits(features, offsets)
        return np.round(softmax(logits), 4)

    def __reduce__(self) -> tuple:
        return _rebuild, (self._weights, self.name)


def most_probable(probabilities: NDArray[np.float32]) -> Labels:
    """The label of each row of probabilities, shape (n, labels); the lower index wins a tie."""
    rest = probabilities.copy()
    index = rest.argmax(axis=1)
    first = np.take_along_axis(rest, index[:, None], axis=1)[:, 0]
    np.put_along_axis(rest, index[:, None], 0.0, axis=1)
    margin = np.round(first - rest.max(axis=1), 4)
    return Labels(index.astype(np.int32), first.astype(np.float32), margin.astype(np.float32))


def _rebuild(weights: Path, name: str) -> EmbeddedClassifier:
    return EmbeddedClassifier(weights, name=name)
