"""What a user chooses about distilling a classifier; light, so that the command line can import it."""

from dataclasses import dataclass

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import setting


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
        for name, least in (("documents_per_label", 10), ("epochs", 1), ("seed", 0)):
            if getattr(self, name) < least:
                flag = name.replace("_", "-")
                raise InputError(
                    f"{name} is {getattr(self, name)}, expected at least {least}; change --{flag}"
                )
