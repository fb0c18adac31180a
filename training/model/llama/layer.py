"""Parts of a LLaMA layer that are one operation each, with a backward pass of its own, for fp32 on a CPU.

In a small model, the passes over memory between the matrix products (norms, rotation, activation, copies)
take almost as long as the products. Here they are few. The weights of a norm go into those of the layers
behind it. Queries, keys and values are one product. The rows of their weights are put in pairs first,
so that the rotation is a product of complex numbers; this changes no score of attention.

The mathematics is that of transformers' LlamaDecoderLayer. Traded away: gradients of gradients, and
bits of rounding.

Shapes: B rows, L positions, T = B * L tokens, H hidden size, I feed-forward size; N heads of size E, A = N E
values of queries, K of keys and of values, J = A + 2 K, C = (A + K) / 2 pairs that are turned.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Tokens that go through the feed-forward layers at a time.
_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes that the weights do not say.

    Attributes:
        rows: B.
        length: L.
        size: E, the size of a head.
        epsilon: Added to the mean square of a norm.
    """

    rows: int
    length: int
    size: int
    epsilon: float


class Heads(torch.autograd.Function):
    """Turned queries, turned keys, and values of norm(x)."""

    @staticmethod
    def forward(  # noqa: PLR0917 - torch hands everything over by position
        ctx: Any,
        x_TH: Tensor,
        norm_H: Tensor,
        query_AH: Tensor,
        key_KH: Tensor,
        value_KH: Tensor,
        turns_LC: Tensor,
        shape: Shape,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of shape (B, N, L, E), keys and values of shape (B, K / E, L, E), views of one tensor.

        Args:
            ctx: Of torch.
            x_TH: Hidden states.
            norm_H: Weight of the norm.
            query_AH: Weights of queries; those of keys and values follow.
            turns_LC: What each position turns the pairs of queries and keys by, complex.
            shape: Other sizes.
        """
        unit_TH, scale_T1 = unit(x_TH, shape.epsilon)
        plain_JH = torch.cat((in_pairs(query_AH, shape.size), in_pairs(key_KH, shape.size), value_KH))
        weight_JH = plain_JH * norm_H
        heads_BLJ = (unit_TH @ weight_JH.T).view(shape.rows, shape.length, -1)
        _turning(heads_BLJ, turns_LC).mul_(turns_LC)
        ctx.shape, ctx.widths = shape, (len(query_AH), len(key_KH), len(value_KH))
        ctx.save_for_backward(unit_TH, scale_T1, norm_H, plain_JH, weight_JH, turns_LC)
        query, key, value = (
            part.unflatten(-1, (-1, shape.size)).transpose(1, 2) for part in heads_BLJ.split(ctx.widths, -1)
        )
        return query, key, value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        unit_TH, scale_T1, norm_H, plain_JH, weight_JH, turns_LC = ctx.saved_tensors
        shape: Shape = ctx.shape
        grad_TJ = unit_TH.new_empty(len(unit_TH), len(weight_JH))
        grad_BLJ = grad_TJ.view(shape.rows, shape.length, -1)
        for part, grad in zip(grad_BLJ.split(ctx.widths, -1), grads, strict=True):
            part.unflatten(-1, (-1, shape.size)).copy_(grad.transpose(1, 2))
        _turning(grad_BLJ, turns_LC).mul_(turns_LC.conj())
        grad_weight_JH = grad_TJ.T @ unit_TH
        grad_norm_H = (grad_weight_JH * plain_JH).sum(0)
        query_AH, key_KH, value_KH = grad_weight_JH.mul_(norm_H).split(ctx.widths)
        return (
            unit_backward(grad_TJ @ weight_JH, unit_TH, scale_T1),
            grad_norm_H,
            out_of_pairs(query_AH, shape.size),
            out_of_pairs(key_KH, shape.size),
            value_KH,
            None,
            None,
        )


class FeedForwardHalf(torch.autograd.Function):
    """x + down(silu(gate(norm(x))) * up(norm(x))), so many tokens at a time as stay in the cache."""

    @staticmethod
    def forward(  # noqa: PLR0917 - torch hands everything over by position
        ctx: Any,
        x_TH: Tensor,
        norm_H: Tensor,
        gate_IH: Tensor,
        up_IH: Tensor,
        down_HI: Tensor,
        epsilon: float,
    ) -> Tensor:
        """Hidden states after the half, shape (T, H)."""
        unit_TH, scale_T1 = unit(x_TH, epsilon)
        gate_HI, up_HI = (gate_IH * norm_H).T, (up_IH * norm_H).T
        gated_TI, up_TI = x_TH.new_empty(2, len(x_TH), len(gate_IH))
        y_TH = torch.empty_like(x_TH)
        room = _wide_room(gated_TI, 1)
        for part in _parts(x_TH):
            gated = torch.mm(unit_TH[part], gate_HI, out=gated_TI[part])
            up = torch.mm(unit_TH[part], up_HI, out=up_TI[part])
            wide = torch.sigmoid(gated, out=room[0, : len(up)]).mul_(gated).mul_(up)
            torch.addmm(x_TH[part], wide, down_HI.T, out=y_TH[part])
        ctx.save_for_backward(unit_TH, scale_T1, norm_H, gate_IH, up_IH, down_HI, gated_TI, up_TI)
        return y_TH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TH: Tensor) -> tuple[Tensor | None, ...]:
        unit_TH, scale_T1, norm_H, gate_IH, up_IH, down_HI, gated_TI, up_TI = ctx.saved_tensors
        normed_gate_IH, normed_up_IH = gate_IH * norm_H, up_IH * norm_H
        grad_gate_IH, grad_up_IH = torch.zeros_like(gate_IH), torch.zeros_like(up_IH)
        grad_down_HI, grad_unit_TH = torch.zeros_like(down_HI), torch.empty_like(grad_TH)
        room = _wide_room(gated_TI, 3)
        for part in _parts(grad_TH):
            gated, up, unit_part, grad = gated_TI[part], up_TI[part], unit_TH[part], grad_TH[part]
            chance, other, grad_wide = room[:, : len(grad)]
            torch.sigmoid(gated, out=chance)
            active = torch.mul(chance, gated, out=other)
            torch.mm(grad, down_HI, out=grad_wide)
            # silu'(x) = sigmoid(x) * (1 + x - silu(x))
            slope = chance.addcmul_(chance, gated - active)
            grad_gated = slope.mul_(up).mul_(grad_wide)
            grad_up = grad_wide.mul_(active)
            grad_down_HI.addmm_(grad.T, active.mul_(up))
            grad_gate_IH.addmm_(grad_gated.T, unit_part)
            grad_up_IH.addmm_(grad_up.T, unit_part)
            torch.mm(grad_gated, normed_gate_IH, out=grad_unit_TH[part]).addmm_(grad_up, normed_up_IH)
        grad_norm_H = (grad_gate_IH * gate_IH).sum(0) + (grad_up_IH * up_IH).sum(0)
        return (
            unit_backward(grad_unit_TH, unit_TH, scale_T1).add_(grad_TH),
            grad_norm_H,
            grad_gate_IH.mul_(norm_H),
            grad_up_IH.mul_(norm_H),
            grad_down_HI,
            None,
        )


class Norm(torch.autograd.Function):
    """The norm behind the last layer."""

    @staticmethod
    def forward(ctx: Any, x_TH: Tensor, norm_H: Tensor, epsilon: float) -> Tensor:
        unit_TH, scale_T1 = unit(x_TH, epsilon)
        ctx.save_for_backward(unit_TH, scale_T1, norm_H)
        return unit_TH * norm_H

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TH: Tensor) -> tuple[Tensor | None, ...]:
        unit_TH, scale_T1, norm_H = ctx.saved_tensors
        return unit_backward(grad_TH * norm_H, unit_TH, scale_T1), (grad_TH * unit_TH).sum(0), None


def unit(x_TH: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """x / sqrt(mean(x^2) + epsilon), and 1 over that root, shape (T, 1)."""
    length_T1 = torch.linalg.vector_norm(x_TH, dim=-1, keepdim=True)
    scale_T1 = length_T1.square_().div_(x_TH.shape[-1]).add_(epsilon).rsqrt_()
    return x_TH * scale_T1, scale_T1


def unit_backward(grad_TH: Tensor, unit_TH: Tensor, scale_T1: Tensor) -> Tensor:
    """Gradient of x from that of its `unit`."""
    along_T1 = (grad_TH * unit_TH).mean(-1, keepdim=True)
    return torch.addcmul(grad_TH, unit_TH, along_T1, value=-1).mul_(scale_T1)


def in_pairs(weight_AH: Tensor, size: int) -> Tensor:
    """Rows i and i + E / 2 of each head next to each other: what transformers' rotation turns together."""
    return weight_AH.unflatten(0, (-1, 2, size // 2)).transpose(1, 2).flatten(0, 2)


def out_of_pairs(weight_AH: Tensor, size: int) -> Tensor:
    """Undoes `in_pairs`."""
    return weight_AH.unflatten(0, (-1, size // 2, 2)).transpose(1, 2).flatten(0, 2)


def _parts(x_TH: Tensor) -> list[slice]:
    return [slice(first, first + _TOKENS) for first in range(0, len(x_TH), _TOKENS)]


def _wide_room(wide_TI: Tensor, count: int) -> Tensor:
    """Room for the feed-forward values of a part of the tokens, `count` times, used again by every part."""
    return wide_TI.new_empty(count, min(_TOKENS, len(wide_TI)), wide_TI.shape[1])


def _turning(heads_BLJ: Tensor, turns_LC: Tensor) -> Tensor:
    """A view of queries and keys, pairs as complex numbers, shape (B, L, C)."""
    return torch.view_as_complex(heads_BLJ.unflatten(-1, (-1, 2)))[..., : turns_LC.shape[-1]]
