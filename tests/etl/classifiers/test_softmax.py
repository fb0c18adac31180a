import numpy as np
import pytest
import torch

from dmix.etl.classifiers.softmax import softmax

SUM_OF_BITS = 48_882_722_031_823
"""Of the probabilities below, each read as a whole number: what PyTorch 2.7 gave on AVX-512."""


def test_row_worked_by_hand():
    row = np.log(np.array([[1, 3, 4]], np.float32))
    np.testing.assert_allclose(softmax(row), [[0.125, 0.375, 0.5]], atol=1e-7)


def test_no_rows_give_none_and_far_ones_give_zero():
    assert softmax(np.zeros((0, 26), np.float32)).shape == (0, 26)
    assert softmax(np.array([[0, -1e4]], np.float32)).tolist() == [[1, 0]]
    assert softmax(np.array([[7]], np.float32)).tolist() == [[1]]


@pytest.mark.parametrize("columns", [2, 15, 16, 26, 33, 512])
def test_values_are_those_of_the_exact_one_to_the_last_bits(columns):
    rows = (np.random.default_rng(0).standard_normal((500, columns)) * 5).astype(np.float32)
    exact = torch.softmax(torch.from_numpy(rows).double(), dim=1).numpy()
    np.testing.assert_allclose(softmax(rows), exact, rtol=1e-6, atol=1e-10)


def test_bits_are_those_that_earlier_versions_had():
    rows = (np.random.default_rng(0).standard_normal((2000, 26)) * 5).astype(np.float32)
    assert softmax(rows).view(np.uint32).sum(dtype=np.uint64) == SUM_OF_BITS
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        assert np.array_equal(softmax(rows), torch.softmax(torch.from_numpy(rows), dim=1).numpy())
