"""The pass of a LLaMA over whole rows on a CPU in fp32, by the operations of `layer`.

It takes the weights out of transformers' modules, which stay as they are: what is saved, stacked, sharded,
adapted, or computes in bf16 or on a GPU goes through them.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import SiLUActivation
from transformers.models.llama import modeling_llama as llama

from dmix.training.model.llama.layer import FeedForwardHalf, Heads, Norm, Shape

# A model of other modules, such as adapters, is not this one.
_MODULES = frozenset(
    {
        llama.LlamaModel,
        llama.LlamaDecoderLayer,
        llama.LlamaAttention,
        llama.LlamaMLP,
        llama.LlamaRMSNorm,
        llama.LlamaRotaryEmbedding,
        nn.Embedding,
        nn.Linear,
        nn.ModuleList,
        SiLUActivation,
    }
)


def is_plain_llama(network: PreTrainedModel) -> bool:
    """Whether `hidden_states` computes what the network's own pass over whole rows does, here and now."""
    config = network.config
    if config.model_type != "llama" or torch.is_autocast_enabled("cpu"):
        return False
    return (
        config._attn_implementation == "sdpa"
        and not config.attention_dropout
        and not network.is_gradient_checkpointing
        and all(_is_plain(module) for module in network.modules())
        and all(
            weight.dtype == torch.float32 and weight.device.type == "cpu" for weight in network.parameters()
        )
    )


def _is_plain(module: nn.Module) -> bool:
    hooked = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
    return not hooked and type(module) in _MODULES and getattr(module, "bias", None) is None


def hidden_states(network: PreTrainedModel, input_BL: Tensor) -> Tensor:
    """Last hidden states, shape (B, L, H), as `network(input_BL).last_hidden_state`.

    Args:
        network: A LlamaModel for which `is_plain_llama` holds.
        input_BL: Token ids; every position sees all before it.
    """
    rows, length = input_BL.shape
    config = network.config
    size = network.layers[0].self_attn.head_dim
    shape = Shape(rows=rows, length=length, size=size, epsilon=config.rms_norm_eps)
    x_BLH = network.embed_tokens(input_BL)
    turns_LC = _turns(network, x_BLH, heads=config.num_attention_heads + config.num_key_value_heads)
    x_TH = x_BLH.flatten(0, 1)
    for layer in network.layers:
        own, wide = layer.self_attn, layer.mlp
        query, key, value = Heads.apply(
            x_TH,
            layer.input_layernorm.weight,
            own.q_proj.weight,
            own.k_proj.weight,
            own.v_proj.weight,
            turns_LC,
            shape,
        )
        # no option of torch here: CPUs have no fused kernel for grouped queries
        groups = own.num_key_value_groups
        attended = nn.functional.scaled_dot_product_attention(
            query,
            llama.repeat_kv(key, groups),
            llama.repeat_kv(value, groups),
            is_causal=True,
            scale=own.scaling,
        )
        attended_TA = attended.transpose(1, 2).reshape(len(x_TH), -1)
        x_TH = torch.addmm(x_TH, attended_TA, own.o_proj.weight.T)
        x_TH = FeedForwardHalf.apply(
            x_TH,
            layer.post_attention_layernorm.weight,
            wide.gate_proj.weight,
            wide.up_proj.weight,
            wide.down_proj.weight,
            shape.epsilon,
        )
    hidden_TH: Tensor = Norm.apply(x_TH, network.norm.weight, shape.epsilon)
    return hidden_TH.view(rows, length, -1)


def _turns(network: PreTrainedModel, x_BLH: Tensor, *, heads: int) -> Tensor:
    """cos + i sin by which each position turns each pair of some heads, complex, shape (L, C)."""
    positions_1L = torch.arange(x_BLH.shape[1])[None]
    cos_1LE, sin_1LE = network.rotary_emb(x_BLH, positions_1L)
    pairs = cos_1LE.shape[-1] // 2
    return torch.complex(cos_1LE[0, :, :pairs], sin_1LE[0, :, :pairs]).repeat(1, heads)
