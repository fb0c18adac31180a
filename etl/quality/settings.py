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
        help="Classifier that judges the quality of documents. 'embedded' is part of dmix. 'nvidia' is "
        "quality-classifier-deberta from the hub, and 'nvidia:PATH' the same classifier from a folder. With "
        "'none', dmix does not judge documents.",
    )
    max_low: float = setting(
        0.5,
        help="Largest allowed probability that a document has low quality. dmix drops documents above "
        "this value, and all documents with the label Low.",
    )

    def __post_init__(self) -> None:
        check_range(self, "max_low", least=0, most=1, flags=True)
