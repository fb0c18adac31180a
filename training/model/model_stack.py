"""Models of one shape whose passes are one call, each with weights of its own.

A small model is too small for a GPU: launching its kernels takes longer than they do. Under
`torch.func.vmap` the kernels of all models of a stack are launched together. Two parts do not go
through it. Attention has no weights, so to it the rows of all models are one larger batch, which the
fused kernels take; vmap has no rule for those on a CPU. The output layer and the loss take the
models as one more dimension of their products (`dmix.training.model.loss`). The gradient of the sum of all
losses is the gradient of each model's own loss with respect to its own weights.

Shapes: P models, B samples, L tokens, T chosen tokens, H hidden size; attention has heads N and
head size E, rows R = P * B.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from dmix.training.model.language_model import LanguageModel, has_plain_output
from dmix.training.model.loss import MeanNextTokenLoss, next_token_losses
from dmix.warehouse_schema.errors import InputError

_ATTENTION = "dmix_stack"
_OUTPUT = "output"
# What the families that can be stacked call their dropouts.
_DROPOUTS = ("attention_dropout", "hidden_dropout")


@dataclass(frozen=True, eq=False)
class ModelStack:
    """P models of one shape.

    Attributes:
        model: Lends its shape; its own weights are not used.
        weights: By name, each of shape (P, ...): those of its network below the output layer, and of
            the output layer where that is not the embedding.
        output_name: Name of the output layer's weight among them.
    """

    model: LanguageModel
    weights: dict[str, Tensor]
    output_name: str

    @classmethod
    def of_copies(cls, model: LanguageModel, copies: int) -> "ModelStack":
        """A stack that starts with the model's weights; the model is for the stack alone from then on.

        Raises:
            InputError: If such models cannot be stacked.
        """
        check_stackable(model.network)
        model.network.set_attn_implementation(_ATTENTION)
        found = stacked_parameters(model)
        weights = {
            name: weight.detach().expand(copies, *weight.shape).clone().requires_grad_()
            for name, weight in found.items()
        }
        return cls(model, weights, next(name for name, w in found.items() if w is model.output_weight))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.weights[self.output_name].device

    def losses(self, input_PBL: Tensor) -> Tensor:
        """Mean loss of each model on its own samples, nats per token, shape (P,)."""
        hidden_PBLH = vmap(self._hidden)(self._trunk, input_PBL)
        mean_P, _ = next_token_losses(hidden_PBLH, self.weights[self.output_name], input_PBL)
        return mean_P

    @torch.no_grad()
    def losses_at(self, input_BL: Tensor, rows_T: Tensor, positions_T: Tensor) -> Tensor:
        """As `LanguageModel.losses_at`, of each model on the same samples, shape (P, T)."""
        view = self.model.whole_view(input_BL)
        hidden_PBLH = vmap(partial(self._pass, view=view))(self._trunk)
        hidden_PTH = hidden_PBLH[:, rows_T, positions_T - 1]
        weight_PVH = self.weights[self.output_name].detach().to(hidden_PTH.dtype)
        labels_PT = input_BL[rows_T, positions_T].expand(len(hidden_PTH), -1)
        losses_PT: Tensor = MeanNextTokenLoss.apply(hidden_PTH, weight_PVH, labels_PT)[1]
        return losses_PT

    def subset(self, places: Sequence[int]) -> "ModelStack":
        """A stack of some of the models, with copies of their weights."""
        chosen = {
            name: weight.detach()[list(places)].requires_grad_() for name, weight in self.weights.items()
        }
        return ModelStack(self.model, chosen, self.output_name)

    @property
    def _trunk(self) -> dict[str, Tensor]:
        return {name: weight for name, weight in self.weights.items() if name != _OUTPUT}

    def _hidden(self, weights: dict[str, Tensor], input_BL: Tensor) -> Tensor:
        return self._pass(weights, view=self.model.training_view(input_BL))

    def _pass(self, weights: dict[str, Tensor], *, view: dict[str, Any]) -> Tensor:
        network = self.model.network.base_model
        hidden_BLH: Tensor = functional_call(network, weights, kwargs=view).last_hidden_state
        return hidden_BLH


def stacked_parameters(model: LanguageModel) -> dict[str, torch.nn.Parameter]:
    """The parameters of one model under the names that a stack gives them, tied ones once."""
    found = dict(model.network.base_model.named_parameters())
    output = model.output_weight
    return found if any(weight is output for weight in found.values()) else {**found, _OUTPUT: output}


def check_stackable(network: PreTrainedModel) -> None:
    """Refuses networks whose stack would not train each model as it is trained by itself.

    Raises:
        InputError: If the family has another output layer, or the model has dropout, whose draws
            would depend on the stack.
    """
    if not has_plain_output(network):
        raise InputError(
            f"dmix cannot train several models of the family {network.config.model_type} at "
            "once; give --stack 1"
        )
    drops = [name for name in _DROPOUTS if getattr(network.config, name, 0)]
    if drops:
        raise InputError(
            f"dmix cannot train several models with {drops[0]} at once, because the dropped values would "
            f"depend on the stack; set {drops[0]} to 0 under 'config' in the proxy file, or give --stack "
            "1"
        )


class _RowsOfAll(torch.autograd.Function):
    """Attention over the rows of all models of a stack as one batch.

    Under vmap torch calls `vmap` below with the stacked tensors, and what it does there is
    differentiated as if there were no vmap.
    """

    @staticmethod
    def forward(
        query_BNLE: Tensor,
        key_BNLE: Tensor,
        value_BNLE: Tensor,
        mask: Tensor | None,
        attend: Callable[..., Tensor],
    ) -> Tensor:
        return attend(query_BNLE, key_BNLE, value_BNLE, mask)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to keep; torch asks for it of a function that vmap may call."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        *tensors, attend = inputs
        rows = [
            None if tensor is None else _as_rows(tensor, dim, models=info.batch_size)
            for tensor, dim in zip(tensors, in_dims, strict=False)
        ]
        return attend(*rows).unflatten(0, (info.batch_size, -1)), 0


def _as_rows(tensor: Tensor, dim: int | None, *, models: int) -> Tensor:
    """(P, B, ...), or (B, ...) if all models share it, as (P * B, ...)."""
    stacked = tensor.expand(models, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
    return stacked.flatten(0, 1)


def _stack_attention(
    module: torch.nn.Module,
    query_BNLE: Tensor,
    key_BNLE: Tensor,
    value_BNLE: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """What transformers calls for attention: its own way to torch's fused kernels, for all rows."""

    def attend(query_RNLE: Tensor, key_RNLE: Tensor, value_RNLE: Tensor, mask: Tensor | None) -> Tensor:
        output: Tensor = sdpa_attention_forward(module, query_RNLE, key_RNLE, value_RNLE, mask, **options)[0]
        return output

    return _RowsOfAll.apply(query_BNLE, key_BNLE, value_BNLE, attention_mask, attend), None


AttentionInterface.register(_ATTENTION, _stack_attention)
AttentionMaskInterface.register(_ATTENTION, sdpa_mask)
