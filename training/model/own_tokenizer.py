"""The tokenizer that comes with a model, and whether it is the dataset's.

Ids mean texts only under the tokenizer that made them: a checkpoint trained on another tokenizer's ids
learns nothing and forgets all, without an error. Files may differ where ids do not, since transformers
writes `tokenizer.json` anew, so both tokenizers encode the same texts, and their special ids are compared.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.mixing.trajectories.encoding import load_tokenizer_file
from dmix.warehouse_schema.errors import InputError, first_line
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.files.weights import check_model_files, model_origin
from dmix.warehouse_schema.hub import asking_hub
from dmix.warehouse_schema.text_files import read_json_object

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

# A folder with one of these has a tokenizer; without any, the model takes the dataset's.
_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)

_PROBE = (
    "The quick brown fox jumps over the lazy dog. She said: \"It's 3.14159, isn't it?\"",
    " leading space, two  spaces,\ttab\nnew line\r\n\n  and 1234567890 trailing ",
    "def f(x):\n    return {'a': [x ** 2 for _ in range(10)], \"b\": x != 0}  # comment\n",
    "Straße, naïve façade, Ångström, Dvořák, İstanbul; ﬁne ½ ² Ⅻ",
    "Съешь же ещё этих мягких французских булок · Ξεσκεπάζω την ψυχοφθόρα",
    "天地玄黃,宇宙洪荒。いろはにほへと 다람쥐 헌 쳇바퀴에",
    "صِف خَلقَ خَودِ · नमस्ते दुनिया · สวัสดีชาวโลก · שלום עולם",
    "🙂👩‍👩‍👧 ∑∫√ → ∀x∈ℝ: ⌈x⌉ \u200b\u00a0\ufeff",
)


# Tokens of the vocabulary whose texts are compared, which takes a second or two.
_MOST_TOKENS, _MOST_TOKENS_OF_SLOW = 50_000, 2_000

# Classes of transformers that encode as `tokenizer.json` says, unless `add_prefix_space` disagrees.
_PLAIN_CLASSES = {
    "PreTrainedTokenizer",
    "GPT2Tokenizer",
    "GPTNeoXTokenizer",
    "LlamaTokenizer",
    "Qwen2Tokenizer",
}
# What decides the ids of raw text.
_DECIDING = ("model", "normalizer", "pre_tokenizer", "added_tokens")


def check_tokenizer(
    model: str, manifest: DatasetManifest, *, tokenizer_file: Path, allow_other: bool = False
) -> None:
    """Refuses a checkpoint as `fitting_tokenizer` does, without transformers where the files agree.

    Raises:
        InputError: If the two tokenizers differ and `allow_other` is False.
    """
    if _files_agree(Path(model), tokenizer_file):
        return
    difference = "" if allow_other else _vocabularies_differ(Path(model), tokenizer_file)
    if difference:
        raise _another_tokenizer(model, manifest, difference)
    fitting_tokenizer(model, manifest, tokenizer_file=tokenizer_file, allow_other=allow_other)


def _files_agree(folder: Path, dataset_file: Path) -> bool:
    """Whether a model plainly has the dataset's tokenizer; False where that is not sure."""
    try:
        own, dataset, settings = (
            read_json_object(path)
            for path in (folder / "tokenizer.json", dataset_file, folder / "tokenizer_config.json")
        )
        ids = {token["content"]: token["id"] for token in own["added_tokens"]}
        named = {entry["content"]: int(i) for i, entry in settings.get("added_tokens_decoder", {}).items()}
        kind = str(settings.get("tokenizer_class")).removesuffix("Fast")
        alike = all(own[part] == dataset[part] for part in _DECIDING)
        space = settings.get("add_prefix_space")
        prefixed = kind != "LlamaTokenizer" and _prefix_spaces(own["pre_tokenizer"]) == {space}
        spaced = space is None or prefixed
    except (InputError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return alike and kind in _PLAIN_CLASSES and spaced and named.items() <= ids.items()


def _vocabularies_differ(folder: Path, dataset_file: Path) -> str:
    """A token that has another id in the files of a model, in words; empty where that is not sure."""
    try:
        kind = str(read_json_object(folder / "tokenizer_config.json").get("tokenizer_class"))
        own, dataset = (
            read_json_object(path)["model"]["vocab"] for path in (folder / "tokenizer.json", dataset_file)
        )
        sure = kind.removesuffix("Fast") in _PLAIN_CLASSES
        return _other_id(own, dataset) if sure else ""
    except (InputError, KeyError, TypeError, AttributeError):
        return ""


def _other_id(own: Mapping[str, int], dataset: Mapping[str, int]) -> str:
    """The first token of a dataset that has another id in the model, in words; empty if none has."""
    for token, index in sorted(dataset.items(), key=lambda item: item[1]):
        if own.get(token, index) != index:
            return f"the token {token!r} has id {index} in the data, and {own[token]} in the model"
    return ""


def _prefix_spaces(part: Any) -> set[bool]:
    """All values of `add_prefix_space` within a part of a `tokenizer.json`."""
    if isinstance(part, list):
        return {value for one in part for value in _prefix_spaces(one)}
    if not isinstance(part, dict):
        return set()
    own = {part["add_prefix_space"]} if "add_prefix_space" in part else set()
    return own | _prefix_spaces(part.get("pretokenizers"))


def fitting_tokenizer(
    model: str, manifest: DatasetManifest, *, tokenizer_file: Path | None, allow_other: bool = False
) -> "PreTrainedTokenizerBase | None":
    """The tokenizer that comes with a checkpoint, which is the dataset's; None if none does.

    Args:
        model: Checkpoint folder or hub id.
        manifest: The dataset.
        tokenizer_file: Its `tokenizer.json`; None compares what models of ours remember alone.
        allow_other: Return None where the two differ.

    Raises:
        InputError: If they differ.
    """
    if tokenizer_file is None:
        if not allow_other:
            _check_origin(Path(model), manifest)
        return None
    own = own_tokenizer(model)
    if own is None:
        if not allow_other:
            _check_origin(Path(model), manifest)
        return None
    try:
        check_own_tokenizer(model, own, tokenizer_file, manifest)
    except InputError:
        if not allow_other:
            raise
        return None
    return own


def own_tokenizer(model: str) -> "PreTrainedTokenizerBase | None":
    """The tokenizer of a checkpoint folder or hub id; None if it has none.

    Raises:
        InputError: If there is one, and it cannot be loaded.
    """
    folder = Path(model)
    if folder.is_dir() and not any((folder / name).is_file() for name in _FILES):
        return None
    check_model_files(folder)
    from transformers import AutoTokenizer  # seconds

    try:
        with asking_hub(model) as where:
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                model, trust_remote_code=False, **where
            )
    except Exception as error:  # transformers and tokenizers raise many kinds
        if not folder.is_dir() and isinstance(error, OSError):
            return None  # a hub repository of weights alone
        raise InputError(
            f"dmix cannot load the tokenizer of model {model} ({first_line(error)}); restore its "
            "files, or remove them if the model has the dataset's tokenizer"
        ) from error
    return tokenizer


