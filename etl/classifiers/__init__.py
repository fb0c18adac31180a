"""What gives a document its domain: one interface, three kinds.

| `--classifier` | class | what it needs |
|---|---|---|
| `embedded` | `embedded.EmbeddedClassifier` | nothing, the weights ship with dmix |
| `nvidia`, `nvidia:PATH` | `nvidia.NvidiaClassifier` | a download from the hub, or a folder |
| `column:NAME` | `column.ColumnClassifier` | labels that the documents bring along |

Executors get a `ClassifierSpec` and build the classifier themselves, once a worker process: the
weights never travel through Spark. To add a kind, write a class of the `Classifier` form and
name it in `make_classifier`.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY, Taxonomy, taxonomy_from_file

MISSING_LABEL = -1
"""Index of a document that brings no label along; it is rejected as `missing_label`."""

UNKNOWN_LABEL = -2
"""Index of a document whose label is not in the taxonomy; rejected as `unknown_label`."""

FROM_DATA = "from-data"
"""Value of `--taxonomy` that makes a taxonomy of whatever labels the documents bring along."""

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
    """

    index: NDArray[np.int32]
    probability: NDArray[np.float32]
    margin: NDArray[np.float32]
    names: tuple[str, ...] | None = None


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


@dataclass(frozen=True, kw_only=True)
class ClassifierSpec:
    """How to make a classifier, small enough to send to every task.

    Attributes:
        name: `embedded`, `nvidia`, `nvidia:PATH` or `column:NAME`.
        taxonomy: Labels that are allowed; None for the labels of the data.
    """

    name: str
    taxonomy: Taxonomy | None


def classifier_spec(name: str, *, taxonomy: str | None) -> ClassifierSpec:
    """The spec of what a user asked for.

    Args:
        name: Value of `--classifier`.
        taxonomy: Value of `--taxonomy`: a file, `from-data`, or None for the default labels.

    Raises:
        InputError: If the classifier is unknown or does not go with the taxonomy.
        NotFoundError: If the taxonomy file does not exist.
    """
    kind, _, rest = name.partition(":")
    known = {"embedded": not rest, "nvidia": True, "column": bool(rest)}
    if not known.get(kind, False):
        raise InputError(
            f"classifier {name!r} is unknown; use embedded, nvidia, nvidia:PATH or column:NAME"
            " (NAME is a column of the documents that holds their label)"
        )
    if taxonomy is None:
        return ClassifierSpec(name=name, taxonomy=DEFAULT_TAXONOMY)
    if kind == "embedded":
        raise InputError(
            f"the embedded classifier knows the {len(DEFAULT_TAXONOMY)} labels of"
            f" {DEFAULT_TAXONOMY.name} alone; leave --taxonomy out, or use --classifier column:NAME"
        )
    if taxonomy == FROM_DATA:
        if kind != "column":
            raise InputError(f"--taxonomy {FROM_DATA} needs --classifier column:NAME, not {name!r}")
        return ClassifierSpec(name=name, taxonomy=None)
    return ClassifierSpec(name=name, taxonomy=taxonomy_from_file(taxonomy))


@functools.lru_cache(maxsize=2)
def make_classifier(spec: ClassifierSpec) -> Classifier:
    """The classifier of a spec, made once a process.

    Raises:
        InputError: If it cannot be made as asked, for example from a damaged folder.
        NotFoundError: If its files do not exist.
    """
    kind, _, rest = spec.name.partition(":")
    if kind == "column":
        from dmix.etl.classifiers.column import ColumnClassifier

        return ColumnClassifier(rest, taxonomy=spec.taxonomy)
    if kind == "nvidia":
        from dmix.etl.classifiers.nvidia import HUB_ID, NvidiaClassifier

        assert spec.taxonomy is not None
        return NvidiaClassifier(rest or HUB_ID, name=spec.name, taxonomy=spec.taxonomy)
    from dmix.etl.classifiers.embedded import EmbeddedClassifier

    return EmbeddedClassifier()
