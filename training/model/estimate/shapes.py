"""The shape of a model, which memory, disk and time depend on.

For the families that most checkpoints belong to, `config.json` or a model file says it in milliseconds,
without torch. transformers builds every other model, without memory for its weights: this takes seconds, and
refuses a configuration that cannot work. So whatever looks unusual goes that way. Both ways give the
same numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from dmix.training.model.families import (
    check_fit,
    feed_forward_of,
    key_value_heads_of,
    layers_of,
    whole_size,
)
from dmix.training.model.settings import ADAPTER_CONFIG, LoraSettings, ModelSettings, read_model
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.files.weights import (
    check_model_files,
    check_saved_model,
    first_unusable,
    stored_weights,
)
from dmix.warehouse_schema.text_files import read_json_object

if TYPE_CHECKING:
    from torch import nn

# Families whose feed-forward layer multiplies two halves, so that four vectors of its width are kept.
_GATED = {
    "gemma",
    "gemma2",
    "gemma3_text",
    "llama",
    "mistral",
    "mixtral",
    "olmo2",
    "phi3",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
}
# Training costs six operations per weight and token: two forward, four backward.
OPERATIONS = 6

# What transformers takes where a configuration is silent; None where it depends on other sizes.
_LLAMA: dict[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
}
_GPT_NEOX: dict[str, Any] = {
    "hidden_size": 6144,
    "intermediate_size": 24576,
    "num_hidden_layers": 44,
    "num_attention_heads": 64,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "attention_bias": True,
}
_DEFAULTS = {"llama": _LLAMA, "mistral": _LLAMA, "qwen2": _LLAMA, "qwen3": _LLAMA, "gpt_neox": _GPT_NEOX}
# What the configuration of a checkpoint has to say, since families differ in what they take otherwise.
_SAID = {
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
}
# Numbers that change no size.
_NO_SIZE = {
    "attention_dropout",
    "hidden_dropout",
    "initializer_range",
    "layer_norm_eps",
    "rms_norm_eps",
    "rope_theta",
}
# A checkpoint with one of these is built: its layers are not those of its family, or its numbers not floats.
_UNUSUAL = ("auto_map", "quantization_config", "rope_scaling", "pruned_heads")
_ACTIVATIONS = ("silu", "gelu", "gelu_new", "gelu_fast", "relu")


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """What memory, disk and time depend on.

    Attributes:
        parameters: Number of weights, shared ones once.
        layer_parameters: Weights of one layer, the part that is gathered at a time.
        layers: Number of layers.
        hidden: Width H of the residual stream.
        feed_forward: Width F of the feed-forward layers.
        gated: True where the feed-forward layer multiplies two halves.
        vocabulary: Number of ids V.
        trained: Weights that are trained, those of adapters; None for all.
        norms: Numbers that the norms of a layer keep of a token, always in fp32; None for 4 H.
    """

    parameters: int
    layer_parameters: int
    layers: int
    hidden: int
    feed_forward: int
    gated: bool
    vocabulary: int
    trained: int | None = None
    norms: int | None = None

    @property
    def trained_parameters(self) -> int:
        """Weights that gradients and moments are kept of."""
        return self.parameters if self.trained is None else self.trained

    def operations_per_token(self, seq_len: int) -> int:
        """Floating-point operations of training on a token in a sample of L tokens.

        An embedding is looked up, which costs nothing; causal attention sees half of the sample.
        """
        products = self.layers * self.layer_parameters + self.vocabulary * self.hidden
        return OPERATIONS * (products + self.layers * self.hidden * seq_len)


def shape_of(
    model: str | ModelSettings, manifest: DatasetManifest, *, lora: LoraSettings | None = None
) -> ModelShape:
    """The shape of a model, adapters included; its weights are not read.

    Args:
        model: As for `load_model`.
        manifest: The dataset.
        lora: Adapters to put in.

    Raises:
        NotFoundError, InputError: As `load_model`.
    """
    model = read_model(model)
    if isinstance(model, str):
        check_model_files(Path(model))
    config = None if lora is not None else _known_config(model, manifest)
    if config is None:
        return _built_shape(model, manifest, lora=lora)
    check_fit(config, manifest)
    return _shape_by_config(config)


def _known_config(model: str | ModelSettings, manifest: DatasetManifest) -> SimpleNamespace | None:
    """The sizes of a model whose configuration says all of them; None if transformers must be asked."""
    if isinstance(model, ModelSettings):
        if model.tokenizer not in (None, manifest.tokenizer.name):
            return None
        return _sizes(model.architecture, model.config, of_dataset=manifest)
    try:
        config = read_json_object(Path(model) / "config.json")
        family = config["model_type"]
        unusual = (
            family not in _DEFAULTS
            or any(config.get(name) for name in _UNUSUAL)
            or config.get("hidden_act", "silu") not in _ACTIVATIONS
        )
    except (InputError, KeyError, TypeError):
        return None
    if unusual or not config.keys() >= _SAID or (Path(model) / ADAPTER_CONFIG).exists():
        return None
    if family in ("mistral", "qwen2") and config.get("num_key_value_heads") is None:
        return None
    if family == "qwen3" and config.get("head_dim") is None:
        return None
    return _sizes(family, {name: config[name] for name in {*_LLAMA, *_SAID} & config.keys()})


def _sizes(
    family: str, given: Mapping[str, Any], *, of_dataset: DatasetManifest | None = None
) -> SimpleNamespace | None:
    """Sizes by the names of transformers; None for what is not certain to make a model.

    Args:
        family: As `model_type`.
        given: What a configuration says.
        of_dataset: Fills in what a model file leaves to its dataset.
    """
    defaults = _DEFAULTS.get(family)
    if defaults is None or not given.keys() <= {"vocab_size", *defaults, *_NO_SIZE}:
        return None
    sizes = dict(defaults)
    if of_dataset is not None:
        sizes["vocab_size"] = of_dataset.tokenizer.vocab_size
        sizes["max_position_embeddings"] = max(of_dataset.seq_len, sizes["max_position_embeddings"])
    sizes |= given
    for name, value in sizes.items():
        if isinstance(defaults.get(name), bool):
            fine = isinstance(value, bool)
        elif name in _NO_SIZE:
            fine = isinstance(value, int | float)
        else:
            fine = (type(value) is int and value >= 1) or (value is None and defaults.get(name, 0) is None)
        if not fine:
            return None
    heads, hidden = sizes["num_attention_heads"], sizes["hidden_size"]
    size = sizes.get("head_dim") or hidden // heads
    if hidden % heads or heads % (sizes.get("num_key_value_heads") or heads) or size % 2:
        return None
    return SimpleNamespace(model_type=family, **sizes)


def _shape_by_config(config: SimpleNamespace) -> ModelShape:
    """The arithmetic of `_DEFAULTS`' families."""
    hidden, wide, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    vocabulary, norms = config.vocab_size, None
    if config.model_type == "gpt_neox":
        attention = 4 * hidden * hidden + config.attention_bias * 4 * hidden
        feed_forward = 2 * hidden * wide + wide + hidden
        layer, last_norm = attention + feed_forward + 4 * hidden, 2 * hidden
    else:
        size = config.head_dim or hidden // heads
        queries, keys = heads * size, key_value_heads_of(config) * size
        attention = 2 * hidden * (queries + keys)
        if config.model_type == "qwen2":
            attention += queries + 2 * keys
        elif config.attention_bias and config.model_type in ("llama", "qwen3"):
            attention += queries + 2 * keys + hidden
        feed_forward = 3 * hidden * wide
        if config.mlp_bias and config.model_type == "llama":
            feed_forward += 2 * wide + hidden
        layer, last_norm, norms = attention + feed_forward + 2 * hidden, hidden, 4 * hidden
        if config.model_type == "qwen3":
            layer, norms = layer + 2 * size, norms + 2 * (hidden + keys)
    tables = vocabulary * hidden * (1 if config.tie_word_embeddings else 2)
    return ModelShape(
        parameters=config.num_hidden_layers * layer + last_norm + tables,
        layer_parameters=layer,
        layers=config.num_hidden_layers,
        hidden=hidden,
        feed_forward=wide,
        gated=config.model_type in _GATED,
        vocabulary=vocabulary,
        norms=norms,
    )


