"""Cross entropy of the next token without the table of logits.

A batch of 4,096 tokens over a vocabulary of 8,192 has 134 MB of logits; writing and reading them
several times is most of the time that a small model takes on a CPU. Here the output layer and the
loss go together, a few hundred tokens at a time, and the gradient of the mean is formed on the way,
so nothing larger than one chunk of logits exists. In fp32 on a CPU a chunk goes in tiles of the
vocabulary: all that happens to the logits of a tile happens while they are in the core's cache.

The models of a stack go through it together: every shape may begin with one more dimension, P.

Traded away: the gradient is that of the mean over tokens, so only the mean may be differentiated;
the losses of single tokens come along as plain numbers.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dmix.training.model.settings import CHUNK_TOKENS

# tokens T, hidden size H, vocabulary V, chunk C, tile U; models of a stack P

# Tokens and vocabulary of a tile of half a MB; others were slower.
_TILE_TOKENS, _TILE_VOCABULARY = 512, 256
# Sums of exponentials whose products with hidden states and gradients keep all digits in float32.
_TOTALS = (1e-30, 1e30)


class _Sums(NamedTuple):
    """Losses of the tokens, and gradients of their sum; None for gradients that nobody wants."""

    losses_T: Tensor
    grad_hidden_TH: Tensor | None
    grad_weight_VH: Tensor | None


class MeanNextTokenLoss(torch.autograd.Function):
    """Mean cross entropy of `hidden @ weight.T` against labels, in nats per token."""

    @staticmethod
    def forward(ctx: Any, hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor) -> tuple[Tensor, Tensor]:
        # a frozen output layer (adapters) is spared the larger of the two products
        trains_weight = weight_VH.requires_grad
        wanted = (hidden_TH.requires_grad or trains_weight, trains_weight)
        inputs = hidden_TH, weight_VH, labels_T, wanted
        sums = _tiles_of_stack(*inputs) if _fits(hidden_TH, weight_VH) else None
        losses_T, *grads = sums or _by_chunks(*inputs)
        if wanted[0]:
            num_tokens = labels_T.shape[-1]
            ctx.save_for_backward(*(grad if grad is None else grad.div_(num_tokens) for grad in grads))
        ctx.mark_non_differentiable(losses_T)
        return losses_T.mean(-1), losses_T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        grad_hidden_TH, grad_weight_VH = ctx.saved_tensors
        gradient_11 = gradients[0][..., None, None]
        grad_weight_VH = None if grad_weight_VH is None else gradient_11 * grad_weight_VH
        return gradient_11 * grad_hidden_TH, grad_weight_VH, None


def _by_chunks(hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor, wanted: tuple[bool, bool]) -> _Sums:
    """Of one model or a stack, on any device and in any precision."""
    losses_T = torch.empty(labels_T.shape, dtype=torch.float32, device=hidden_TH.device)
    grad_hidden_TH = torch.empty_like(hidden_TH) if wanted[0] else None
    grad_weight_HV = torch.zeros_like(weight_VH.mT, dtype=torch.float32) if wanted[1] else None
    for start in range(0, labels_T.shape[-1], CHUNK_TOKENS):
        part = slice(start, start + CHUNK_TOKENS)
        hidden_CH, labels_C1 = hidden_TH[..., part, :], labels_T[..., part, None]
        log_chance_CV = (hidden_CH @ weight_VH.mT).float().log_softmax(-1)
        losses_T[..., part] = -log_chance_CV.gather(-1, labels_C1)[..., 0]
        if grad_hidden_TH is None:
            continue
        # d loss / d logits = chances - one hot
        grad_CV = log_chance_CV.exp_().scatter_add_(-1, labels_C1, -torch.ones_like(labels_C1).float())
        grad_CV = grad_CV.to(hidden_TH.dtype)
        grad_hidden_TH[..., part, :] = grad_CV @ weight_VH.to(grad_CV.dtype)
        if grad_weight_HV is not None:
            _add_product(grad_weight_HV, hidden_CH.mT, grad_CV)
    grad_weight_VH = None if grad_weight_HV is None else grad_weight_HV.mT.to(weight_VH.dtype)
    return _Sums(losses_T, grad_hidden_TH, grad_weight_VH)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Adds left @ right to a float32 matrix, or to one a model of a stack."""
    if left.dtype != total.dtype or torch.is_autocast_enabled(left.device.type):
        total += (left @ right).float()
    elif total.dim() == 2:
        total.addmm_(left, right)
    else:
        total.baddbmm_(left, right)


