"""A causal language model as a source of text: what it needs, checked before its weights are read.

Configuration and tokenizer come first: whether there is a token to start from, whether the two
belong together, and how much memory the model will take. Only then are weights fetched and loaded.
"""

import hashlib
import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.etl.synthetic.generation_settings import MOST_TOKENS, GenerationSettings
from dmix.warehouse_schema.errors import InputError, MissingDependencyError, NotFoundError
from dmix.warehouse_schema.manifests import digest_of

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


@dataclass(frozen=True, kw_only=True)
class MemoryNeed:
    """What a model takes while it writes one block, in bytes.

    Attributes:
        weights: Its parameters.
        cache: Keys and values of a block of documents of full length.
        scores: Scores and probabilities of all ids for every document of a block.
        read: Part of the weights that each pass over the model reads: all but a table of
            embeddings of which only rows are looked up.
    """

    weights: int
    cache: int
    scores: int
    read: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.scores


def check_there(name: str) -> None:
    """Raises `NotFoundError` if a model that is named by a path is not there; a hub is not asked."""
    path = Path(name).expanduser()
    if (path.is_absolute() or name.startswith(".")) and not path.is_dir():
        raise NotFoundError(f"model {name} is no folder; give the folder of a checkpoint, or a hub id")


def source_model(name: str, settings: GenerationSettings) -> SourceModel:
    """The model that `name` stands for, without its weights.

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
    start_id = _start_id(name, tokenizer, settings.start_token)
    end_id = start_id if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)
    return SourceModel(
        name=name,
        folder=str(Path(name).expanduser().absolute()) if Path(name).expanduser().is_dir() else name,
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
            "--engine vllm needs the package vllm, here and where workers run; 'pip install vllm' on a"
            " machine with a GPU, or use --engine transformers"
        )


def memory_need(model: SourceModel, settings: GenerationSettings) -> MemoryNeed:
    """What the model takes, from its configuration alone; nothing is loaded."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"), quiet_transformers():
        network = AutoModelForCausalLM.from_config(model.config)
    width = 2 if precision_of(settings) == torch.bfloat16 else 4
    parameters = sum(parameter.numel() for parameter in network.parameters())
    tied = bool(getattr(model.config, "tie_word_embeddings", False))
    looked_up = 0 if tied else network.get_input_embeddings().weight.numel()
    heads = getattr(model.config, "num_attention_heads", 1)
    kv_heads = getattr(model.config, "num_key_value_heads", None) or heads
    head_size = getattr(model.config, "head_dim", None) or model.config.hidden_size // heads
    a_token = 2 * model.config.num_hidden_layers * kv_heads * head_size * width
    # the cache grows by copying, so that two copies of one layer's part live at once
    cache = settings.block_documents * (model.max_tokens + 1) * a_token
    scores = settings.block_documents * model.config.vocab_size * (4 + 4 + 8)
    return MemoryNeed(
        weights=parameters * width, cache=cache, scores=scores, read=(parameters - looked_up) * width
    )


def check_memory(model: SourceModel, need: MemoryNeed, *, available: int, copies: int = 1) -> None:
    """Refuses a model that would not fit.

    Args:
        model: The model.
        need: What one copy takes.
        available: Free memory in bytes.
        copies: How many processes of this machine load the model.

    Raises:
        InputError: If it does not fit.
    """
    if need.total * copies <= available:
        return
    several = f" for each of {copies} processes" if copies > 1 else ""
    fewer = "a smaller --master (local[1,3]), " if copies > 1 else ""
    raise InputError(
        f"model {model.name!r} needs about {need.total / 1e9:,.2f} GB{several} (weights"
        f" {need.weights / 1e9:,.2f}, keys and values {need.cache / 1e9:,.2f}, scores"
        f" {need.scores / 1e9:,.2f}), {available / 1e9:,.2f} GB are free; choose {fewer}a smaller"
        " --block-documents or --max-tokens, --precision bf16, or a smaller model"
    )


