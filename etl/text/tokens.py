"""Tokenizers: text to flat token ids, by the fastest engine that agrees with `tokenizers`.

A tokenizer is the text of a Hugging Face `tokenizer.json` and the name of its end-of-text token.
Three engines can run it: `gigatoken`, `fastokens` and `tokenizers` itself, which is the
reference; the first two are some fifty times as fast (`benchmarks/classifier.py`). An engine is
taken only if it returns the ids of the reference on a probe text, else the next one is tried with
a warning.

Raw text never yields a special id: the engines get a copy of the JSON without special tokens,
so that a literal `<|endoftext|>` in a document is encoded as the characters it consists of. The
exception are tokens that a user names as `written`, since a chat template has put them there.
No token is added before or after a text; the packer puts end-of-text between documents.

Every call runs on the calling thread: cores are shared out by Spark, a task each.
"""

import functools
import json
import logging
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from dmix.etl.text.token_engines import (
    KNOWN_IDS,
    choose_engine,
    encoder_json,
    special_tokens,
    unknown_token,
)
from dmix.warehouse_schema.errors import InputError, NotFoundError, first_line
from dmix.warehouse_schema.files.weights import check_model_files
from dmix.warehouse_schema.hub import asking_hub, not_found
from dmix.warehouse_schema.text_files import decoded, read_json_object

logger = logging.getLogger(__name__)

EMBEDDED = "embedded"
EMBEDDED_PATH = Path(__file__).parent.parent / "assets" / "tokenizer.json"
END_OF_TEXT_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[SEP]")
"""Tried in this order where no configuration file names the end-of-text token."""
_CONFIGURATIONS = ("tokenizer_config.json", "special_tokens_map.json")


