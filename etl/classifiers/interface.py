"""What gives a document its domain: the form of every classifier, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dmix.warehouse_schema.taxonomy import Taxonomy

MISSING_LABEL = -1
"""Index of a document that brings no label along; it is rejected as `missing_label`."""

UNKNOWN_LABEL = -2
"""Index of a document whose label is not in the taxonomy; rejected as `unknown_label`."""

Records = Mapping[str, Sequence[object]]
"""For each of `Classifier.columns`, the raw values of n documents, None where there is none."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of n documents.

    Attributes:
        index: Index of the label, int32, shape (n,); negative for `MISSING_LABEL` and
            `UNKNOWN_LABEL`.
        probability: Of the label, in [0, 1], float32, shape (n,).
        margin: Probability of the label less that of the second, in [0, 1], float32, shape (n,).
        names: What `index` counts in, where the classifier has no fixed taxonomy.
        by_fallback: Documents about which a second classifier was asked, shape (n,); None for none.
    """

    index: NDArray[np.int32]
    probability: NDArray[np.float32]
    margin: NDArray[np.float32]
    names: tuple[str, ...] | None = None
    by_fallback: NDArray[np.bool_] | None = None


class Classifier(Protocol):
    """Gives documents their domains. Making one is cheap; weights are loaded when first used.

    Attributes:
        name: What the user asked for, for example `embedded` or `column:origin`.
        taxonomy: What the indices count in; None if the labels make the taxonomy.
        columns: Columns of the records that `classify` looks at, beside the text.
        fingerprint: Hash of everything that the labels depend on: weights, settings, taxonomy.
    """

    @property
    def name(self) -> str: ...

    @property
    def taxonomy(self) -> Taxonomy | None: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def fingerprint(self) -> str: ...

    def classify(self, texts: Sequence[str], records: Records) -> Labels:
        """Labels of `texts`, which may be empty; the same for the same batch, on any machine."""
        ...
