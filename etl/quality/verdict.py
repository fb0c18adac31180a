"""What a judge says about texts: one of three labels, and how probable the lowest is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.warehouse_schema.taxonomy import Taxonomy

QUALITIES = Taxonomy("quality", ("High", "Medium", "Low"))
"""Labels of nvidia/quality-classifier-deberta."""

LOW = QUALITIES.labels.index("Low")


@dataclass(frozen=True, eq=False)
class Judged:
    """What was found about n texts.

    Attributes:
        label: Index in `QUALITIES`, int64, shape (n,).
        probability_low: Probability of `Low`, float32, shape (n,).
    """

    label: NDArray[np.int64]
    probability_low: NDArray[np.float32]

    def kept(self, *, max_low: float) -> NDArray[np.bool_]:
        """Which texts are neither labelled `Low` nor above the threshold, shape (n,)."""
        return (self.label != LOW) & (self.probability_low <= max_low)
