"""What a user chooses about a dataset; light, so that the command line can import it."""

from dataclasses import dataclass

from dmix.warehouse_schema.settings import MOST_BYTES, check_range, setting

# A shard holds at least one sample and at most 4 GiB.
_MOST_SEQ_LEN = 2**28


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """How corpora become a dataset. All that changes its bytes is part of the dataset's id.

    Raises:
        InputError: If a number is out of range.
    """

    tokenizer: str = setting(
        "embedded",
        help="Tokenizer: 'embedded', the path of a tokenizer.json, a Hugging Face folder, or a hub id.",
    )
    special_token: tuple[str, ...] = setting(
        (),
        help="Special token of the tokenizer, such as '<|im_start|>', that chat templates write into the "
        "text. dmix encodes these characters as one token. Repeat the flag for several tokens. "
        "Default: dmix encodes the names of special tokens as plain characters.",
    )
    seq_len: int = setting(
        512,
        help="Number of tokens per sample. With a small value, even small domains fill some samples. The "
        "default is close to the mean length of a document, which is 464 tokens in everyday text and code.",
        most=_MOST_SEQ_LEN,
    )
    seed: int = setting(0, help="Seed of the sample order. A run can use a different seed.")
    name: str = setting("", help="Name of the dataset. You can use the name instead of the id.")
    drop_duplicates: bool = setting(
        False, help="Keep only the first copy of each text. The view 'duplicates' lists the other copies."
    )
    contaminated: str = setting(
        "remove",
        help="Treatment of documents that contain an evaluation item from the --environment file. With "
        "'remove', dmix leaves these documents out. With 'report', dmix only lists them in the view "
        "'contamination'.",
        choices=("remove", "report"),
    )
    split_bytes: int = setting(
        64 << 20,
        help="Number of bytes of text per task. dmix splits a larger domain into several tasks.",
        most=MOST_BYTES,
    )
    shard_bytes: int = setting(32 << 20, help="Maximum size of a shard file in bytes.", most=MOST_BYTES)

    def __post_init__(self) -> None:
        check_range(self, "seq_len", least=2, flags=True)
        check_range(self, "seed", least=0, flags=True)
        check_range(self, "split_bytes", "shard_bytes", least=1, flags=True)
