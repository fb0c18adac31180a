"""Trained models on disk: whole or not at all, and what can go wrong is tried before the training.

A saved model lists the SHA-256 of its files in `dmix.json`.
"""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from dmix.mixing.trajectories.encoding import check_tokenizer_file
from dmix.training.model.language_model import LanguageModel
from dmix.training.model.lora import first_adapter_weight, has_adapters, save_adapters
from dmix.warehouse_schema.errors import InputError, StorageError, first_line
from dmix.warehouse_schema.files.layout import publish_json, storage_errors, write_errors
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.files.weights import ORIGIN_FILE, file_digest, readable

logger = logging.getLogger(__name__)

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


def save_model(
    model: LanguageModel,
    folder: Path,
    *,
    streams: Path,
    manifest: DatasetManifest,
    weights: dict[str, Any] | None = None,
    learning_rate: float | None = None,
) -> None:
    """Writes weights, configuration and tokenizer in the form that transformers loads.

    The tokenizer is the model's own with its chat template and settings, where it has the dataset's;
    else the dataset's.

    Args:
        model: What was trained.
        folder: Where to; made if need be.
        streams: Folder of the dataset, for its tokenizer.
        manifest: The dataset, which the model remembers.
        weights: Whole weights of a model that is sharded; None takes the model's own.
        learning_rate: Peak rate at which all of its weights were trained, which the model remembers.

    Raises:
        StorageError: If the disk is full or the folder cannot be written.
    """
    with quiet_transformers(), write_errors(folder):
        if has_adapters(model.network):
            save_adapters(model.network, folder, weights=weights)
        else:
            model.network.save_pretrained(folder, state_dict=weights)
        tokenizer = model.tokenizer or dataset_tokenizer(streams, manifest)
        tokenizer.save_pretrained(folder)
    origin = {
        "dataset": manifest.dataset,
        "tokenizer_sha256": manifest.tokenizer.sha256,
        "learning_rate": learning_rate,
    }
    files = {path.name: file_digest(path) for path in sorted(folder.glob("*.safetensors"))}
    publish_json(folder / ORIGIN_FILE, {**origin, "files": files})


def dataset_tokenizer(streams: Path, manifest: DatasetManifest) -> PreTrainedTokenizerFast:
    """The tokenizer of a dataset as transformers knows it; end of text begins and ends a text."""
    path = streams / "tokenizer.json"
    check_tokenizer_file(path, manifest.tokenizer)
    with readable(path, what="a tokenizer", fix="restore the file, or run 'dmix etl shard' again"):
        fast = PreTrainedTokenizerFast(tokenizer_file=str(path))
    end_of_text = fast.convert_ids_to_tokens(manifest.tokenizer.eot_id)
    fast.add_special_tokens({"bos_token": end_of_text, "eos_token": end_of_text})
    return fast


def try_saving(model: LanguageModel, result: Path, *, streams: Path, manifest: DatasetManifest) -> None:
    """Saves the model without its weights and removes it again, so that what fails does so before training.

    Raises:
        InputError: If its settings cannot be saved.
        StorageError: If the folder cannot be written.
    """
    mend_generation_settings(model.network)
    with storage_errors(str(result.parent)):
        result.parent.mkdir(parents=True, exist_ok=True)
        trial = Path(tempfile.mkdtemp(prefix=f".{result.name}.trial.", dir=result.parent))
    network = model.network
    name = first_adapter_weight(network) if has_adapters(network) else next(iter(network.state_dict()))
    weight = network.state_dict()[name]
    try:
        save_model(
            model, trial, streams=streams, manifest=manifest, weights={name: weight.detach().cpu()[:1]}
        )
    except StorageError:
        raise
    except Exception as error:  # whatever transformers finds wrong with its own settings
        raise InputError(
            f"dmix cannot save the trained model ({type(error).__name__}: {first_line(error)}); correct the "
            "configuration files beside the model's weights"
        ) from error
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def mend_generation_settings(network: PreTrainedModel) -> None:
    """Lets sampling settings say that they sample: transformers loads them without and refuses to save."""
    settings = getattr(network, "generation_config", None)
    if settings is None or settings.do_sample:
        return
    try:
        settings.validate(strict=True)
    except ValueError:
        given = [name for name in _SAMPLING if name in settings.to_diff_dict()]
        settings.do_sample = True
        logger.warning(
            "generation_config.json sets %s without do_sample, and transformers cannot save this; the "
            "trained model gets do_sample: true",
            ", ".join(given) or "sampling values",
        )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keeps transformers' loading and saving bars off stderr, which belongs to progress lines."""
    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()
