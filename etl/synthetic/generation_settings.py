"""What a user chooses about text that a model writes; light, so that the command line can import it."""

from dataclasses import dataclass

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import setting

MOST_TOKENS = 2048
"""Longest document where none is set, in tokens, if the model has positions for it."""

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How a model writes documents: from its start token, at temperature 1.

    Raises:
        InputError: If a number is out of range.
    """

    seed: int = setting(
        0,
        help="Seed of the text. Each document depends only on the model, the seed and the document's number.",
    )
    max_tokens: int | None = setting(
        None,
        help="Maximum length of a document in tokens. Default: the context length of the model, at "
        f"most {MOST_TOKENS}.",
    )
    block_documents: int = setting(
        64,
        help="Number of documents per batch and per file. Another number may change the "
        "generated text, because rounding depends on the batch size.",
    )
    start_token: str | None = setting(
        None,
        help="Token that starts every document. Default: the tokenizer's BOS token; if there is none, "
        "its EOS token.",
    )
    engine: str = setting(
        "transformers",
        help="Library that runs the model. 'vllm' is faster on a GPU, and you must install it first.",
        choices=("transformers", "vllm"),
    )
    precision: str = setting(
        "auto",
        help="Number format of the weights. 'auto': bf16 on a GPU and fp32 on a CPU.",
        choices=("auto", "fp32", "bf16"),
    )

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"seed is {self.seed}, expected 0 to {LARGEST_SEED}; change --seed")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InputError(f"max_tokens is {self.max_tokens}, expected at least 1; change --max-tokens")
        if self.block_documents < 1:
            raise InputError(
                f"block_documents is {self.block_documents}, expected at least 1; change --block-documents"
            )