def free_memory() -> int:
    """Bytes that a model may take: of this process's GPU, else of the machine or its container."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    import psutil

    available = int(psutil.virtual_memory().available)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    try:
        return min(available, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # no limit, or another kind of container
        return available


def precision_of(settings: GenerationSettings) -> "torch.dtype":
    """The type of the weights."""
    import torch

    if settings.precision == "auto":
        return torch.bfloat16 if torch.cuda.is_available() else torch.float32
    return torch.bfloat16 if settings.precision == "bf16" else torch.float32


def fetched(model: SourceModel) -> Path:
    """The folder with all files of the model, downloaded to the hub's cache if need be.

    Raises:
        NotFoundError: If the hub cannot give them.
    """
    if Path(model.folder).is_dir():
        return Path(model.folder)
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model.folder, allow_patterns=list(_WEIGHT_FILES)))
        if not list(folder.glob("*.safetensors")):
            folder = Path(
                snapshot_download(model.folder, allow_patterns=[*_WEIGHT_FILES, *_OLD_WEIGHT_FILES])
            )
    except Exception as error:  # the hub's client raises many kinds, without a common base
        raise NotFoundError(
            f"the weights of {model.name!r} cannot be fetched ({_first_line(error)}); download them where"
            f" there is a network ('hf download {model.name} --local-dir DIR') and give the folder"
        ) from error
    return folder


def model_digest(folder: Path) -> str:
    """Hash of everything in a checkpoint's folder that text depends on."""
    names = {p.name for pattern in (*_WEIGHT_FILES, *_OLD_WEIGHT_FILES) for p in folder.glob(pattern)}
    return digest_of({name: _file_digest(folder / name) for name in sorted(names)})


def load_network(folder: Path, settings: GenerationSettings, *, device: str) -> "PreTrainedModel":
    """The network of a checkpoint, ready to write.

    Raises:
        InputError: If the weights cannot be read.
    """
    from transformers import AutoModelForCausalLM

    try:
        with quiet_transformers():
            network: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=precision_of(settings)
            )
    except Exception as error:  # safetensors, pickle, shapes: unrelated types
        raise InputError(
            f"the weights in {folder} cannot be loaded ({_first_line(error)}); download the model again"
        ) from error
    return network.to(device).eval()  # type: ignore[arg-type]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keeps transformers' bars and remarks off stderr, which belongs to progress lines."""
    from transformers.utils import logging as transformers_logging

    bars, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
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

    folder = Path(name).expanduser()
    if not folder.is_dir() and (name.count("/") != 1 or name.startswith((".", "~", "/"))):
        raise NotFoundError(
            f"model {name!r} does not exist; give the folder of a checkpoint or a hub id (owner/name)"
        )
    location = str(folder) if folder.is_dir() else name
    parts = []
    for what, kind in (("configuration", AutoConfig), ("tokenizer", AutoTokenizer)):
        try:
            with quiet_transformers():
                parts.append(kind.from_pretrained(location))
        except Exception as error:  # hub, network, conversion: dozens of unrelated types
            raise NotFoundError(
                f"model {name!r} gives no {what} ({_first_line(error)}); give a folder or hub id with a"
                " causal language model and its tokenizer"
            ) from error
    return parts[0], parts[1]


def _check_vocabulary(name: str, config: "PretrainedConfig", tokenizer: Any) -> None:
    ids = 1 + max(tokenizer.get_vocab().values())
    if ids > config.vocab_size or ids < LEAST_VOCABULARY_SHARE * config.vocab_size:
        raise InputError(
            f"model {name!r} has a vocabulary of {config.vocab_size:,} ids, its tokenizer {ids:,}: they do"
            " not belong together; put the model's own tokenizer files into its folder"
        )


def _start_id(name: str, tokenizer: Any, wanted: str | None) -> int:
    if wanted is not None:
        found = tokenizer.get_vocab().get(wanted)
        if found is None:
            raise InputError(
                f"start token {wanted!r} is not in the vocabulary of {name!r}; name one that is with"
                " --start-token"
            )
        return int(found)
    for found in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if found is not None:
            return int(found)
    raise InputError(
        f"model {name!r} has no start token: its tokenizer names neither a BOS nor an EOS token; name one"
        " with --start-token, or in its tokenizer_config.json"
    )


def _length_cap(name: str, config: "PretrainedConfig", wanted: int | None) -> int:
    known = [getattr(config, field, None) for field in _POSITIONS]
    # the start token takes a position, too
    room = next((int(n) - 1 for n in known if isinstance(n, int) and n > 1), None)
    if wanted is None:
        return min(MOST_TOKENS, room or MOST_TOKENS)
    if room is not None and wanted > room:
        raise InputError(
            f"max_tokens is {wanted}, model {name!r} has positions for {room} tokens after the first;"
            f" use --max-tokens {room}"
        )
    return wanted


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
