"""What a user chooses about distilling a classifier; light, so that the command line can import it."""

from dataclasses import dataclass

from dmix.warehouse_schema.settings import check_range, setting


@dataclass(frozen=True, kw_only=True)
class DistilSettings:
    """How a classifier is distilled.

    Raises:
        InputError: If a number is out of range.
    """

    documents_per_label: int = setting(
        3000,
        help="Number of documents per label that dmix draws at random for training and testing. If a "
        "label has fewer documents, dmix takes all of them.",
    )
    epochs: int = setting(3, help="Number of passes over the documents.")
    seed: int = setting(0, help="Seed of the random draw and of the training.")

    def __post_init__(self) -> None:
        check_range(self, "documents_per_label", least=10, flags=True)
        check_range(self, "epochs", least=1, flags=True)
        check_range(self, "seed", least=0, flags=True)
