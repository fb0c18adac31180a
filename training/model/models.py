"""Where language models come from: checkpoints, hub ids, random weights of a described architecture."""

import difflib
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from dmix.training.model.families import check_family, check_fit
from dmix.training.model.language_model import LanguageModel
from dmix.training.model.lora import adapted_checkpoint, add_adapters, with_merged_adapters
from dmix.training.model.out_of_memory import is_out_of_memory
from dmix.training.model.own_tokenizer import fitting_tokenizer
from dmix.training.model.saving import quiet_transformers
from dmix.training.model.settings import LoraSettings, ModelSettings, read_model
from dmix.warehouse_schema.errors import InputError, NotFoundError, first_line
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.files.weights import (
    MOST_WEIGHT,
    check_depth,
    check_model_files,
    check_saved_model,
    damaged_weights,
)
from dmix.warehouse_schema.hub import asking_hub, not_found
from dmix.warehouse_schema.memory import free_memory
from dmix.warehouse_schema.sizes import num_text, size_text

_CONFIGS: dict[str, type[PretrainedConfig]] = {"llama": LlamaConfig, "gpt_neox": GPTNeoXConfig}
# Regularisation that small models of one epoch do not want; a user's own value wins.
_NO_DROPOUT = {
    "llama": {"attention_dropout": 0.0},
    "gpt_neox": {"attention_dropout": 0.0, "hidden_dropout": 0.0},
}

_MOST_SAID = 300


def load_model(
    model: str | ModelSettings,
    manifest: DatasetManifest,
    *,
    reset_at_documents: bool = False,
    sharded: bool = False,
    tokenizer_file: Path | None = None,
    allow_other_tokenizer: bool = False,
    lora: LoraSettings | None = None,
    seed: int = 0,
) -> LanguageModel:
    """A model that can train on a dataset.

    Args:
        model: Path of a model file or checkpoint folder, a hub id, or settings.
        manifest: The dataset; its tokenizer and sample length must fit the model.
        reset_at_documents: Keep the documents of a training sample apart.
        sharded: The weights will be spread over the ranks.
        tokenizer_file: `tokenizer.json` of the dataset; None trusts that the model's own is the same.
        allow_other_tokenizer: Take a model that comes with another tokenizer.
        lora: Put adapters in and train those alone.
        seed: Seed of the adapters.

    Raises:
        NotFoundError: If there is no such checkpoint.
        MissingDependencyError: If `lora` is given and peft is not installed.
        InputError: If the model file is wrong, the vocabulary or length is too small, the model has
            another tokenizer or weights that are not finite, or it cannot keep documents apart.
        VerificationError: If a model of ours is damaged.
    """
    model = read_model(model)
    if isinstance(model, str):
        tokenizer = fitting_tokenizer(
            model, manifest, tokenizer_file=tokenizer_file, allow_other=allow_other_tokenizer
        )
        check_saved_model(Path(model))
        network = load_network(model)
        _check_finite(network, model)
    else:
        tokenizer = None
        network = _from_scratch(model, manifest)
        _check_finite(network, "of random weights")
    check_fit(network.config, manifest)
    if lora is not None:
        check_lora_model(model, lora)
        add_adapters(network, lora, seed=seed)
    reset_at = manifest.tokenizer.eot_id if reset_at_documents else None
    return LanguageModel(network, reset_at=reset_at, sharded=sharded, tokenizer=tokenizer)


def check_lora_model(model: str | ModelSettings, lora: LoraSettings) -> None:
    """Refuses adapters whose model would be nowhere.

    Raises:
        InputError: If the model starts from random weights, or is adapters itself, and they are not merged.
    """
    if lora.merge:
        return
    if isinstance(model, ModelSettings) or Path(model).suffix in (".yaml", ".yml"):
        raise InputError(
            "lora saves only adapters, but the random weights of this model are not stored; set merge: "
            "true under lora, or leave lora out"
        )
    if adapted_checkpoint(model) is not None:
        raise InputError(
            f"{model} contains adapters. dmix merges them into their checkpoint before training, but "
            "does not store the merged model. New adapters would have no checkpoint; set merge: true "
            "under lora"
        )


