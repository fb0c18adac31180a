"""A causal language model as a source of text: what is known of it, and its weights.

Configuration and tokenizer come first: whether there is a token to start from, and whether the two
belong together. Only then are weights fetched and loaded.
"""

import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.etl.synthetic.generation_settings import MOST_TOKENS, GenerationSettings
from dmix.warehouse_schema.errors import InputError, MissingDependencyError, NotFoundError, first_line
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.names import from_home
from dmix.warehouse_schema.files.weights import (
    check_attention,
    check_depth,
    check_model_files,
    damaged_weights,
    file_digest,
)
from dmix.warehouse_schema.gpus import has_gpu
from dmix.warehouse_schema.hub import asking_hub, not_found
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

logger = logging.getLogger(__name__)

LEAST_VOCABULARY_SHARE = 0.95
"""A tokenizer names at least this share of the model's ids; what models pad their vocabulary by is
below 3% in all families that were looked at."""

_WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.txt")
_OLD_WEIGHT_FILES = ("*.bin", "*.bin.index.json")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


@dataclass(frozen=True, kw_only=True)
class SourceModel:
    """What is known of a model before its weights are there.

    Attributes:
        name: What the user called it.
        folder: Where its files lie; a hub id as long as nothing but the configuration is needed.
        config: Its transformers configuration.
        tokenizer: Its transformers tokenizer.
        start_id: Id of the token that documents start from.
        end_id: Id of the token that ends a document.
        max_tokens: Length cap of a document in tokens, the end not counted.
    """

    name: str
    folder: str
    config: "PretrainedConfig"
    tokenizer: Any
    start_id: int
    end_id: int
    max_tokens: int


def check_there(name: str) -> None:
    """Raises `NotFoundError` if a model that is named by a path is not there; a hub is not asked."""
    path = from_home(name)
    if (path.is_absolute() or name.startswith(".")) and not path.is_dir():
        raise NotFoundError(f"model {name} is not a folder; give the folder of a checkpoint, or a hub id")


def source_model(name: str, settings: GenerationSettings) -> SourceModel:
    """The model that `name` names, without its weights.

    Args:
        name: Folder of a checkpoint, or a hub id.
        settings: How it shall write.

    Raises:
        NotFoundError: If there is no such model.
        InputError: If it has no start token, its tokenizer belongs to another model, or it has
            positions for fewer than `settings.max_tokens`.
    """
    config, tokenizer = _config_and_tokenizer(name)
    _check_vocabulary(name, config, tokenizer)
    start_id = _start_id(name, config, tokenizer, settings.start_token)
    if settings.start_token is None:
        _warn_of_chat(name, tokenizer, start_id)
    end_id = _end_id(name, config, tokenizer, start_id)
    return SourceModel(
        name=name,
        folder=str(from_home(name).absolute()) if from_home(name).is_dir() else name,
        config=config,
        tokenizer=tokenizer,
        start_id=start_id,
        end_id=end_id,
        max_tokens=_length_cap(name, config, settings.max_tokens),
    )


def check_engine(settings: GenerationSettings) -> None:
    """Refuses an engine that is not installed, before Spark starts.

    Raises:
        MissingDependencyError: If it is not.
    """
    if settings.engine == "vllm" and importlib.util.find_spec("vllm") is None:
        raise MissingDependencyError(
            "--engine vllm needs the package vllm on this machine and on the workers; run 'pip"
            " install vllm' on a machine with a GPU, or use --engine transformers"
        )


def is_half(settings: GenerationSettings) -> bool:
    """Whether weights are bf16, of two bytes each, and not fp32."""
    return has_gpu() if settings.precision == "auto" else settings.precision == "bf16"


def precision_name(settings: GenerationSettings) -> str:
    """The type of the weights as torch writes it."""
    return "torch.bfloat16" if is_half(settings) else "torch.float32"


def precision_of(settings: GenerationSettings) -> "torch.dtype":
    """The type of the weights."""
    import torch

    return torch.bfloat16 if is_half(settings) else torch.float32


