"""What a user chooses about text that a model writes; light, so that the command line can import it."""

from dataclasses import dataclass

from dmix.warehouse_schema.settings import check_range, setting

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
        help="Number of documents per batch and per file. A different number may change the "
        "generated text, because rounding depends on the batch size.",
    )
    start_token: str | None = setting(
        None,
        help="Token that starts every document. Default: the tokenizer's BOS token or, if it has no BOS "
        "token, its EOS token.",
    )
    engine: str = setting(
        "transformers",
        help="Library that runs the model. 'vllm' is faster on a GPU, and you must install it first.",
        choices=("transformers", "vllm"),
    )
    precision: str = setting(
        "auto",
        help="Number format of the weights. 'auto' means bf16 on a GPU and fp32 on a CPU.",
        choices=("auto", "fp32", "bf16"),
    )

    def __post_init__(self) -> None:
        check_range(self, "seed", least=0, most=LARGEST_SEED, flags=True)
        check_range(self, "max_tokens", "block_documents", least=1, flags=True)
