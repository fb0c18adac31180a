"""Classifiers by the names that users give: four kinds.

| `--classifier` | class | what it needs |
|---|---|---|
| `embedded` | `embedded.EmbeddedClassifier` | nothing, the weights ship with dmix |
| `nvidia`, `nvidia:PATH` | `nvidia.NvidiaClassifier` | a download from the hub, or a folder |
| `distilled:NAME` | `embedded.EmbeddedClassifier` | weights that `dmix etl distil` made |
| `column:NAME` | `column.ColumnClassifier` | labels that the documents bring along |

With `--fallback`, `cascade.CascadeClassifier` asks a second one about what the first is unsure of.

Executors get a `ClassifierSpec` and build the classifier themselves, once a worker process: the
weights never travel through Spark. To add a kind, write a class of the form of `interface.Classifier`,
and name it in `_plain_spec` and `make_classifier`.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

from dmix.etl.classifiers.interface import Classifier
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import checked_name
from dmix.warehouse_schema.files.names import refuse_links
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY, Taxonomy, load_taxonomy

FROM_DATA = "from-data"
"""Value of `--taxonomy` that makes a taxonomy of whatever labels the documents bring along."""

WEIGHTS_NAME = "model.safetensors"
"""File of a distilled classifier, in the folder of its name."""


@dataclass(frozen=True, kw_only=True)
class ClassifierSpec:
    """How to make a classifier, small enough to send to every task.

    Attributes:
        name: `embedded`, `nvidia`, `nvidia:PATH`, `distilled:NAME` or `column:NAME`.
        taxonomy: Labels that are allowed; None for the labels of the data.
        weights: File of a distilled classifier.
        fallback: What is asked about documents of a margin below `margin`.
        margin: In [0, 1].
    """

    name: str
    taxonomy: Taxonomy | None
    weights: Path | None = None
    fallback: "ClassifierSpec | None" = None
    margin: float = 0.0


def classifier_spec(
    name: str,
    *,
    taxonomy: str | None,
    distilled: Path | None = None,
    fallback: str | None = None,
    margin: float = 0.0,
) -> ClassifierSpec:
    """The spec of what a user asked for.

    Args:
        name: Value of `--classifier`.
        taxonomy: Value of `--taxonomy`: a built-in one, a file, `from-data`, or None for the labels of
            the classifier.
        distilled: Folder of the distilled classifiers of the warehouse.
        fallback: Value of `--fallback`.
        margin: Value of `--margin`.

    Raises:
        InputError: If the classifier is unknown or does not go with the taxonomy or the fallback.
        NotFoundError: If the taxonomy file or the distilled classifier does not exist.
    """
    spec = _plain_spec(name, taxonomy, distilled)
    if fallback is None:
        return spec
    if spec.taxonomy is None:
        raise InputError(
            f"--taxonomy {FROM_DATA} takes the labels from the data, and --fallback {fallback} has labels "
            "of its own; leave one of the two out"
        )
    second = _plain_spec(fallback, None, distilled)
    if second.weights is None and not fallback.startswith("embedded"):
        second = dataclasses.replace(second, taxonomy=spec.taxonomy)
    if second.taxonomy is None or second.taxonomy.labels != spec.taxonomy.labels:
        raise InputError(
            f"classifiers {name!r} and {fallback!r} have different labels; choose a fallback with the "
            "same labels in the same order"
        )
    return dataclasses.replace(spec, fallback=second, margin=margin)


def _plain_spec(name: str, taxonomy: str | None, distilled: Path | None) -> ClassifierSpec:
    """The spec of one classifier without a fallback."""
    kind, _, rest = name.partition(":")
    known = {"embedded": not rest, "nvidia": True, "column": bool(rest), "distilled": bool(rest)}
    if not known.get(kind, False):
        raise InputError(
            f"classifier {name!r} is unknown; use embedded, nvidia, nvidia:PATH, column:NAME (a column "
            "with labels), or distilled:NAME (made by 'dmix etl distil')"
        )
    if kind == "embedded" and taxonomy not in (None, DEFAULT_TAXONOMY.name):
        raise InputError(
            f"the embedded classifier has only the {len(DEFAULT_TAXONOMY)} labels of"
            f" {DEFAULT_TAXONOMY.name}; leave --taxonomy out, or use --classifier column:NAME"
        )
    if taxonomy == FROM_DATA:
        if kind != "column":
            raise InputError(f"--taxonomy {FROM_DATA} needs --classifier column:NAME, not {name!r}")
        return ClassifierSpec(name=name, taxonomy=None)
    wanted = None if taxonomy is None else load_taxonomy(taxonomy)
    if kind == "distilled":
        return _distilled_spec(name, rest, wanted, distilled)
    return ClassifierSpec(name=name, taxonomy=wanted or DEFAULT_TAXONOMY)


def _distilled_spec(
    name: str, distilled: str, wanted: Taxonomy | None, folder: Path | None
) -> ClassifierSpec:
    from dmix.etl.classifiers.linear import read_taxonomy

    if folder is None:
        raise InputError(
            f"classifier {name!r} needs a warehouse, and this command has none; use another classifier"
        )
    weights = folder / checked_name("classifier", distilled) / WEIGHTS_NAME
    if not weights.is_file():
        there = ", ".join(sorted(path.parent.name for path in folder.glob(f"*/{WEIGHTS_NAME}"))) or "none yet"
        raise NotFoundError(
            f"classifier {distilled!r} is not in {folder} (available: {there}); make it with 'dmix etl"
            f" distil --name {distilled}'"
        )
    refuse_links(weights.parent)
    taxonomy = read_taxonomy(weights)
    if wanted is not None and wanted.labels != taxonomy.labels:
        raise InputError(
            f"classifier {name!r} has the {len(taxonomy)} labels of {taxonomy.name!r}, not the labels of "
            f"{wanted.name!r}; leave --taxonomy out, or make another classifier with 'dmix etl distil'"
        )
    return ClassifierSpec(name=name, taxonomy=taxonomy, weights=weights)


@functools.lru_cache(maxsize=4)
def make_classifier(spec: ClassifierSpec) -> Classifier:
    """The classifier of a spec, made once per process.

    Raises:
        InputError: If it cannot be made as asked, for example from a damaged folder.
        NotFoundError: If its files do not exist.
    """
    if spec.fallback is not None:
        from dmix.etl.classifiers.cascade import CascadeClassifier

        first = make_classifier(dataclasses.replace(spec, fallback=None, margin=0.0))
        return CascadeClassifier(first, make_classifier(spec.fallback), margin=spec.margin)
    kind, _, rest = spec.name.partition(":")
    if kind == "column":
        from dmix.etl.classifiers.column import ColumnClassifier

        return ColumnClassifier(rest, taxonomy=spec.taxonomy)
    if kind == "nvidia":
        from dmix.etl.classifiers.nvidia import HUB_ID, NvidiaClassifier

        assert spec.taxonomy is not None
        return NvidiaClassifier(rest or HUB_ID, name=spec.name, taxonomy=spec.taxonomy)
    if kind in ("embedded", "distilled"):
        from dmix.etl.classifiers.embedded import WEIGHTS_PATH, EmbeddedClassifier

        return EmbeddedClassifier(spec.weights or WEIGHTS_PATH, name=spec.name)
    raise ValueError(f"no class for the classifier {spec.name!r}")


def load_weights(spec: ClassifierSpec) -> None:
    """Loads what labelling needs into this process, whose forks then have it, if that takes no torch."""
    first = make_classifier(dataclasses.replace(spec, fallback=None, margin=0.0))
    if not spec.name.startswith("nvidia"):
        first.classify(["a text"], {column: ["a label"] for column in first.columns})
