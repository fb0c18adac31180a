"""A linear text model over hashed features: how it scores, and its file.

    logits = (sum of weight_f over the distinct features f) / (m + sum of mass_f) + bias

`mass_f` in [0, 1] says how much topic a feature can carry: 0 for the commonest ones. So the
score is a mean over the telling features, and m (one number) keeps texts with few of them near
the bias. The file is safetensors: `weight` (features, labels) and `mass` (features,) in float16,
`bias` (labels,) in float32; m and the taxonomy as JSON in its metadata.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from dmix.etl.classifiers.features import NUM_FEATURES
from dmix.etl.classifiers.loops import compiled, compiled_row_sums
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.taxonomy import Taxonomy

FORMAT = "dmix-linear-1"

_FEW_DOCUMENTS = 32
"""Up to so many are summed without the table, which takes longer to make."""

_LINE = 16
"""Numbers of float32 in a line of the processor's cache."""


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Weights of a linear text model over C labels.

    Attributes:
        taxonomy: Its C labels.
        weight: float16, shape (NUM_FEATURES, C); temperature is folded in.
        mass: Telling power of each feature, float16, shape (NUM_FEATURES,).
        bias: float32, shape (C,).
        prior_mass: The m of the formula above.
    """

    taxonomy: Taxonomy
    weight: NDArray[np.float16]
    mass: NDArray[np.float16]
    bias: NDArray[np.float32]
    prior_mass: float

    def logits(self, features: NDArray[np.int32], offsets: NDArray[np.int32]) -> NDArray[np.float32]:
        """Logits of documents given by the flat features of `document_features`, float32, shape (n, C)."""
        sums = self._sums(features, np.append(offsets, np.int32(len(features))))
        labels = len(self.bias)
        masses = sums[:, labels : labels + 1]
        logits: NDArray[np.float32] = sums[:, :labels] / (masses + np.float32(self.prior_mass)) + self.bias
        return logits

    def _sums(self, features: NDArray[np.int32], ends: NDArray[np.int32]) -> NDArray[np.float32]:
        """Sums of the rows of each document, row after row, so that the last bits are always the same."""
        if len(ends) - 1 <= _FEW_DOCUMENTS and "_table" not in vars(self):
            table = self._rows(features)
            features = np.arange(len(features), dtype=np.int32)
        else:
            table = self._table
        library = compiled()
        if library is not None:
            return compiled_row_sums(library, features, ends, table)
        from scipy.sparse import csr_array

        ones = np.ones(len(features), np.float32)
        chosen = csr_array((ones, features, ends), shape=(len(ends) - 1, len(table)))
        sums: NDArray[np.float32] = chosen @ table
        return sums

    @cached_property
    def _table(self) -> NDArray[np.float32]:
        """Weight and mass of all features in one float32 table, so that one pass sums both."""
        return self._rows(slice(None))

    def _rows(self, features: NDArray[np.int32] | slice) -> NDArray[np.float32]:
        """Weight and mass of some features, a row each.

        Each row fills whole cache lines: one that lies across a border costs a line more.
        """
        labels, weight = len(self.bias), self.weight[features]
        columns = -(-(labels + 1) // _LINE) * _LINE
        memory = np.zeros(len(weight) * columns + _LINE, np.float32)
        first = -(memory.ctypes.data // memory.itemsize) % _LINE
        table = memory[first : first + len(weight) * columns].reshape(len(weight), columns)
        table[:, :labels], table[:, labels] = weight, self.mass[features]
        return table

    def save(self, path: Path) -> None:
        """Writes the safetensors file."""
        # one entry: the order of several would change from one save to the next
        facts = {"format": FORMAT, "prior_mass": self.prior_mass, "taxonomy": self.taxonomy.to_json()}
        tensors = {"weight": self.weight, "mass": self.mass, "bias": self.bias}
        save_file(tensors, path, metadata={"dmix": json.dumps(facts)})

    @classmethod
    def load(cls, path: Path) -> "LinearModel":
        """The model that `save` wrote.

        Raises:
            NotFoundError: If the file does not exist.
            InputError: If it is not such a file.
        """
        if not path.is_file():
            raise NotFoundError(
                f"the file of classifier weights {path} does not exist; give the file that training wrote"
            )
        try:
            with safe_open(path, framework="numpy") as file:
                facts = json.loads((file.metadata() or {}).get("dmix", "{}"))
                if facts.get("format") != FORMAT:
                    raise InputError(
                        f"{path} has format {facts.get('format')!r}, expected {FORMAT!r}; train "
                        "the classifier again"
                    )
                tensors = {name: file.get_tensor(name) for name in ("weight", "mass", "bias")}
        except InputError:
            raise
        except Exception as error:  # safetensors raises a type of its own, KeyError or OSError
            raise InputError(
                f"{path} is not a file of classifier weights ({error}); train the classifier again"
            ) from None
        taxonomy = Taxonomy.from_json(facts["taxonomy"])
        if tensors["weight"].shape != (NUM_FEATURES, len(taxonomy)):
            raise InputError(
                f"{path} has weights of shape {tensors['weight'].shape}, expected"
                f" {(NUM_FEATURES, len(taxonomy))}; train it again"
            )
        return cls(taxonomy=taxonomy, prior_mass=facts["prior_mass"], **tensors)


def read_taxonomy(path: Path) -> Taxonomy:
    """The taxonomy of a file that `LinearModel.save` wrote, without its weights.

    Raises:
        InputError: If it is not such a file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return Taxonomy.from_json(json.loads(file.metadata()["dmix"])["taxonomy"])
    except InputError:
        raise
    except Exception as error:  # safetensors raises a type of its own, TypeError, KeyError or OSError
        raise InputError(
            f"{path} is not a file of classifier weights ({error}); train the classifier again"
        ) from None
