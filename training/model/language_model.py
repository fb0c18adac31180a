"""A causal language model in the form that Composer trains.

It computes cross entropy per token itself, so the loss of every sample, and with it of every
domain, costs nothing more. Shapes: B samples, L tokens per sample, V vocabulary, T chosen tokens.
"""

from collections.abc import Mapping
from typing import Any

import torch
from composer.models import ComposerModel
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.integrations import sdpa_attention

from dmix.mixing.delivery.boundaries import document_mask, document_positions, document_segments
from dmix.training.model.families import layers_of, positions_of
from dmix.training.model.llama.hidden import hidden_states, is_plain_llama
from dmix.training.model.loss import MeanNextTokenLoss, next_token_losses
from dmix.training.model.precision import cpu_bf16
from dmix.warehouse_schema.errors import InputError

# Families whose logits are the last hidden states times the output weight and nothing else, so
# that `dmix.training.model.loss` may stand in for their last layer.
_PLAIN_OUTPUT = {"gpt_neox", "llama", "mistral", "qwen2", "qwen3"}

# Families without a table of positions could read any length; most were trained on this one.
LENGTH_WITHOUT_POSITIONS = 2048

# Families that were compared, with reset positions and a mask of four dimensions, with documents
# run one by one.
_RESETTABLE = ("gpt_neox", "llama")


_grouped_by_torch = sdpa_attention.use_gqa_in_sdpa


def _grouped_in_kernel(attention_mask: Tensor | None, key: Tensor) -> bool:
    """Lets torch group queries on a GPU alone.

    On a CPU, torch 2.7 has no fused kernel for grouped queries, and keeps a table of L x L scores for every
    head and layer; with repeated keys it takes the fused one. To go when torch groups on CPUs.
    """
    grouped: bool = key.device.type != "cpu" and _grouped_by_torch(attention_mask, key)
    return grouped


sdpa_attention.use_gqa_in_sdpa = _grouped_in_kernel


def has_plain_output(network: PreTrainedModel) -> bool:
    """Whether `dmix.training.model.loss` may replace the network's output layer and loss."""
    output = network.get_output_embeddings()
    return network.config.model_type in _PLAIN_OUTPUT and output.bias is None