def fetched(model: SourceModel) -> Path:
    """The folder with all files of the model, downloaded to the hub's cache if need be.

    Raises:
        NotFoundError: If the hub cannot give them.
    """
    if Path(model.folder).is_dir():
        return Path(model.folder)
    from huggingface_hub import snapshot_download

    try:
        with asking_hub(model.folder) as where:
            folder = Path(snapshot_download(model.folder, allow_patterns=list(_WEIGHT_FILES), **where))
            if not list(folder.glob("*.safetensors")):
                files = [*_WEIGHT_FILES, *_OLD_WEIGHT_FILES]
                folder = Path(snapshot_download(model.folder, allow_patterns=files, **where))
    except Exception as error:  # the hub's client raises many kinds, without a common base
        raise NotFoundError(
            f"dmix cannot download the weights of {model.name!r} ({first_line(error)}); run 'hf "
            f"download {model.name!r} --local-dir DIR' on a machine with a network, and give the folder"
        ) from error
    return folder


def model_digest(folder: Path) -> str:
    """Hash of everything in a checkpoint's folder that text depends on."""
    names = {p.name for pattern in (*_WEIGHT_FILES, *_OLD_WEIGHT_FILES) for p in folder.glob(pattern)}
    return digest_of({name: file_digest(folder / name) for name in sorted(names)})


def load_network(folder: Path, settings: GenerationSettings, *, device: str) -> "PreTrainedModel":
    """The network of a checkpoint, ready to write.

    Raises:
        InputError: If the weights cannot be read.
    """
    from transformers import AutoModelForCausalLM

    try:
        with quiet_libraries():
            network: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=precision_of(settings), trust_remote_code=False
            )
    except Exception as error:  # safetensors, pickle, shapes: unrelated types
        said = damaged_weights(folder) or f"dmix cannot load the weights in {folder} ({first_line(error)})"
        raise InputError(f"{said}; download the model again") from error
    return network.to(device).eval()  # type: ignore[arg-type]


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps bars and remarks of transformers off stderr, which shows dmix's progress."""
    from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    level = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _config_and_tokenizer(name: str) -> tuple["PretrainedConfig", Any]:
    from transformers import AutoConfig, AutoTokenizer

    folder = from_home(name)
    if not folder.is_dir() and (name.count("/") != 1 or name.startswith((".", "~", "/"))):
        raise NotFoundError(
            f"model {name!r} does not exist; give the folder of a checkpoint or a hub id (owner/name)"
        )
    location = str(folder) if folder.is_dir() else name
    check_model_files(folder)
    parts = []
    for what, kind in (("configuration", AutoConfig), ("tokenizer", AutoTokenizer)):
        try:
            with quiet_libraries(), asking_hub(location) as where:
                parts.append(kind.from_pretrained(location, trust_remote_code=False, **where))
        except Exception as error:  # hub, network, conversion: dozens of unrelated types
            if not folder.is_dir():
                raise NotFoundError(
                    f"{not_found(name, error)}; give the folder or hub id of a causal language model "
                    "with its tokenizer"
                ) from error
            raise NotFoundError(
                f"model {name!r} has no {what} ({first_line(error)}); give a folder or hub id with"
                " a causal language model and its tokenizer"
            ) from error
    check_attention({"attn_implementation": getattr(parts[0], "_attn_implementation", None)}, where=name)
    check_depth(parts[0].to_dict(), where=name)
    return parts[0], parts[1]


def _check_vocabulary(name: str, config: "PretrainedConfig", tokenizer: Any) -> None:
    ids = 1 + max(tokenizer.get_vocab().values())
    if ids > config.vocab_size or ids < LEAST_VOCABULARY_SHARE * config.vocab_size:
        raise InputError(
            f"model {name!r} has a vocabulary of {config.vocab_size:,} ids, but its tokenizer has "
            f"{ids:,}; put the model's own tokenizer files into its folder"
        )


