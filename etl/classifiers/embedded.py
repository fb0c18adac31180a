"""The default classifier: a linear model over hashed token features that ships with dmix.

It needs no download and no accelerator. How it was trained, on what, and how well it does is
in `docs/classifier.md`.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

from dmix.etl.classifiers import Labels
from dmix.etl.classifiers.linear import LinearModel
from dmix.etl.tokens import EMBEDDED, Tokenizer, load_tokenizer
from dmix.warehouse_schema.taxonomy import Taxonomy

WEIGHTS_PATH = Path(__file__).parent.parent / "assets" / "domain_linear.safetensors"

MAX_CHARACTERS = 20_000
"""A longer text is judged by its beginning, some 4,000 tokens, which bounds memory."""


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

    @property
    def taxonomy(self) -> Taxonomy:
        """The labels of the weights."""
        return self._model.taxonomy

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights, the tokenizer and the length at which texts are cut."""
        digest = sha256(f"linear characters={MAX_CHARACTERS} ".encode())
        digest.update(self._weights.read_bytes())
        digest.update(self._tokenizer.json_bytes)
        return digest.hexdigest()

    def classify(self, texts: Sequence[str], records: Mapping[str, Sequence[object]] | None = None) -> Labels:
        """Labels of `texts`; that of a text does not depend on the others.

        Args:
            texts: The documents, possibly none.
            records: Not looked at.
        """
        ids, lengths = self._tokenizer.encode([text[:MAX_CHARACTERS] for text in texts])
        probabilities = np.round(self._model.probabilities(ids, lengths), 4)
        index = probabilities.argmax(axis=1)  # the first of equals
        first = np.take_along_axis(probabilities, index[:, None], axis=1)[:, 0]
        np.put_along_axis(probabilities, index[:, None], -1.0, axis=1)
        second = np.maximum(probabilities.max(axis=1), 0.0)
        return Labels(
            index=index.astype(np.int32),
            probability=first.astype(np.float32),
            margin=np.round(first - second, 4).astype(np.float32),
        )

    def __reduce__(self) -> tuple:
        return _rebuild, (self._weights, self.name)


def _rebuild(weights: Path, name: str) -> EmbeddedClassifier:
    return EmbeddedClassifier(weights, name=name)
