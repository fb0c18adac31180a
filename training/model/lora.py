"""Low-rank adapters of a checkpoint, through peft: put in, counted, saved, merged.

Adapters sit inside of the transformers model, which stays what it was for the loop, its scores and its
checkpoints: the weights of the checkpoint take no gradient. peft is an extra of dmix.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from dmix.training.model.settings import ADAPTER_CONFIG, LoraSettings, check_lora
from dmix.warehouse_schema.errors import InputError, NotFoundError, first_line
from dmix.warehouse_schema.text_files import read_json_object

_ALL = "all-linear"


def add_adapters(network: PreTrainedModel, settings: LoraSettings, *, seed: int) -> None:
    """Puts adapters into a network, which changes nothing of what it computes until they are trained.

    Args:
        network: Its own weights take no gradient from here on.
        settings: Rank, alpha and targets.
        seed: Seed of the adapters' random half.

    Raises:
        MissingDependencyError: If peft is not installed.
        InputError: If a target is no linear layer of the network, or is its output layer.
    """
    check_lora()
    from peft import LoraConfig

    everything = settings.targets == (_ALL,)
    targets: Any = _linear_layers(network) if everything else list(settings.targets)
    if not everything:
        _check_targets(network, settings.targets)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=targets,
        task_type="CAUSAL_LM",
        # GPT-2's layers keep their weights the other way round
        fan_in_fan_out=network.config.model_type == "gpt2",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network.add_adapter(config)
        except ValueError as error:  # peft names the kinds of layers that it knows
            raise InputError(
                f"lora cannot adapt this model ({first_line(error)}); give other targets"
            ) from error


def has_adapters(network: PreTrainedModel) -> bool:
    """Whether adapters were put into the network."""
    return bool(getattr(network, "_hf_peft_config_loaded", False))


def first_adapter_weight(network: PreTrainedModel) -> str:
    """Name of one adapter weight of a network that has some."""
    return next(name for name in network.state_dict() if ".lora_A." in name)


def merge_adapters(network: PreTrainedModel) -> None:
    """Adds the adapters to the weights that they adapt, and takes them out of the network."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(network.named_modules()):
        if not isinstance(module, BaseTunerLayer):
            continue
        module.merge()
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, module.get_base_layer())
    network._hf_peft_config_loaded = False
    del network.peft_config


def save_adapters(network: PreTrainedModel, folder: Path, *, weights: dict[str, Any] | None = None) -> None:
    """Writes adapters in peft's form, with the configuration that plain transformers reads.

    Args:
        network: With adapters.
        folder: Where to.
        weights: Weights to take them from; None takes the network's own.
    """
    network.save_pretrained(folder, state_dict=weights)
    network.config.save_pretrained(folder)
    generation = getattr(network, "generation_config", None)
    if generation is not None:
        generation.save_pretrained(folder)


def adapted_checkpoint(folder: str) -> str | None:
    """The checkpoint that the adapters of a folder belong to; None where there are no adapters.

    Raises:
        InputError: If they do not say, or it has adapters itself.
        MissingDependencyError: If peft is not installed.
    """
    if not (Path(folder) / ADAPTER_CONFIG).is_file():
        return None
    check_lora()
    name = read_json_object(Path(folder) / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not name or not isinstance(name, str):
        raise InputError(
            f"the adapters in {folder} do not name their checkpoint; set base_model_name_or_path in "
            f"{ADAPTER_CONFIG}"
        )
    if (Path(name) / ADAPTER_CONFIG).is_file():
        raise InputError(
            f"{folder} has adapters of {name}, which has adapters itself; merge these into their checkpoint,"
            f" and set base_model_name_or_path in {folder}/{ADAPTER_CONFIG} to it"
        )
    if Path(name).is_absolute() and not Path(name).is_dir():
        raise NotFoundError(
            f"the checkpoint {name} of the adapters in {folder} does not exist; restore the checkpoint, "
            f"or set base_model_name_or_path in {ADAPTER_CONFIG}"
        )
    return str(name)


def with_merged_adapters(network: PreTrainedModel, folder: str) -> PreTrainedModel:
    """A network with the adapters of a folder added to its weights."""
    from peft import PeftModel

    merged: PreTrainedModel = PeftModel.from_pretrained(network, folder).merge_and_unload()
    return merged


def _linear_layers(network: PreTrainedModel) -> list[str]:
    """Last names of the linear layers of the network; the output layer is none of them.

    A router of experts is a linear layer, too, and adapting it unbalances the experts: it stays as it is.
    """
    output = network.get_output_embeddings()
    names = {
        name.rpartition(".")[2]
        for name, module in network.named_modules()
        if _is_linear(module) and module is not output
    }
    return sorted(names - {"gate", "router"})


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _check_targets(network: PreTrainedModel, targets: tuple[str, ...]) -> None:
    output, there = network.get_output_embeddings(), dict(network.named_modules())
    known = _linear_layers(network)
    for target in targets:
        found = [module for name, module in there.items() if name == target or name.endswith(f".{target}")]
        if not found or any(module is output or not _is_linear(module) for module in found):
            raise InputError(
                f"lora: target {target!r} is not a linear layer of this model that can have adapters; known"
                f" ones: {', '.join(known)}"
            )