def check_own_tokenizer(
    model: str, own: "PreTrainedTokenizerBase", dataset_file: Path, manifest: DatasetManifest
) -> None:
    """Refuses a model whose tokenizer gives other ids than the dataset's.

    Special tokens that the dataset's tokenizer does not know are fine: no sample holds them.

    Args:
        model: What the user called it.
        own: From `own_tokenizer`.
        dataset_file: `tokenizer.json` of the dataset.
        manifest: The dataset.

    Raises:
        InputError: If they differ; the message shows where.
    """
    difference = _difference(own, load_tokenizer_file(dataset_file, manifest.tokenizer), manifest)
    if difference:
        raise _another_tokenizer(model, manifest, difference)


def _another_tokenizer(model: str, manifest: DatasetManifest, difference: str) -> InputError:
    return InputError(
        f"model {model} has another tokenizer than dataset {manifest.dataset} "
        f"({manifest.tokenizer.name}): {difference}. To make a dataset for this model: dmix etl shard "
        f"--tokenizer {shlex.quote(model)}. To train anyway, although the ids have other meanings for the "
        "model, add --allow-other-tokenizer"
    )


def _check_origin(folder: Path, manifest: DatasetManifest) -> None:
    """Refuses a model of ours under another tokenizer, whose ids would mean other texts to it."""
    origin = model_origin(folder)
    if origin is not None and origin.tokenizer_sha256 != manifest.tokenizer.sha256:
        raise InputError(
            f"the model in {folder} was trained on dataset {origin.dataset}, which has another tokenizer "
            f"than dataset {manifest.dataset}; train a base model on dataset {manifest.dataset}, or use "
            f"dataset {origin.dataset}"
        )


