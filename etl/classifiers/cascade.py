"""A fast classifier whose unsure labels are given by a second one."""

import dataclasses
from collections.abc import Sequence

from dmix.etl.classifiers.interface import Classifier, Labels, Records
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.taxonomy import Taxonomy


class CascadeClassifier:
    """Asks `second` about the documents to which `first` gives a margin below `margin`.

    Args:
        first: Sees every document.
        second: Has the same labels in the same order; its label, probability and margin count, also
            where it knows no label (`MISSING_LABEL`, `UNKNOWN_LABEL`).
        margin: In [0, 1]; 0 never asks the second one.

    Raises:
        InputError: If the labels differ.
    """

    def __init__(self, first: Classifier, second: Classifier, *, margin: float) -> None:
        if (
            first.taxonomy is None
            or second.taxonomy is None
            or first.taxonomy.labels != second.taxonomy.labels
        ):
            raise InputError(
                f"classifiers {first.name!r} and {second.name!r} have different labels; choose a "
                "fallback with the same labels in the same order"
            )
        self.name = f"{first.name}, {second.name} below {margin:g}"
        self.taxonomy: Taxonomy = first.taxonomy
        self.columns = tuple(dict.fromkeys((*first.columns, *second.columns)))
        self.fingerprint = digest_of(["cascade", first.fingerprint, second.fingerprint, margin])
        self._first, self._second, self._margin = first, second, margin

    def classify(self, texts: Sequence[str], records: Records) -> Labels:
        """Labels of the first classifier, or of the second where the margin is low."""
        found = self._first.classify(texts, records)
        unsure = found.margin < self._margin
        rows = unsure.nonzero()[0].tolist()
        index, probability, margin = found.index.copy(), found.probability.copy(), found.margin.copy()
        if rows:
            some = {column: [records[column][row] for row in rows] for column in self._second.columns}
            second = self._second.classify([texts[row] for row in rows], some)
            index[rows], probability[rows], margin[rows] = second.index, second.probability, second.margin
        return dataclasses.replace(
            found, index=index, probability=probability, margin=margin, by_fallback=unsure
        )
