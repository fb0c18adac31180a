"""How much memory a model takes while it writes, found before its weights are read."""

from dataclasses import dataclass
from pathlib import Path

from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.source_models import SourceModel, is_half, quiet_libraries
from dmix.etl.synthetic.without_torch import StoredSize, is_torch_left_out, stored_size
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.gpus import has_gpu, memory_by_driver
from dmix.warehouse_schema.memory import free_memory


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


def memory_need(model: SourceModel, settings: GenerationSettings) -> MemoryNeed:
    """What the model takes; nothing is loaded.

    Raises:
        InputError: If it is no causal language model.
    """
    tied = bool(getattr(model.config, "tie_word_embeddings", False))
    if is_torch_left_out():
        _require_causal(model)
        size = stored_size(Path(model.folder), tied=tied)
    else:
        size = _built_size(model, tied=tied)
    width = 2 if is_half(settings) else 4
    heads = getattr(model.config, "num_attention_heads", 1)
    kv_heads = getattr(model.config, "num_key_value_heads", None) or heads
    head_size = getattr(model.config, "head_dim", None) or model.config.hidden_size // heads
    a_token = 2 * model.config.num_hidden_layers * kv_heads * head_size * width
    # the cache grows by copying, so that two copies of one layer's part live at once
    cache = settings.block_documents * (model.max_tokens + 1) * a_token
    scores = settings.block_documents * model.config.vocab_size * (4 + 4 + 8)
    return MemoryNeed(
        weights=size.parameters * width,
        cache=cache,
        scores=scores,
        read=(size.parameters - size.looked_up) * width,
    )


def check_fits(model: SourceModel, settings: GenerationSettings, *, processes: int = 1) -> MemoryNeed:
    """What the model takes, if as many processes of this machine can have it; vLLM sees to that itself.

    Raises:
        InputError: If it does not fit into free memory, or is no causal language model.
    """
    need = memory_need(model, settings)
    if settings.engine == "transformers":
        check_memory(model, need, available=_free_for_a_model(), copies=processes)
    return need


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
        f"model {model.name!r} needs about {need.total / 1000000000.0:,.2f} GB{several} (weights "
        f"{need.weights / 1000000000.0:,.2f}, keys and values {need.cache / 1000000000.0:,.2f}, scores "
        f"{need.scores / 1000000000.0:,.2f}), but only {available / 1000000000.0:,.2f} GB are free; "
        f"choose {fewer}a smaller --block-documents or --max-tokens, --precision bf16, or a smaller model"
    )


def _require_causal(model: SourceModel) -> None:
    """Refuses a model that does not write, as transformers would when it builds it."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if model.config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise _no_causal_model(model)


def _built_size(model: SourceModel, *, tied: bool) -> StoredSize:
    """The size of a model that transformers builds without memory for its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"), quiet_libraries():
            network = AutoModelForCausalLM.from_config(model.config)
    except ValueError as error:
        raise _no_causal_model(model) from error
    return StoredSize(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        looked_up=0 if tied else network.get_input_embeddings().weight.numel(),
    )


def _no_causal_model(model: SourceModel) -> InputError:
    return InputError(
        f"model {model.name!r} ({model.config.model_type}) is not a causal language model;"
        " choose one, such as Pythia"
    )


def _free_for_a_model() -> int:
    """Bytes that a model may take: of this process's GPU, else of the machine or its container."""
    if not has_gpu():
        return free_memory()
    found = memory_by_driver()
    if found is not None:
        return found[0]
    import torch

    return int(torch.cuda.mem_get_info()[0])