class LanguageModel(ComposerModel):
    """A causal language model with its next-token loss.

    Args:
        network: A transformers causal language model.
        reset_at: Id of the end-of-text token, at which attention and positions of training
            samples start anew; None lets tokens see all that stands before them.
        sharded: The weights will be spread over the ranks, so that they are whole only inside of
            the network's own forward pass, and all ranks have to make their passes together.

    Raises:
        InputError: If documents cannot be kept apart in this network.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        *,
        reset_at: int | None = None,
        sharded: bool = False,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        super().__init__()
        if reset_at is not None:
            _check_resettable(network.config)
        self.network, self.sharded, self.tokenizer = network, sharded, tokenizer
        _train_pad_token(network)
        self._reset_at = reset_at
        self.bf16_on_cpu = False
        self._plain_output = has_plain_output(network) and not sharded
        layers = layers_of(network)
        if sharded and layers is not None:
            # Composer asks the direct child of a model which of its modules to shard one by one
            layer_class = type(layers[0])
            network.fsdp_wrap_fn = lambda module: isinstance(module, layer_class)
            network.activation_checkpointing_fn = network.fsdp_wrap_fn

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean loss of a batch and that of each of its samples.

        Args:
            batch: `input_ids`, int64, shape (B, L).

        Returns:
            `loss`: mean cross entropy in nats per token, scalar. `loss_B`: the same per sample,
            detached, float32, shape (B,). Both are means over the L - 1 tokens that follow one.
        """
        with cpu_bf16(self.bf16_on_cpu):
            return self._losses(batch["input_ids"])

    def _losses(self, input_BL: Tensor) -> dict[str, Tensor]:
        view = self.training_view(input_BL)
        if self._plain_output:
            hidden_BLH = self._hidden_states(view)
            mean, token_loss_BL = next_token_losses(hidden_BLH, self.output_weight, input_BL)
            return {"loss": mean, "loss_B": token_loss_BL.mean(1)}
        logits_BLV = self.network(**view).logits
        token_loss_BL = nn.functional.cross_entropy(
            logits_BLV[:, :-1].float().flatten(0, 1), input_BL[:, 1:].flatten(), reduction="none"
        ).view(len(input_BL), -1)
        return {"loss": token_loss_BL.mean(), "loss_B": token_loss_BL.detach().mean(1)}

    def loss(self, outputs: Mapping[str, Tensor], batch: Any) -> Tensor:
        """The mean loss that `forward` computed; `batch` is part of Composer's interface."""
        return outputs["loss"]

    @torch.no_grad()
    def losses_at(self, input_BL: Tensor, rows_T: Tensor, positions_T: Tensor) -> Tensor:
        """Cross entropy of chosen tokens given all tokens before them, in nats.

        Args:
            input_BL: Token ids, int64, shape (B, L); rows may be padded on the right, because
                causal attention never looks there.
            rows_T: Row of each chosen token.
            positions_T: Its position in the row, at least 1.

        Returns:
            float32, shape (T,).
        """
        with cpu_bf16(self.bf16_on_cpu):
            return self._losses_at(input_BL, rows_T, positions_T)

    def _losses_at(self, input_BL: Tensor, rows_T: Tensor, positions_T: Tensor) -> Tensor:
        labels_T, view = input_BL[rows_T, positions_T], self.whole_view(input_BL)
        if self._plain_output:
            hidden_TH = self._hidden_states(view)[rows_T, positions_T - 1]
            weight_VH = self.output_weight.detach().to(hidden_TH.dtype)
            losses_T: Tensor = MeanNextTokenLoss.apply(hidden_TH, weight_VH, labels_T)[1]
            return losses_T
        logits_TV = self.network(**view).logits[rows_T, positions_T - 1].float()
        return nn.functional.cross_entropy(logits_TV, labels_T, reduction="none")

    def _hidden_states(self, view: dict[str, Any]) -> Tensor:
        """Last hidden states of a pass, shape (B, L, H)."""
        trunk = self.network.base_model
        if "position_ids" not in view and is_plain_llama(trunk):
            return hidden_states(trunk, view["input_ids"])
        hidden_BLH: Tensor = trunk(**view).last_hidden_state
        return hidden_BLH

    def training_view(self, input_BL: Tensor) -> dict[str, Any]:
        """Arguments of the network's pass over training samples."""
        return self.whole_view(input_BL) if self._reset_at is None else self._view_of_documents(input_BL)

    @staticmethod
    def whole_view(input_BL: Tensor) -> dict[str, Any]:
        """Arguments of a pass in which every position sees all before it.

        Without a mask, transformers 4.57 looks for packed sequences and builds a mask of its own,
        which takes longer than a small model; one of ones lets it use plain causal attention. It
        does not come from `input_BL`, so that under vmap transformers can look at its values.
        """
        ones_BL = torch.ones(input_BL.shape, dtype=input_BL.dtype, device=input_BL.device)
        return {"input_ids": input_BL, "attention_mask": ones_BL, "use_cache": False}

    def _view_of_documents(self, input_BL: Tensor) -> dict[str, Any]:
        """Arguments of a pass in which every position sees its own document alone."""
        assert self._reset_at is not None
        segments_BL = document_segments(input_BL, eot_id=self._reset_at)
        return {
            "input_ids": input_BL,
            "attention_mask": document_mask(segments_BL),
            "position_ids": document_positions(segments_BL),
            "use_cache": False,
        }

    @property
    def output_weight(self) -> nn.Parameter:
        """Weight of the output layer, shape (V, H); the embedding itself where they are tied."""
        weight_VH: nn.Parameter = self.network.get_output_embeddings().weight
        return weight_VH

    @property
    def max_length(self) -> int:
        """Longest sequence that is scored: what the model has positions for, if it has a table of them."""
        return positions_of(self.network.config) or LENGTH_WITHOUT_POSITIONS

    @property
    def parameters_count(self) -> int:
        """Number of weights, shared ones once."""
        return sum(weight.numel() for weight in self.network.parameters())


def _train_pad_token(network: PreTrainedModel) -> None:
    """Lets the pad token learn as an input: no sample has pads, and in many models it is the end of text.

    transformers keeps the gradient of its embedding at zero.
    """
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            module.padding_idx = None


def _check_resettable(config: PretrainedConfig) -> None:
    attention = config._attn_implementation
    if config.model_type not in _RESETTABLE or attention != "sdpa":
        raise InputError(
            f"reset_at_documents works only with {' and '.join(_RESETTABLE)} models and sdpa attention, "
            f"but this model is {config.model_type} with {attention}; set reset_at_documents: false"
        )