def _difference(own: "PreTrainedTokenizerBase", dataset: "Tokenizer", manifest: DatasetManifest) -> str:
    """The first difference in words; empty if there is none."""
    end = manifest.tokenizer.eot_id
    end_token = dataset.id_to_token(end)
    if end_token is None or own.convert_tokens_to_ids(end_token) != end:
        return f"end of text is {end_token!r} with id {end} in the data, and {_named(own, end)} in the model"
    for token, index in _special_ids(own).items():
        known = dataset.token_to_id(token)
        if known is not None and known != index:
            return f"{token!r} has id {known} in the data and {index} in the model"
    other_id = _other_id(own.get_vocab(), dataset.get_vocab())
    if other_id:
        return other_id
    encoded_by_own = _encoder(own)
    for text in (*_PROBE, *_texts_of_tokens(own, dataset)):
        ours = dataset.encode(text, add_special_tokens=False).ids
        theirs = encoded_by_own(text)
        if ours != theirs:
            place = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0)
            return (
                f"for {text[:24]!r}, the token ids from position {place} are {ours[place : place + 4]} in the"
                f" data, and {theirs[place : place + 4]} in the model"
            )
    return ""


def _encoder(own: "PreTrainedTokenizerBase") -> Callable[[str], list[int]]:
    """Encodes a text with nothing added, on this thread: what runs beside it would trouble forked loaders."""
    if not own.is_fast:
        return lambda text: list(own.encode(text, add_special_tokens=False))
    from tokenizers import Tokenizer

    fast = Tokenizer.from_str(own.backend_tokenizer.to_str())  # type: ignore[attr-defined]
    fast.no_truncation()
    fast.no_padding()
    return lambda text: fast.encode(text, add_special_tokens=False).ids


def _texts_of_tokens(own: "PreTrainedTokenizerBase", dataset: "Tokenizer") -> Iterator[str]:
    """What tokens stand for, evenly over the vocabulary: a merge that differs shows at its own token.

    Special tokens are left out, since the model's tokenizer finds them in text.
    """
    special = _special_ids(own)
    # an added token that is an ordinary word; markers such as <think> come in no training text
    added = (str(token) for token in own.added_tokens_decoder.values() if not token.special)
    yield from (text for text in added if not set(text) & set("<[{|"))
    size = dataset.get_vocab_size()
    for index in range(0, size, -(-size // (_MOST_TOKENS if own.is_fast else _MOST_TOKENS_OF_SLOW))):
        text = dataset.decode([index], skip_special_tokens=False)
        if text and not any(token in text for token in special):
            yield text


def _named(tokenizer: "PreTrainedTokenizerBase", index: int) -> str:
    token = tokenizer.convert_ids_to_tokens(index) if index < len(tokenizer) else None
    return f"that id is {token!r}" if token is not None else "there is no such id"


def _special_ids(tokenizer: Any) -> dict[str, int]:
    return {str(token): index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
