"""Where documents begin inside a sample, and what follows for attention and positions.

A sample is a run of tokens of one domain: documents one after the other, each ended by the
end-of-text token. Text can never encode to that token, so its places are the boundaries and nothing
else has to be stored. A segment begins with the end-of-text token that closes the document before:
it is the first thing that a document's tokens see, as in scoring, and it is still predicted from
the document that it ends. Shapes: B samples, L tokens per sample.
"""

import torch
from torch import Tensor


def document_segments(input_BL: Tensor, *, eot_id: int) -> Tensor:
    """Number of the document that each token belongs to, from 0 in every sample.

    Args:
        input_BL: Token ids, shape (B, L).
        eot_id: Id of the end-of-text token.

    Returns:
        int64, shape (B, L), rising along L; a sample that begins within a document begins with
        segment 0, one that begins with end-of-text with segment 1.
    """
    return (input_BL == eot_id).long().cumsum(1)


def document_positions(segments_BL: Tensor) -> Tensor:
    """Position of each token within its segment, from 0; int64, shape (B, L)."""
    length = segments_BL.shape[1]
    places_L = torch.arange(length, device=segments_BL.device)
    begins_BL = torch.ones_like(segments_BL, dtype=torch.bool)
    begins_BL[:, 1:] = segments_BL[:, 1:] != segments_BL[:, :-1]
    return places_L - (places_L * begins_BL).cummax(1).values


def document_mask(segments_BL: Tensor) -> Tensor:
    """Which tokens see which: themselves and earlier tokens of their segment.

    Returns:
        bool, shape (B, 1, L, L), True where the query (third) may look at the key (fourth); the
        form that `scaled_dot_product_attention` and transformers take.
    """
    same_BLL = segments_BL[:, :, None] == segments_BL[:, None, :]
    return same_BLL.tril()[:, None]
