"""What a user chooses about a start state estimated from a model; light, for the command line."""

from dataclasses import dataclass

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import check_range, setting


@dataclass(frozen=True, kw_only=True)
class StartStateSettings:
    """When a start state that is estimated from a model's own text is good enough.

    Raises:
        InputError: If a number is out of range.
    """

    classifier: str = setting(
        "embedded",
        help="Classifier that labels documents with a domain. 'embedded' is part of dmix. 'nvidia' comes "
        "from the Hugging Face hub, and 'nvidia:PATH' from a folder.",
    )
    kl_bound: float = setting(
        0.01,
        help="Largest sampling error of the shares: a KL divergence in nats, estimated by bootstrap. "
        "The model stops writing documents when the error is below this bound with probability --confidence.",
    )
    confidence: float = setting(
        0.95,
        help="Confidence level, 0 to 1, of --kl-bound and of the intervals of the estimated domain shares.",
    )
    min_documents: int = setting(512, help="Minimum number of documents that the model writes.")
    max_documents: int = setting(
        20_000,
        help="Maximum number of documents that the model writes, even if the sampling error is still "
        "above --kl-bound.",
    )

    def __post_init__(self) -> None:
        check_range(self, "kl_bound", above=0, flags=True)
        check_range(self, "confidence", above=0, below=1, flags=True)
        if not 1 <= self.min_documents <= self.max_documents:
            raise InputError(
                f"min_documents is {self.min_documents} and max_documents {self.max_documents}, expected 1 <="
                " min_documents <= max_documents"
            )
