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
    special_token: tuple[str, ...] = setting(
        (),
        help="Special token of the tokenizer, such as '<|im_start|>'. Where a text contains"
        " this token literally (as chat templates write it), dmix encodes it as one token."
        " Repeat the flag for each. Without the flag, dmix encodes such text as plain"
        " characters.",
    )
    seq_len: int = setting(
        512,
        help="Tokens per sample. The default is about the length of one document (464 tokens"
        " on average in everyday text and code), so that small domains still fill some"
        " samples.",
    )
    seed: int = setting(0, help="Seed of the sample order. A run can set its own.")
    name: str = setting("", help="Name of the dataset, to use instead of its id.")
    drop_duplicates: bool = setting(
        False, help="Keep only the first copy of each text; the view 'duplicates' lists the copies."
    )
    contaminated: str = setting(
        "remove",
        help="What to do with documents that contain an item of --environment. 'remove': leave"
        " them out. 'report': only list them in the view 'contamination'.",
        choices=("remove", "report"),
    )
    split_bytes: int = setting(
        64 << 20, help="Bytes of text per task; dmix splits a larger domain into several tasks."
    )
    shard_bytes: int = setting(32 << 20, help="Largest shard in bytes.")

    def __post_init__(self) -> None:
        for name, least in (("seq_len", 2), ("seed", 0), ("split_bytes", 1), ("shard_bytes", 1)):
            value = getattr(self, name)
            if value < least:
                flag = name.replace("_", "-")
                raise InputError(f"{name} is {value}, expected at least {least}; change --{flag}")
