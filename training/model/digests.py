"""What a model starts from, as one hash; light where there are no adapters."""

from pathlib import Path

from dmix.training.model.settings import ADAPTER_CONFIG, ModelSettings
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.weights import file_digest, known_digest

# What a checkpoint's folder holds that decides its scores; tokenizers are compared on their own.
_DECIDING = ("*.safetensors", "pytorch_model*.bin", "config.json", ADAPTER_CONFIG)


def model_digest(model: str | ModelSettings) -> str:
    """SHA-256 of what a model starts from: its files, the checkpoint below adapters included, its settings,
    or its name where the hub has it."""
    if not isinstance(model, str):
        return digest_of(repr(model))
    folder = Path(model)
    if folder.is_file():
        return file_digest(folder)
    paths = sorted({path for pattern in _DECIDING for path in folder.glob(pattern)})
    if not paths:
        return digest_of(model)
    files = {path.name: known_digest(path) for path in paths}
    if not (folder / ADAPTER_CONFIG).is_file():
        return digest_of(files)
    from dmix.training.model.lora import adapted_checkpoint  # torch and peft

    below = adapted_checkpoint(model)
    return digest_of([files, model_digest(below)] if below else files)
