"""Evaluation items as token ids: what a model reads, and which of its tokens are scored.

The model reads [end of text] + prompt + answer. Where that is too long, the prompt loses its
beginning; an answer that is too long by itself loses its end. Needs no torch, since effects are
counted without a model.
"""

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import BPE

from dmix.mixing.trajectories.objectives import Item
from dmix.warehouse_schema.errors import VerificationError
from dmix.warehouse_schema.files.manifests import TokenizerFile
from dmix.warehouse_schema.files.weights import file_digest, readable


@dataclass(frozen=True)
class EncodedItem:
    """One item as ids.

    Attributes:
        ids: [end of text] + prompt + answer.
        answer_start: Position of the answer's first token, at least 1.
        cut: True if the answer itself lost tokens.
    """

    ids: tuple[int, ...]
    answer_start: int
    cut: bool

    @property
    def answer_tokens(self) -> int:
        """Tokens that are scored."""
        return len(self.ids) - self.answer_start


def encode_item(item: Item, *, tokenizer: Tokenizer, eot_id: int, max_length: int) -> EncodedItem:
    """An item as ids, at most `max_length` of them.

    Prompt and answer are encoded apart, so that the answer's tokens do not depend on the cut.
    """
    prompt = tokenizer.encode(item.prompt, add_special_tokens=False).ids
    answer = tokenizer.encode(item.answer, add_special_tokens=False).ids
    kept = answer[: max_length - 1]
    room = max_length - 1 - len(kept)
    prompt = prompt[len(prompt) - room :] if len(prompt) > room else prompt
    return EncodedItem((eot_id, *prompt, *kept), 1 + len(prompt), len(kept) < len(answer))


def check_tokenizer_file(path: Path, stated: TokenizerFile) -> None:
    """Returns if a tokenizer is the one of its dataset: ids mean other text under another one.

    Raises:
        InputError: If the file is missing.
        VerificationError: If it is another one.
    """
    fix = "restore the file, or run 'dmix etl shard' again"
    with readable(path, what="a tokenizer", fix=fix):
        found = file_digest(path)
    if found != stated.sha256:
        raise VerificationError(
            f"{path} is not the tokenizer of its dataset (SHA-256 {found[:16]}…, but the manifest says "
            f"{stated.sha256[:16]}…); {fix}"
        )


def load_tokenizer_file(path: Path, stated: TokenizerFile | None = None) -> Tokenizer:
    """The tokenizer of a dataset, set so that names of special tokens in text stay text.

    Args:
        path: Its file.
        stated: What the manifest of the dataset says of it; None for a tokenizer of no dataset.

    Raises:
        InputError: If the file is missing or damaged.
        VerificationError: If the manifest states another one.
    """
    if stated is not None:
        check_tokenizer_file(path, stated)
    with readable(path, what="a tokenizer", fix="restore the file, or run 'dmix etl shard' again"):
        tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    # some files ask for a fixed length, and an item has to be scored whole
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if isinstance(tokenizer.model, BPE):
        tokenizer.model.dropout = None
    return tokenizer
