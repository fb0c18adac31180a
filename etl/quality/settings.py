"""What a user chooses about the quality of text; light, so that the command line can import it."""

from dataclasses import dataclass

from dmix.warehouse_schema.settings import check_range, setting


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
        check_range(self, "max_low", least=0, most=1, flags=True)
