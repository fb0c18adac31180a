"""Labels that the documents bring along in a column of their own."""

from collections.abc import Sequence

import numpy as np

from dmix.etl.classifiers.interface import MISSING_LABEL, UNKNOWN_LABEL, Labels, Records
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.taxonomy import Taxonomy

VERSION = 1
"""Part of the fingerprint; one more for every change of the labels that come out."""


class ColumnClassifier:
    """Takes the label of a document from its column `column`.

    Text and whole numbers are labels, spaces around them do not count. Nothing else is one: a
    list or a mapping is an unknown label, null, an absent column and empty text a missing one.

    Args:
        column: Name of the column.
        taxonomy: Labels that are allowed; None allows every label, and then the fingerprint does
            not depend on the labels that happen to occur.
    """

    def __init__(self, column: str, *, taxonomy: Taxonomy | None) -> None:
        self.name = f"column:{column}"
        self.taxonomy = taxonomy
        self.columns = (column,)
        self.fingerprint = digest_of(["column", VERSION, column, list(taxonomy.labels) if taxonomy else None])
        self._index = {label: index for index, label in enumerate(taxonomy.labels)} if taxonomy else None

    def classify(self, texts: Sequence[str], records: Records) -> Labels:
        """Labels from `records`; probability and margin are 1."""
        labels = [_label(value) for value in records[self.columns[0]]]
        if self._index is None:
            names = tuple(sorted({label for label in labels if isinstance(label, str)}))
            index = {label: position for position, label in enumerate(names)}
        else:
            names, index = None, self._index
        found = [index.get(label, UNKNOWN_LABEL) if isinstance(label, str) else label for label in labels]
        ones = np.ones(len(labels), dtype=np.float32)
        return Labels(np.asarray(found, dtype=np.int32), ones, ones, names)


def _label(value: object) -> str | int:
    """The label that a value stands for, or `MISSING_LABEL` or `UNKNOWN_LABEL`."""
    if value is None:
        return MISSING_LABEL
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return UNKNOWN_LABEL
    return value.strip() or MISSING_LABEL
