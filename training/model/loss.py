"""Cross entropy of the next token without the table of logits.

A batch of 4,096 tokens over a vocabulary of 8,192 has 134 MB of logits; writing and reading them
several times is most of the time that a small model takes on a CPU. Here the output layer and the
loss go together, a few hundred tokens at a time, and the gradient of the mean is formed on the way,
so nothing larger than one chunk of logits exists.

The models of a stack go through it together: every shape may begin with one more dimension, P.

Traded away: the gradient is that of the mean over tokens, so only the mean may be differentiated;
the losses of single tokens come along as plain numbers.
"""

from typing import Any

import torch
from torch import Tensor

from dmix.training.model.settings import CHUNK_TOKENS

# tokens T, hidden size H, vocabulary V, chunk C; models of a stack P

# Sums of exponentials whose products with hidden states and gradients keep all digits in float32.
_TOTALS = (1e-30, 1e30)


class MeanNextTokenLoss(torch.autograd.Function):
    """Mean cross entropy of `hidden @ weight.T` against labels, in nats per token."""

    @staticmethod
    def forward(ctx: Any, hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor) -> tuple[Tensor, Tensor]:
        num_tokens = labels_T.shape[-1]
        wants_gradient = hidden_TH.requires_grad or weight_VH.requires_grad
        losses_T = torch.empty(labels_T.shape, dtype=torch.float32, device=hidden_TH.device)
        grad_hidden_TH = torch.empty_like(hidden_TH) if wants_gradient else None
        # a frozen output layer (adapters) is spared the larger of the two products
        trains_weight = wants_gradient and weight_VH.requires_grad
        grad_weight_HV = torch.zeros_like(weight_VH.mT, dtype=torch.float32) if trains_weight else None
        buffer = _buffer(hidden_TH, weight_VH)
        for start in range(0, num_tokens, CHUNK_TOKENS):
            part = slice(start, start + CHUNK_TOKENS)
            hidden_CH, labels_C1 = hidden_TH[..., part, :], labels_T[..., part, None]
            losses_T[..., part], chance_CV, total_C1 = _losses(hidden_CH, weight_VH, labels_C1, buffer)
            if grad_hidden_TH is None:
                continue
            # d loss / d logits = chances / total - one hot; divided by total and T on the small results
            chance_CV.scatter_add_(-1, labels_C1, -total_C1)
            grad_CV = chance_CV.to(hidden_TH.dtype)
            grad_hidden_TH[..., part, :] = (grad_CV @ weight_VH.to(grad_CV.dtype)).div_(total_C1)
            if grad_weight_HV is not None:
                _add_product(grad_weight_HV, (hidden_CH / total_C1.to(hidden_CH.dtype)).mT, grad_CV)
        if grad_hidden_TH is not None:
            grad_weight_VH = (
                None if grad_weight_HV is None else grad_weight_HV.div_(num_tokens).mT.to(weight_VH.dtype)
            )
            ctx.save_for_backward(grad_hidden_TH.div_(num_tokens), grad_weight_VH)
        ctx.mark_non_differentiable(losses_T)
        return losses_T.mean(-1), losses_T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        grad_hidden_TH, grad_weight_VH = ctx.saved_tensors
        gradient_11 = gradients[0][..., None, None]
        grad_weight_VH = None if grad_weight_VH is None else gradient_11 * grad_weight_VH
        return gradient_11 * grad_hidden_TH, grad_weight_VH, None


def _buffer(hidden_TH: Tensor, weight_VH: Tensor) -> Tensor | None:
    """Room for the logits of a chunk, where products are of one precision; None elsewhere.

    Without it, every chunk asks the system for fresh memory, which costs as much as a pass over it.
    """
    plain = hidden_TH.dtype == weight_VH.dtype == torch.float32
    if not plain or hidden_TH.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return None
    rows = min(CHUNK_TOKENS, hidden_TH.shape[-2])
    return torch.empty(*hidden_TH.shape[:-2], rows, weight_VH.shape[-2])


def _losses(
    hidden_CH: Tensor, weight_VH: Tensor, labels_C1: Tensor, buffer: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of a chunk, chances of the vocabulary before their division by a total, and the total, float32.

    In the buffer, the chances are exponentials of the logits themselves, which spares passes over the
    table; logits so large or small that a total leaves `_TOTALS` are taken less their largest, by softmax.
    """
    if buffer is not None:
        logits_CV = buffer[..., : hidden_CH.shape[-2], :]
        torch.matmul(hidden_CH, weight_VH.mT, out=logits_CV)
        picked_C1 = logits_CV.gather(-1, labels_C1)
        total_C1 = logits_CV.exp_().sum(-1, keepdim=True)
        least, most = (float(bound) for bound in total_C1.aminmax())
        if _TOTALS[0] < least and most < _TOTALS[1]:
            return (total_C1.log() - picked_C1)[..., 0], logits_CV, total_C1
    log_chance_CV = (hidden_CH @ weight_VH.mT).float().log_softmax(-1)
    losses_C = -log_chance_CV.gather(-1, labels_C1)[..., 0]
    return losses_C, log_chance_CV.exp_(), torch.ones_like(labels_C1, dtype=torch.float32)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Adds left @ right to a float32 matrix, or to one a model of a stack."""
    if left.dtype != total.dtype or torch.is_autocast_enabled(left.device.type):
        total += (left @ right).float()
    elif total.dim() == 2:
        total.addmm_(left, right)
    else:
        total.baddbmm_(left, right)


def next_token_losses(
    hidden_BLH: Tensor, output_weight_VH: Tensor, input_ids_BL: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean loss to differentiate, and the loss of each predicted token.

    Args:
        hidden_BLH: Last hidden states, shape (B, L, H), or (P, B, L, H) of a stack.
        output_weight_VH: Weight of an output layer without bias, shape (V, H) or (P, V, H).
        input_ids_BL: Token ids, shape (B, L) or (P, B, L); position l predicts token l + 1.

    Returns:
        The mean in nats per token, scalar or of shape (P,), and detached losses of shape (B, L - 1)
        or (P, B, L - 1), float32.
    """
    hidden_TH = hidden_BLH[..., :-1, :].flatten(-3, -2)
    labels_BL = input_ids_BL[..., 1:]
    mean, losses_T = MeanNextTokenLoss.apply(
        hidden_TH, output_weight_VH.to(hidden_TH.dtype), labels_BL.flatten(-2)
    )
    return mean, losses_T.view(labels_BL.shape)