def _built_shape(
    model: str | ModelSettings, manifest: DatasetManifest, *, lora: LoraSettings | None
) -> ModelShape:
    """The shape of a model that transformers builds without memory for its weights."""
    from dmix.training.model.models import empty_model  # seconds of transformers

    network = empty_model(model, manifest, lora=lora)
    config: Any = network.config
    hidden, depth = whole_size(config, "hidden_size"), whole_size(config, "num_hidden_layers")
    heads = getattr(config, "num_attention_heads", None) or 1  # Mamba has none
    head_size = getattr(config, "head_dim", None) or hidden // heads
    layers = layers_of(network)
    return ModelShape(
        parameters=sum(weight.numel() for weight in network.parameters()),
        layer_parameters=sum(weight.numel() for weight in layers[0].parameters()) if layers else 0,
        layers=depth,
        hidden=hidden,
        feed_forward=feed_forward_of(config),
        gated=config.model_type in _GATED,
        vocabulary=config.vocab_size,
        trained=None if lora is None else sum(w.numel() for w in network.parameters() if w.requires_grad),
        norms=_norms_of(layers[0], config, key_value_heads_of(config) * head_size) if layers else None,
    )


def _norms_of(layer: "nn.Module", config: Any, key_value: int) -> int | None:
    """What root-mean-square norms keep: their input and the normed vector; None where there are others."""
    widths = [
        key_value if name.endswith("k_norm") else config.hidden_size
        for name, module in layer.named_modules()
        if type(module).__name__.endswith("RMSNorm")
    ]
    return 2 * sum(widths) if widths else None


# Buffers that older versions of transformers stored beside the weights.
_BUFFERS = (".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias")
_PREFIXES = ("model.", "gpt_neox.", "lm_head.", "embed_out.")


def holds_weights(folder: Path, shape: ModelShape) -> bool:
    """Whether the safetensors files of a checkpoint hold as many weights as its shape has, all usable.

    False where that is not sure: other names or formats, weights that are shared and stored twice.
    """
    try:
        if (folder / ADAPTER_CONFIG).exists():
            return False
        stored = {n: size for n, size in stored_weights(folder).items() if not n.endswith(_BUFFERS)}
        return (
            sum(stored.values()) == shape.parameters
            and all(name.startswith(_PREFIXES) for name in stored)
            and not first_unusable(folder)
        )
    except (InputError, OSError):
        return False


def check_weights(
    model: str, shape: ModelShape, manifest: DatasetManifest, *, lora: LoraSettings | None = None
) -> None:
    """Refuses a checkpoint whose weights are damaged, lacking or not finite.

    What its files say is enough where it is what the configuration wants; else transformers loads it.

    Args:
        model: Checkpoint folder or hub id.
        shape: Its shape.
        manifest: The dataset.
        lora: Adapters to put in.

    Raises:
        NotFoundError, InputError, VerificationError: As `load_model`.
    """
    check_saved_model(Path(model))
    if lora is None and holds_weights(Path(model), shape):
        return
    from dmix.training.model.models import load_model

    load_model(model, manifest, lora=lora)
