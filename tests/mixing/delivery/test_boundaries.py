"""Document boundaries from end-of-text tokens, worked by hand."""

import torch

from dmix.mixing.delivery.boundaries import document_mask, document_positions, document_segments

EOT = 9


def test_a_segment_begins_with_the_token_that_ends_the_document_before() -> None:
    ids = torch.tensor([[5, 6, EOT, 7, EOT, EOT], [EOT, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]])
    segments = document_segments(ids, eot_id=EOT)
    assert segments.tolist() == [[0, 0, 1, 1, 2, 3], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]]
    assert document_positions(segments).tolist() == [
        [0, 1, 0, 1, 0, 0],
        [0, 1, 2, 3, 4, 5],
        [0, 1, 2, 3, 4, 5],
    ]


def test_mask_is_causal_within_segments_and_closed_between_them() -> None:
    segments = document_segments(torch.tensor([[5, 6, EOT, 7]]), eot_id=EOT)
    assert document_mask(segments).int().tolist() == [
        [[[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]]
    ]


def test_single_token_and_empty_batch() -> None:
    single = document_segments(torch.tensor([[EOT]]), eot_id=EOT)
    assert document_positions(single).tolist() == [[0]]
    assert document_mask(single).tolist() == [[[[True]]]]
    assert document_mask(torch.zeros(0, 4, dtype=torch.int64)).shape == (0, 1, 4, 4)