def _fits(hidden_TH: Tensor, weight_VH: Tensor) -> bool:
    """Whether products are those of fp32 on a CPU, which tiles make faster."""
    plain = hidden_TH.dtype == weight_VH.dtype == torch.float32
    return plain and hidden_TH.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def _tiles_of_stack(
    hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor, wanted: tuple[bool, bool]
) -> _Sums | None:
    """`_by_tiles` of one model, or of those of a stack one after another."""
    if hidden_TH.dim() == 2:
        return _by_tiles(hidden_TH, weight_VH, labels_T, wanted)
    found: list[_Sums] = []
    for one in zip(hidden_TH, weight_VH, labels_T, strict=True):
        sums = _by_tiles(*one, wanted)
        if sums is None:
            return None
        found.append(sums)
    losses, grads_hidden, grads_weight = (list(parts) for parts in zip(*found, strict=True))
    return _Sums(torch.stack(losses), _stacked(grads_hidden), _stacked(grads_weight))


def _stacked(grads: list[Tensor | None]) -> Tensor | None:
    """One gradient of all models; None where nobody wants theirs."""
    wanted = [grad for grad in grads if grad is not None]
    return torch.stack(wanted) if wanted else None


def _by_tiles(
    hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor, wanted: tuple[bool, bool]
) -> _Sums | None:
    """Of one model in fp32 on a CPU; None where logits are so large or small that totals leave `_TOTALS`.

    The chances of a token are exponentials of the logits themselves, divided by their total. The gradient of
    the weight waits for the total of the whole vocabulary, and the exponentials of a chunk with it; all else
    is done tile by tile.
    """
    right_TH = weight_VH[labels_T]
    losses_T = -(hidden_TH * right_TH).sum(-1)
    grad_hidden_TH = torch.zeros_like(hidden_TH) if wanted[0] else None
    weights = weight_VH.split(_TILE_VOCABULARY)
    grads_HU = [weight_UH.new_zeros(weight_UH.shape[::-1]) for weight_UH in weights] if wanted[1] else []
    tiles = _tiles(hidden_TH, weights, apart=wanted[1])
    for start in range(0, len(labels_T), _TILE_TOKENS):
        part = slice(start, start + _TILE_TOKENS)
        hidden_CH, grad_CH = hidden_TH[part], None if grad_hidden_TH is None else grad_hidden_TH[part]
        if len(hidden_CH) < len(tiles[0]):
            tiles = [tile[: len(hidden_CH)] for tile in tiles]
        total_C = _totals(hidden_CH, weights, tiles, grad_CH)
        least, most = (float(bound) for bound in total_C.aminmax())
        if not (_TOTALS[0] < least and most < _TOTALS[1]):
            return None
        losses_T[part] += total_C.log()
        if grad_CH is not None:
            grad_CH.div_(total_C[:, None])
        if grads_HU:
            scaled_HC = (hidden_CH / total_C[:, None]).T
            for grad_HU, tile_CU in zip(grads_HU, tiles, strict=True):
                grad_HU.addmm_(scaled_HC, tile_CU)
    # d loss / d logits = chances - one hot
    if grad_hidden_TH is not None:
        grad_hidden_TH.sub_(right_TH)
    grad_weight_VH = None
    if grads_HU:
        grad_weight_VH = torch.cat([grad_HU.T for grad_HU in grads_HU])
        grad_weight_VH.index_add_(0, labels_T, hidden_TH, alpha=-1)
    return _Sums(losses_T, grad_hidden_TH, grad_weight_VH)


def _tiles(hidden_TH: Tensor, weights: tuple[Tensor, ...], *, apart: bool) -> list[Tensor]:
    """Room for the logits of a chunk, a tile for each part of the vocabulary; the same one unless `apart`."""
    rows = min(_TILE_TOKENS, len(hidden_TH))
    if apart:
        return [hidden_TH.new_empty(rows, len(weight_UH)) for weight_UH in weights]
    room = hidden_TH.new_empty(rows, len(weights[0]))
    return [room[:, : len(weight_UH)] for weight_UH in weights]


def _totals(
    hidden_CH: Tensor, weights: tuple[Tensor, ...], tiles: list[Tensor], grad_CH: Tensor | None
) -> Tensor:
    """Sums of the exponentials of the logits of each token, shape (C,).

    Args:
        hidden_CH: Hidden states of a chunk.
        weights: The rows of the weight by tile.
        tiles: Room for the exponentials of each tile, in which they stay.
        grad_CH: Their products with the weight are added to it.
    """
    total_C, one_U = hidden_CH.new_zeros(len(hidden_CH)), hidden_CH.new_ones(len(weights[0]))
    for weight_UH, tile_CU in zip(weights, tiles, strict=True):
        torch.mm(hidden_CH, weight_UH.T, out=tile_CU).exp_()
        total_C.addmv_(tile_CU, one_U[: len(weight_UH)])
        if grad_CH is not None:
            grad_CH.addmm_(tile_CU, weight_UH)
    return total_C


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