def _from_scratch(settings: ModelSettings, manifest: DatasetManifest) -> PreTrainedModel:
    if settings.tokenizer is not None and settings.tokenizer != manifest.tokenizer.name:
        raise InputError(
            f"the model file has the tokenizer {settings.tokenizer!r}, but the dataset has "
            f"{manifest.tokenizer.name!r}; run 'dmix etl shard' with --tokenizer {settings.tokenizer!r}"
        )
    config_class = _CONFIGS[settings.architecture]
    known = config_class().to_dict()
    for name in settings.config:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]!r}?" if near else "see its page in the transformers documentation"
            raise InputError(
                f"the model file has the config field {name!r}, but {config_class.__name__} has no such"
                f" field; {meant}"
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
            config = config_class(**values)
            _check_sizes(config)
            network: PreTrainedModel = AutoModelForCausalLM.from_config(config)
        except InputError:
            raise
        except Exception as error:  # transformers and torch raise many kinds for wrong values
            if is_out_of_memory(error):
                raise
            raise InputError(
                f"transformers cannot make a model from 'config' in the model file ({first_line(error)}). "
                "Check the names and sizes: each size must be at least 1, and the hidden size must be a "
                "multiple of the number of heads"
            ) from error
    return network


def _check_room(config: PretrainedConfig, name: str) -> None:
    """Refuses a checkpoint whose configuration asks for more weights than the memory holds.

    Its embeddings and a quarter of a square of its width for each layer are less than any family has.

    Raises:
        InputError: If they alone do not fit.
    """
    sizes = [getattr(config, field, None) for field in ("vocab_size", "hidden_size", "num_hidden_layers")]
    vocabulary, hidden, layers = (size if isinstance(size, int) else 0 for size in sizes)
    least, free = 4 * hidden * (vocabulary + layers * hidden // 4), free_memory()
    if least > free:
        raise InputError(
            f"config.json of {name} describes a model of at least {size_text(least)} in fp32 ({layers} "
            f"layers, hidden size {hidden}, {vocabulary} ids), but {size_text(free)} of memory are free; "
            "correct config.json, or use a machine with more memory"
        )


def _check_sizes(config: PretrainedConfig) -> None:
    """Raises `ValueError` for sizes that transformers takes and that fail at the first sample."""
    check_depth(config.to_dict(), where="the model file")
    heads = config.num_attention_heads
    keys = getattr(config, "num_key_value_heads", None) or heads
    if heads % keys or getattr(config, "head_dim", 0) % 2:
        raise ValueError(
            f"{heads} heads and {keys} key heads do not fit a hidden size of {config.hidden_size}"
        )
    for name in ("num_hidden_layers", "intermediate_size"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}")


def empty_model(
    model: str | ModelSettings, manifest: DatasetManifest, *, lora: LoraSettings | None = None
) -> PreTrainedModel:
    """A model without memory for its weights, made from its configuration alone.

    Args:
        model: As for `load_model`.
        manifest: The dataset.
        lora: Adapters to put in.

    Raises:
        NotFoundError, InputError: As `load_model`.
    """
    model = read_model(model)
    with torch.device("meta"):
        if isinstance(model, ModelSettings):
            network = _from_scratch(model, manifest)
        else:
            check_model_files(Path(model))
            try:
                with asking_hub(model) as where:
                    config = AutoConfig.from_pretrained(model, trust_remote_code=False, **where)
                check_family(config, model)
                network = AutoModelForCausalLM.from_config(config)
            except InputError:
                raise
            except Exception as error:  # as in load_network
                if is_out_of_memory(error):
                    raise
                raise _no_model(model, error) from error
        check_fit(network.config, manifest)
        if lora is not None:
            check_lora_model(model, lora)
            add_adapters(network, lora, seed=0)
    return network


def load_network(name: str) -> PreTrainedModel:
    """The transformers model of a checkpoint folder or hub id, in fp32; adapters are merged into theirs.

    Raises:
        NotFoundError: If there is no such checkpoint.
        InputError: If it lacks weights.
    """
    check_model_files(Path(name))
    adapted = adapted_checkpoint(name)
    if adapted is not None:
        base = load_network(adapted)
        try:
            return with_merged_adapters(base, name)
        except Exception as error:  # peft raises many kinds for adapters that are damaged or of another model
            if is_out_of_memory(error):
                raise
            raise _no_model(name, error) from error
    try:
        with quiet_transformers(), asking_hub(name) as where:
            config = AutoConfig.from_pretrained(name, trust_remote_code=False, **where)
            check_family(config, name)
            _check_room(config, name)
            network: PreTrainedModel
            network, found = AutoModelForCausalLM.from_pretrained(
                name, dtype=torch.float32, output_loading_info=True, trust_remote_code=False, **where
            )
    except InputError:
        raise
    except Exception as error:  # transformers, safetensors and torch raise many kinds for damaged files
        if is_out_of_memory(error):
            raise
        raise _no_model(name, error) from error
    lacking = sorted(found["missing_keys"])
    if lacking:
        raise InputError(
            f"checkpoint {name} has no values for {num_text(len(lacking), 'weight')}, such as {lacking[0]}; "
            "restore its files, or give the right config.json"
        )
    return network


def _no_model(name: str, error: Exception) -> InputError:
    # torch puts the names of weights into the second line
    said = " ".join(str(error).split())[:_MOST_SAID] or "no message"
    folder = Path(name)
    damaged = damaged_weights(folder)
    if damaged:
        return InputError(f"{damaged}; restore this file, or download the checkpoint again")
    if (folder / "config.json").exists():
        return InputError(
            f"transformers cannot make a model of the checkpoint {name} ({type(error).__name__}: {said}); "
            "correct its config.json, or download the checkpoint again"
        )
    if folder.is_dir():
        return NotFoundError(
            f"folder {name} is not a checkpoint: it has no config.json ({said}); give the folder that "
            "save_pretrained wrote, a model file or a hub id"
        )
    return NotFoundError(
        f"{not_found(name, error)}; correct the path, or give the name of a model that 'dmix train base' "
        "made, a model file or another hub id"
    )


def unusable_weights(network: torch.nn.Module) -> str:
    """What is wrong with the first weight that is not finite or larger than `MOST_WEIGHT`, in words; empty if
    none is. Of sharded weights, all ranks have to ask."""
    for name, weight in network.named_parameters():
        magnitude = weight.detach().abs()
        finite = torch.isfinite(magnitude)
        if bool((finite & (magnitude <= MOST_WEIGHT)).all()):  # in fp16, the bound itself is infinite
            continue
        plain = name.removeprefix("module.").removeprefix("network.")
        if not bool(finite.all()):
            return f"are not finite ({plain})"
        most = float(magnitude.max())
        return f"are out of range ({plain} has the magnitude {most:.3g}, expected {MOST_WEIGHT:g} at most)"
    return ""


def _check_finite(network: PreTrainedModel, name: str) -> None:
    found = unusable_weights(network)
    if found:
        raise InputError(f"weights of model {name} {found}; start from an earlier checkpoint")
