"""What a user chooses about a dataset; light, so that the command line can import it."""

from dataclasses import dataclass

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import setting


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """How corpora become a dataset. All that changes its bytes is part of the dataset's id.

    Raises:
        InputError: If a number is out of range.
    """

    tokenizer: str = setting(
        "embedded",
        help="Tokenizer: 'embedded', a tokenizer.json, a Hugging Face folder, or a hub id.",
    )
    seq_len: int = setting(
        512,
        help="Tokens per sample. The default is about one document (everyday text and code: 464 on average),"
        " short enough that small domains still fill some samples.",
    )
    seed: int = setting(0, help="Default seed of the order in which runs draw the samples.")
    name: str = setting("", help="A name for the dataset, to be used in place of its id.")
    drop_duplicates: bool = setting(
        False, help="Leave out all copies of a text but the first one; see the view duplicates."
    )
    contaminated: str = setting(
        "remove",
        help="What becomes of documents that hold an item of --environment: leave them out, or report them in"
        " the view contamination alone.",
        choices=("remove", "report"),
    )
    split_bytes: int = setting(
        64 << 20, help="Text in bytes that one task encodes; a larger domain becomes several parts."
    )
    shard_bytes: int = setting(32 << 20, help="Largest shard in bytes.")

    def __post_init__(self) -> None:
        for name, least in (("seq_len", 2), ("seed", 0), ("split_bytes", 1), ("shard_bytes", 1)):
            value = getattr(self, name)
            if value < least:
                flag = name.replace("_", "-")
                raise InputError(f"{name} is {value}, expected at least {least}; change --{flag}")
