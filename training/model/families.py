"""What families of language models call the same thing: positions, layers, widths."""

from typing import TYPE_CHECKING, Any

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.files.weights import check_attention, check_depth
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

# Names of the largest number of positions; MPT says max_seq_len.
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")
_FEED_FORWARD = ("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner")
_MOST_POSITIONS = 2**62
_KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads")


# Families that transformers loads as causal language models, and that see both sides of a token unless
# their configuration makes decoders of them.
_ENCODERS = {
    "bert",
    "bert-generation",
    "big_bird",
    "camembert",
    "data2vec-text",
    "electra",
    "ernie",
    "megatron-bert",
    "rembert",
    "roberta",
    "roberta-prelayernorm",
    "roc_bert",
    "roformer",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}


def check_family(config: "PretrainedConfig", name: str) -> None:
    """Refuses a model that is no causal language model, before its weights are read.

    Raises:
        InputError: If it is of encoders, or of several kinds of input, or wants attention that is code, or
            more layers than any model has.
    """
    check_attention({"attn_implementation": getattr(config, "_attn_implementation", None)}, where=name)
    check_depth(config.to_dict(), where=name)
    encoder = config.model_type in _ENCODERS and not getattr(config, "is_decoder", False)
    if getattr(config, "is_encoder_decoder", False) or encoder:
        raise InputError(
            f"model {name} of the family {config.model_type} is not a causal language model; give a "
            "model that predicts the next token from the previous ones"
        )
    if not hasattr(config, "vocab_size"):
        raise InputError(
            f"model {name} of the family {config.model_type} reads more than text; save only its "
            "language model (its text_config) and give that folder"
        )


def check_fit(config: Any, manifest: DatasetManifest) -> None:
    """Refuses a model that has too few ids or positions for a dataset.

    Args:
        config: Of transformers, or sizes by the same names.
        manifest: The dataset.

    Raises:
        InputError: If it does.
    """
    if whole_size(config, "vocab_size") < manifest.tokenizer.vocab_size:
        raise InputError(
            f"the model has a vocabulary of {config.vocab_size} ids, but the dataset's tokenizer "
            f"{manifest.tokenizer.name!r} has {manifest.tokenizer.vocab_size}; make a dataset with the "
            "model's own tokenizer (dmix etl shard --tokenizer), or raise vocab_size"
        )
    positions = positions_of(config)
    if positions is not None and positions < manifest.seq_len:
        raise InputError(
            f"the context length of the model is {num_text(positions, 'token')}, but a sample has "
            f"{manifest.seq_len}; make a dataset with a smaller --seq-len, or raise "
            "max_position_embeddings"
        )


def positions_of(config: Any) -> int | None:
    """Tokens that a model has positions for; None for families without a table of them (ALiBi).

    Raises:
        InputError: If its configuration says no number.
    """
    attention = getattr(config, "attn_config", None)
    if config.model_type == "bloom" or getattr(config, "alibi", False) or getattr(attention, "alibi", False):
        return None
    found = _first(config, _POSITIONS)
    if found is not None and not (isinstance(found, int | float) and 1 <= found < _MOST_POSITIONS):
        raise InputError(
            f"the context length of the model is {str(found)[:40]!r} in its config.json, expected a number of"
            " tokens; correct it"
        )
    return None if found is None else int(found)


def whole_size(config: Any, name: str) -> int:
    """A size that every causal language model has.

    Raises:
        InputError: If a configuration lacks it, or it is no whole number above 0.
    """
    size = getattr(config, name, None)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InputError(
            f"the model of the family {config.model_type} has {name} {str(size)[:40]!r}, expected a whole"
            " number above 0; correct its config.json, or give a model of another family"
        )
    return size


def layers_of(network: "PreTrainedModel") -> "nn.ModuleList | None":
    """The layers of a model, its outermost list of as many modules as it has layers; None if it has none.

    Experts are lists, too, which may be longer.
    """
    from torch import nn  # a second, and dry runs need none of it

    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList) and len(module)]
    count = getattr(network.config, "num_hidden_layers", None)
    return next((found for found in lists if len(found) == count), max(lists, key=len, default=None))


def feed_forward_of(config: Any) -> int:
    """Width of the feed-forward layers that a token passes; four times the hidden size if a family is silent.

    Of a mixture of experts, the widths of all experts of a token.
    """
    experts = getattr(config, "num_experts_per_tok", None)
    if experts:
        wide = getattr(config, "moe_intermediate_size", None) or _first(config, _FEED_FORWARD)
        return int(experts * (wide or 4 * config.hidden_size))
    return int(_first(config, _FEED_FORWARD) or 4 * config.hidden_size)


def key_value_heads_of(config: Any) -> int:
    """Heads of keys and values; those of attention where a family does not say, and 1 where it has none."""
    if getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False):
        return 1
    return int(_first(config, _KEY_VALUE_HEADS) or getattr(config, "num_attention_heads", None) or 1)


def _first(config: Any, names: tuple[str, ...]) -> Any:
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)