class Tokenizer:
    """A tokenizer with its engine; made by `load_tokenizer` or `Tokenizer.from_json_bytes`.

    Attributes:
        name: What the user called it: `embedded`, a path or a hub id.
        json_bytes: The `tokenizer.json` it consists of, unchanged.
        sha256: Hexadecimal digest of `json_bytes`.
        vocab_size: One more than the largest id, special tokens included.
        eot_token: Text of the end-of-text token.
        eot_id: Its id.
        engine: `gigatoken`, `fastokens` or `tokenizers`.
        written: Special tokens that raw text yields where it holds their literal.
    """

    def __init__(
        self, name: str, json_bytes: bytes, *, eot_token: str | None = None, written: Iterable[str] = ()
    ) -> None:
        document = _parsed(json_bytes, name)
        if not json_bytes.startswith(b"{"):  # a mark, or UTF-16: other readers of the file take UTF-8 alone
            json_bytes = decoded(json_bytes, where=f"tokenizer {name!r}").encode()
        self.name = name
        self.json_bytes = json_bytes
        self.sha256 = sha256(json_bytes).hexdigest()
        known = KNOWN_IDS.get(self.sha256)
        vocabulary = _own_vocabulary(document) if known else self._full.get_vocab(with_added_tokens=True)
        self.vocab_size = 1 + max(vocabulary.values())
        self.eot_token = _end_of_text(name, vocabulary, eot_token)
        self.eot_id: int = vocabulary[self.eot_token]
        specials = special_tokens(document) | {self.eot_token}
        self.written = tuple(sorted(set(written)))
        _check_written(name, self.written, specials)
        specials.difference_update(self.written)
        self.engine, self._encode = choose_engine(
            name,
            encoder_json(document, specials),
            specials={vocabulary[s]: s for s in specials - {unknown_token(document)}},
            written=self.written,
            known=known if specials == special_tokens(document) else None,
        )

    @functools.cached_property
    def _full(self) -> Any:
        """The reference, with all special tokens."""
        return _reference_tokenizer(self.json_bytes.decode("utf-8"), self.name)

    @classmethod
    def from_json_bytes(
        cls, name: str, json_bytes: bytes, *, eot_token: str | None = None, written: Iterable[str] = ()
    ) -> "Tokenizer":
        """The tokenizer of a `tokenizer.json` held in memory.

        Args:
            name: What messages call it.
            json_bytes: UTF-8 text of the file.
            eot_token: The end-of-text token; None looks for a usual name.
            written: Special tokens that raw text yields where it holds their literal.

        Raises:
            InputError: If it is no tokenizer, has no end-of-text token, or not a token of `written`.
        """
        return cls(name, json_bytes, eot_token=eot_token, written=written)

    def writing(self, written: Iterable[str]) -> "Tokenizer":
        """This tokenizer, with text yielding these special tokens.

        Raises:
            InputError: If one is none of its special tokens.
        """
        wanted = tuple(sorted(set(written)))
        if wanted == self.written:
            return self
        return Tokenizer(self.name, self.json_bytes, eot_token=self.eot_token, written=wanted)

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts one after the other, and the number of ids of each.

        Returns:
            ids: uint32, shape (sum of lengths,).
            lengths: int64, shape (len(texts),).

        Raises:
            InputError: If a text has a lone surrogate, which UTF-8 cannot express.
        """
        texts = list(texts)
        try:
            return self._encode(texts)
        except (TypeError, UnicodeEncodeError):
            for index, text in enumerate(texts):
                _require_utf8(text, index)
            raise

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of `ids`; special tokens come out as their literals."""
        return self._full.decode([int(i) for i in ids], skip_special_tokens=False)

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json` and a `tokenizer_config.json` that names the end-of-text token."""
        (folder / "tokenizer.json").write_bytes(self.json_bytes)
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": self.eot_token}
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def __reduce__(self) -> tuple:
        return _rebuild, (self.name, self.json_bytes, self.eot_token, self.written)

    def __repr__(self) -> str:
        return f"Tokenizer({self.name!r}, vocab_size={self.vocab_size}, engine={self.engine!r})"


def _rebuild(name: str, json_bytes: bytes, eot_token: str, written: tuple[str, ...] = ()) -> Tokenizer:
    return Tokenizer(name, json_bytes, eot_token=eot_token, written=written)


def _check_written(name: str, written: Sequence[str], specials: set[str]) -> None:
    unknown = next((token for token in written if token not in specials), None)
    if unknown is not None:
        listed = ", ".join(sorted(specials)[:20])
        raise InputError(
            f"tokenizer {name!r} has no special token {unknown!r} (its special tokens: {listed}); "
            "correct --special-token, or use the tokenizer of the checkpoint whose chat template wrote "
            "the text"
        )


@functools.lru_cache(maxsize=4)
def kept_tokenizer(
    name: str, json_bytes: bytes, eot_token: str | None, written: tuple[str, ...] = ()
) -> Tokenizer:
    """As `Tokenizer.from_json_bytes`, made once per process: classifying and sharding often need the same."""
    return Tokenizer(name, json_bytes, eot_token=eot_token, written=written)


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer that `name` names.

    Args:
        name: `embedded`, the path of a `tokenizer.json`, a Hugging Face folder, or a hub id.

    Raises:
        NotFoundError: If there is no such file or folder and the hub cannot give it.
        InputError: If it cannot be read, has no fast form or no end-of-text token.
    """
    if name == EMBEDDED:
        return kept_tokenizer(name, EMBEDDED_PATH.read_bytes(), END_OF_TEXT_NAMES[0])
    path = Path(name)
    check_model_files(path)
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.is_file():
        found = Tokenizer(name, file.read_bytes(), eot_token=_configured_end_of_text(file.parent))
        _warn_of_other_end(found, file.parent / "config.json")
        return found
    if not path.is_dir() and not _looks_like_hub_id(name):
        raise NotFoundError(
            f"tokenizer {name!r} does not exist; give 'embedded', the path of a tokenizer.json,"
            " a Hugging Face folder or a hub id (owner/name)"
        )
    return _from_transformers(name)


def _parsed(json_bytes: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(decoded(json_bytes, where=f"tokenizer {name!r}"))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"tokenizer {name!r} is not JSON ({error}); give a tokenizer.json") from None
    if not isinstance(document, dict) or "model" not in document:
        raise InputError(
            f"tokenizer {name!r} has no 'model' entry; give the tokenizer.json of a fast tokenizer"
        )
    return document


def _own_vocabulary(document: dict[str, Any]) -> dict[str, int]:
    """Id of each token of a tokenizer that ships with dmix, as the reference has them."""
    added = {token["content"]: token["id"] for token in document["added_tokens"]}
    return {**document["model"]["vocab"], **added}


def _reference_tokenizer(text: str, name: str) -> Any:
    from tokenizers import Tokenizer as Reference

    try:
        return Reference.from_str(text)
    except Exception as error:  # the Rust side raises bare Exception
        raise InputError(
            f"the package tokenizers cannot load tokenizer {name!r} ({error}); give the tokenizer.json "
            "of a fast tokenizer"
        ) from None


def _end_of_text(name: str, vocabulary: dict[str, int], wanted: str | None) -> str:
    if wanted is not None and wanted in vocabulary:
        return wanted
    if wanted is not None:
        raise InputError(
            f"the end-of-text token {wanted!r} of tokenizer {name!r} is not in its vocabulary; correct "
            "eos_token in tokenizer_config.json or special_tokens_map.json"
        )
    for token in END_OF_TEXT_NAMES:
        if token in vocabulary:
            return token
    raise InputError(
        f"tokenizer {name!r} has no end-of-text token: no eos_token in {' or '.join(_CONFIGURATIONS)}, "
        f"and none of {', '.join(END_OF_TEXT_NAMES)}; add eos_token to a tokenizer_config.json beside it"
    )


def _configured_end_of_text(folder: Path) -> str | None:
    """The `eos_token` that the configuration files in `folder` name, if there are any.

    `tokenizer_config.json` wins over `special_tokens_map.json`, where older tokenizers keep it; so
    does transformers.
    """
    for name in _CONFIGURATIONS:
        path = folder / name
        if not path.is_file():
            continue
        token = read_json_object(path).get("eos_token")
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            return token
        if token is not None:
            raise InputError(f"{path}: eos_token is {token!r}, expected text; correct or remove it")
    return None


def _warn_of_other_end(tokenizer: Tokenizer, model_config: Path) -> None:
    """Says so if documents would be separated by the token that begins the model's texts.

    Converted tokenizers may name BOS as their EOS; in a chat model that token begins a turn.
    """
    config = read_json_object(model_config) if model_config.is_file() else {}
    ends = config.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [ends]
    if (
        config.get("bos_token_id") != tokenizer.eot_id
        or tokenizer.eot_id in ends
        or not isinstance(ends[0], int)
    ):
        return
    logger.warning(
        "tokenizer %s ends texts with %r, but config.json starts texts with this token and ends them "
        "with %r. dmix uses the first one; to change this, correct eos_token in tokenizer_config.json",
        tokenizer.name,
        tokenizer.eot_token,
        tokenizer.decode(ends[:1]),
    )


def _looks_like_hub_id(name: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name) is not None and not name.endswith(".json")


def _from_transformers(name: str) -> Tokenizer:
    """A hub id, or a folder without a `tokenizer.json` that transformers can convert."""
    check_model_files(Path(name))
    from transformers import AutoTokenizer

    try:
        with asking_hub(name) as where:
            tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True, trust_remote_code=False, **where)
    except Exception as error:  # hub, network, conversion: dozens of unrelated types
        if not Path(name).is_dir():
            raise NotFoundError(
                f"{not_found(name, error)}; give --tokenizer the folder of your checkpoint, a "
                f"tokenizer.json, a hub id or {EMBEDDED!r}"
            ) from None
        raise NotFoundError(
            f"folder {name} has no tokenizer that transformers can load ({first_line(error)}); put the "
            "model's tokenizer.json into it, or give another folder with --tokenizer"
        ) from None
    if not tokenizer.is_fast:
        raise InputError(f"tokenizer {name!r} has no fast form; give one with a tokenizer.json")
    text = tokenizer.backend_tokenizer.to_str()
    return Tokenizer(name, text.encode("utf-8"), eot_token=tokenizer.eos_token)


def _require_utf8(text: str, index: int) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"text {index} has half a surrogate pair at character {error.start}, and UTF-8 cannot encode "
            "it; replace this character"
        ) from None