def _start_id(name: str, config: "PretrainedConfig", tokenizer: Any, wanted: str | None) -> int:
    if wanted is not None:
        found = tokenizer.get_vocab().get(wanted)
        if found is None:
            raise InputError(
                f"start token {wanted!r} is not in the vocabulary of {name!r}; choose another one"
                " with --start-token"
            )
        return int(found)
    told = [int(i) for i in (tokenizer.bos_token_id, tokenizer.eos_token_id) if i is not None]
    if not told:
        raise InputError(
            f"model {name!r} has no start token: its tokenizer has neither a BOS nor an EOS token; give "
            "one with --start-token, or add one to its tokenizer_config.json"
        )
    stated = _stated_ids(config)
    same_start = tokenizer.bos_token_id is not None and config.bos_token_id == tokenizer.bos_token_id
    if stated and not stated & set(told) and not same_start:
        raise InputError(
            f"model {name!r} names {sorted(stated)} as ids of BOS and EOS, but its tokenizer names "
            f"{sorted(set(told))}; put the model's own tokenizer files into its folder. If they are "
            "already the right files, give the start token with --start-token"
        )
    return told[0]


def _end_id(name: str, config: "PretrainedConfig", tokenizer: Any, start_id: int) -> int:
    """Id that ends a document: the tokenizer's EOS, else the token that documents start from.

    Converted tokenizers may name BOS as their EOS. A configuration that has the same BOS and another EOS
    knows better: the model would write on after its end.
    """
    told = tokenizer.eos_token_id
    stated: Any = getattr(config, "eos_token_id", None)
    ends: list[Any] = stated if isinstance(stated, list) else [stated]
    same_start = tokenizer.bos_token_id is not None and config.bos_token_id == tokenizer.bos_token_id == told
    if same_start and None not in ends and ends and told not in ends:
        logger.warning(
            "the tokenizer of %s ends texts with %r, its start token; dmix ends documents with %r, as "
            "config.json says",
            name,
            tokenizer.eos_token,
            tokenizer.convert_ids_to_tokens(ends[0]),
        )
        return int(ends[0])
    return start_id if told is None else int(told)


def _warn_of_chat(name: str, tokenizer: Any, start_id: int) -> None:
    """Says so if documents would start with the token that begins a turn of a chat."""
    token, template = tokenizer.convert_ids_to_tokens(start_id), getattr(tokenizer, "chat_template", None)
    templates = template.values() if isinstance(template, dict) else [template or ""]
    turn = re.compile(re.escape(token) + r"[^<]{0,20}(role|system|user|assistant)")
    if any(turn.search(text) for text in templates):
        others = [known for known in tokenizer.all_special_tokens if known != token]
        logger.warning(
            "model %s starts documents with %r, the start of a chat turn. It may write chat turns "
            "instead of documents; give another token with --start-token (known: %s)",
            name,
            token,
            ", ".join(others) or "none",
        )


def _stated_ids(config: "PretrainedConfig") -> set[int]:
    """Ids of BOS and EOS, of which there may be several; what the class fills in says nothing."""
    filled_in = None if config.has_no_defaults_at_init else type(config)()
    stated: set[int] = set()
    for name in ("bos_token_id", "eos_token_id"):
        ids = getattr(config, name, None)
        if ids is not None and ids != getattr(filled_in, name, None):
            stated.update(ids if isinstance(ids, list) else [ids])
    return stated


def _length_cap(name: str, config: "PretrainedConfig", wanted: int | None) -> int:
    known = [getattr(config, field, None) for field in _POSITIONS]
    # the start token takes a position, too
    room = next((int(n) - 1 for n in known if isinstance(n, int) and n > 1), None)
    if wanted is None:
        return min(MOST_TOKENS, room or MOST_TOKENS)
    if room is not None and wanted > room:
        raise InputError(
            f"max_tokens is {wanted}, but model {name!r} has room for only {num_text(room, 'token')} after "
            f"the first; use --max-tokens {room}"
        )
    return wanted
