"""What a user chooses about a start state estimated from a model; light, for the command line."""

from dataclasses import dataclass

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import setting


@dataclass(frozen=True, kw_only=True)
class StartStateSettings:
    """When a start state that is estimated from a model's own text is good enough.

    Raises:
        InputError: If a number is out of range.
    """

    classifier: str = setting(
        "embedded",
        help="Classifier that labels documents with a domain. 'embedded': part of dmix. 'nvidia': from "
        "the Hugging Face hub. 'nvidia:PATH': the same, from a folder.",
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
        if not self.kl_bound > 0:
            raise InputError(f"kl_bound is {self.kl_bound}, expected above 0; change --kl-bound")
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence is {self.confidence}, expected between 0 and 1")
        if not 1 <= self.min_documents <= self.max_documents:
            raise InputError(
                f"min_documents is {self.min_documents} and max_documents {self.max_documents}, expected 1 <="
                " min_documents <= max_documents"
            )
