"""Where language models come from and go to: checkpoints, hub ids, random weights of a described
architecture."""

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from dmix.training.model.language_model import LanguageModel
from dmix.training.model.settings import ModelSettings
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import publish_json, read_json
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.settings import load_settings

logger = logging.getLogger(__name__)

# Which dataset a model of ours was trained on, beside its weights.
ORIGIN_FILE = "dmix.json"

_CONFIGS: dict[str, type[PretrainedConfig]] = {"llama": LlamaConfig, "gpt_neox": GPTNeoXConfig}
# Regularisation that small models of one epoch do not want; a user's own value wins.
_NO_DROPOUT = {
    "llama": {"attention_dropout": 0.0},
    "gpt_neox": {"attention_dropout": 0.0, "hidden_dropout": 0.0},
}


def load_model(
    model: str | ModelSettings,
    manifest: DatasetManifest,
    *,
    reset_at_documents: bool = False,
    sharded: bool = False,
) -> LanguageModel:
    """A model that can train on a dataset.

    Args:
        model: Path of a model file or checkpoint folder, a hub id, or settings.
        manifest: The dataset; its tokenizer and sample length must fit the model.
        reset_at_documents: Keep the documents of a training sample apart.
        sharded: The weights will be spread over the ranks.

    Raises:
        NotFoundError: If there is no such checkpoint.
        InputError: If the model file is wrong, the vocabulary or length is too small, or the
            model cannot keep documents apart.
    """
    if isinstance(model, str) and Path(model).suffix in (".yaml", ".yml"):
        model = load_settings(ModelSettings, model)
    if isinstance(model, str):
        network = load_network(model)
        _check_tokenizer(Path(model) / ORIGIN_FILE, manifest)
    else:
        network = _from_scratch(model, manifest)
    _check_fit(network.config, manifest)
    reset_at = manifest.tokenizer.eot_id if reset_at_documents else None
    return LanguageModel(network, reset_at=reset_at, sharded=sharded)


def save_model(
    model: LanguageModel,
    folder: Path,
    *,
    streams: Path,
    manifest: DatasetManifest,
    weights: dict[str, Any] | None = None,
) -> None:
    """Writes weights, configuration and tokenizer in the form that transformers loads.

    Args:
        model: What was trained.
        folder: Where to; made if need be.
        streams: Folder of the dataset, for its tokenizer.
        manifest: The dataset, which the model remembers.
        weights: Whole weights of a model that is sharded; None takes the model's own.
    """
    with _quiet_transformers():
        model.network.save_pretrained(folder, state_dict=weights)
    dataset_tokenizer(streams, manifest).save_pretrained(folder)
    origin = {"dataset": manifest.dataset, "tokenizer_sha256": manifest.tokenizer.sha256}
    publish_json(folder / ORIGIN_FILE, origin)


def dataset_tokenizer(streams: Path, manifest: DatasetManifest) -> PreTrainedTokenizerFast:
    """The tokenizer of a dataset as transformers knows it; end of text begins and ends a text."""
    fast = PreTrainedTokenizerFast(tokenizer_file=str(streams / "tokenizer.json"))
    end_of_text = fast.convert_ids_to_tokens(manifest.tokenizer.eot_id)
    fast.add_special_tokens({"bos_token": end_of_text, "eos_token": end_of_text})
    return fast


def _from_scratch(settings: ModelSettings, manifest: DatasetManifest) -> PreTrainedModel:
    if settings.tokenizer is not None and settings.tokenizer != manifest.tokenizer.name:
        raise InputError(
            f"the model file wants tokenizer {settings.tokenizer!r}, the dataset has"
            f" {manifest.tokenizer.name!r}; shard the dataset with --tokenizer {settings.tokenizer}"
        )
    config_class = _CONFIGS[settings.architecture]
    known = config_class().to_dict()
    for name in settings.config:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise InputError(
                f"config field {name!r} of the model file is not one of {config_class.__name__}; "
                + (f"did you mean {near[0]!r}?" if near else "see its page in the transformers documentation")
            )
    eot = manifest.tokenizer.eot_id
    values = {
        "vocab_size": manifest.tokenizer.vocab_size,
        "max_position_embeddings": max(manifest.seq_len, known["max_position_embeddings"]),
        "bos_token_id": eot,
        "eos_token_id": eot,
        **_NO_DROPOUT[settings.architecture],
        **settings.config,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        try:
            network: PreTrainedModel = AutoModelForCausalLM.from_config(config_class(**values))
        except (RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"the model file's config makes no model ({said}); check its sizes: the hidden size is a"
                " multiple of the number of heads, and none is below 1"
            ) from error
    return network


def empty_model(model: str | ModelSettings, manifest: DatasetManifest) -> PreTrainedModel:
    """A model without memory for its weights: what can be told from its configuration.

    Raises:
        NotFoundError, InputError: As `load_model`.
    """
    if isinstance(model, str) and Path(model).suffix in (".yaml", ".yml"):
        model = load_settings(ModelSettings, model)
    with torch.device("meta"):
        if isinstance(model, ModelSettings):
            network = _from_scratch(model, manifest)
        else:
            try:
                network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
            except (OSError, ValueError) as error:
                raise _no_model(model, error) from None
    _check_fit(network.config, manifest)
    return network


def load_network(name: str) -> PreTrainedModel:
    """The transformers model of a checkpoint folder or hub id, in fp32.

    Raises:
        NotFoundError: If there is no such checkpoint.
    """
    try:
        with _quiet_transformers():
            network: PreTrainedModel = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise _no_model(name, error) from None
    return network


def _no_model(name: str, error: Exception) -> NotFoundError:
    first_line = str(error).strip().splitlines()[0]
    return NotFoundError(
        f"no model can be loaded from {name!r} ({first_line}); give a model file, a checkpoint folder or a"
        " hub id that this machine can reach"
    )


def _check_tokenizer(origin_file: Path, manifest: DatasetManifest) -> None:
    """Refuses a model of ours under another tokenizer, whose ids would mean other texts to it."""
    if not origin_file.is_file():
        return
    origin = read_json(origin_file)
    if origin["tokenizer_sha256"] != manifest.tokenizer.sha256:
        raise InputError(
            f"the model in {origin_file.parent} comes from dataset {origin['dataset']}, whose tokenizer is"
            f" not that of dataset {manifest.dataset}; train a base model on this dataset, or choose that one"
        )


def _check_fit(config: PretrainedConfig, manifest: DatasetManifest) -> None:
    if config.vocab_size < manifest.tokenizer.vocab_size:
        raise InputError(
            f"the model has a vocabulary of {config.vocab_size} ids, the dataset's tokenizer"
            f" {manifest.tokenizer.name!r} has {manifest.tokenizer.vocab_size}; shard the dataset with the"
            " model's own tokenizer, or raise vocab_size"
        )
    if config.max_position_embeddings < manifest.seq_len:
        raise InputError(
            f"the model has positions for {config.max_position_embeddings} tokens, a sample has"
            f" {manifest.seq_len}; shard the dataset with a smaller --seq-len, or raise"
            " max_position_embeddings"
        )


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keeps transformers' loading and saving bars off stderr, which belongs to progress lines."""
    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()
