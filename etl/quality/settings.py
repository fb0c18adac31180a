"""What a user chooses about the quality of text; light, so that the command line can import it."""

from dataclasses import dataclass

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import setting


@dataclass(frozen=True, kw_only=True)
class QualitySettings:
    """Which documents are of too low quality to be kept.

    Raises:
        InputError: If the threshold is no probability.
    """

    quality: str = setting(
        "embedded",
        help="Classifier that judges the quality of documents. 'embedded': part of dmix. 'nvidia': "
        "quality-classifier-deberta from the hub. 'nvidia:PATH': the same, from a folder. 'none': "
        "no judgement.",
    )
    max_low: float = setting(
        0.5,
        help="Largest allowed probability that a document has low quality. dmix drops documents above "
        "this value, and all documents with the label Low.",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.max_low <= 1:
            raise InputError(f"max_low is {self.max_low}, expected 0 to 1; change --max-low")
