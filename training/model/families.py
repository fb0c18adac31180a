"""What families of language models call the same thing: positions, layers, widths."""

from typing import Any

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

# Names of the largest number of positions; MPT says max_seq_len.
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")
_FEED_FORWARD = ("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner")
_KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads")


def positions_of(config: PretrainedConfig) -> int | None:
    """Tokens that a model has positions for; None for families without a table of them (ALiBi)."""
    attention = getattr(config, "attn_config", None)
    if config.model_type == "bloom" or getattr(config, "alibi", False) or getattr(attention, "alibi", False):
        return None
    found = _first(config, _POSITIONS)
    return None if found is None else int(found)


def layers_of(network: PreTrainedModel) -> nn.ModuleList | None:
    """The layers of a model, its longest list of modules; None if it has none."""
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList) and len(module)]
    return max(lists, key=len, default=None)


def feed_forward_of(config: Any) -> int:
    """Width of the feed-forward layers; four times the hidden size where a family does not say."""
    return int(_first(config, _FEED_FORWARD) or 4 * config.hidden_size)


def key_value_heads_of(config: Any) -> int:
    """Heads of keys and values; those of attention where a family does not say."""
    if getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False):
        return 1
    return int(_first(config, _KEY_VALUE_HEADS) or config.num_attention_heads)


def _first(config: Any, names: tuple[str, ...]) -> Any:
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)
