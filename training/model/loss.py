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

# tokens T, hidden size H, vocabulary V, chunk C; models of a stack P
CHUNK_TOKENS = 256


class MeanNextTokenLoss(torch.autograd.Function):
    """Mean cross entropy of `hidden @ weight.T` against labels, in nats a token."""

    @staticmethod
    def forward(ctx: Any, hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor) -> tuple[Tensor, Tensor]:
        num_tokens = labels_T.shape[-1]
        wants_gradient = hidden_TH.requires_grad or weight_VH.requires_grad
        losses_T = torch.empty(labels_T.shape, dtype=torch.float32, device=hidden_TH.device)
        grad_hidden_TH = torch.empty_like(hidden_TH) if wants_gradient else None
        grad_weight_VH = torch.zeros_like(weight_VH, dtype=torch.float32) if wants_gradient else None
        for start in range(0, num_tokens, CHUNK_TOKENS):
            part = slice(start, start + CHUNK_TOKENS)
            hidden_CH, labels_C1 = hidden_TH[..., part, :], labels_T[..., part, None]
            logits_CV = (hidden_CH @ weight_VH.mT).float()
            picked_C1 = logits_CV.gather(-1, labels_C1)
            peak_C1 = logits_CV.amax(-1, keepdim=True)
            exponentials_CV = logits_CV.sub_(peak_C1).exp_()
            total_C1 = exponentials_CV.sum(-1, keepdim=True)
            losses_T[..., part] = (total_C1.log() + peak_C1 - picked_C1)[..., 0]
            if grad_hidden_TH is None or grad_weight_VH is None:
                continue
            # d mean / d logits = (softmax - one hot) / T
            grad_CV = exponentials_CV.div_(total_C1 * num_tokens)
            grad_CV.scatter_add_(-1, labels_C1, torch.full_like(total_C1, -1.0 / num_tokens))
            grad_CV = grad_CV.to(hidden_TH.dtype)
            grad_hidden_TH[..., part, :] = grad_CV @ weight_VH.to(grad_CV.dtype)
            grad_weight_VH += (grad_CV.mT @ hidden_CH).float()
        if grad_hidden_TH is not None and grad_weight_VH is not None:
            ctx.save_for_backward(grad_hidden_TH, grad_weight_VH.to(weight_VH.dtype))
        ctx.mark_non_differentiable(losses_T)
        return losses_T.mean(-1), losses_T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_hidden_TH, grad_weight_VH = ctx.saved_tensors
        gradient_11 = gradients[0][..., None, None]
        return gradient_11 * grad_hidden_TH, gradient_11 * grad_weight_VH, None


def next_token_losses(
    hidden_BLH: Tensor, output_weight_VH: Tensor, input_ids_BL: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean loss to differentiate, and the loss of each predicted token.

    Args:
        hidden_BLH: Last hidden states, shape (B, L, H), or (P, B, L, H) of a stack.
        output_weight_VH: Weight of an output layer without bias, shape (V, H) or (P, V, H).
        input_ids_BL: Token ids, shape (B, L) or (P, B, L); position l predicts token l + 1.

    Returns:
        The mean in nats a token, scalar or of shape (P,), and detached losses of shape (B, L - 1)
        or (P, B, L - 1), float32.
    """
    hidden_TH = hidden_BLH[..., :-1, :].flatten(-3, -2)
    labels_BL = input_ids_BL[..., 1:]
    mean, losses_T = MeanNextTokenLoss.apply(
        hidden_TH, output_weight_VH.to(hidden_TH.dtype), labels_BL.flatten(-2)
    )
    return mean, losses_T.view(labels_BL.shape)
