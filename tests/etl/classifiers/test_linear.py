"""The linear model: its file, its sums, its ties."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from dmix.etl.classifiers.embedded import WEIGHTS_PATH, EmbeddedClassifier, most_probable
from dmix.etl.classifiers.features import NUM_FEATURES
from dmix.etl.classifiers.linear import LinearModel
from dmix.warehouse_schema.errors import InputError, NotFoundError


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"gone\.safetensors does not exist"):
        EmbeddedClassifier(tmp_path / "gone.safetensors").classify(["text"], {})


def test_file_that_holds_no_weights_is_refused(tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"no safetensors at all")
    with pytest.raises(InputError, match="is not a file of classifier weights"):
        LinearModel.load(path)


def test_weights_survive_saving(tmp_path):
    model = LinearModel.load(WEIGHTS_PATH)
    model.save(tmp_path / "copy.safetensors")
    assert (tmp_path / "copy.safetensors").read_bytes() == WEIGHTS_PATH.read_bytes()
    copy = LinearModel.load(tmp_path / "copy.safetensors")
    assert copy.taxonomy == model.taxonomy
    assert copy.prior_mass == model.prior_mass
    for name in ("weight", "mass", "bias"):
        assert np.array_equal(getattr(copy, name), getattr(model, name))


def test_lower_index_wins_a_tie():
    labels = most_probable(np.array([[0.2, 0.4, 0.4], [0.5, 0.3, 0.2]], np.float32))
    assert labels.index.tolist() == [1, 0]
    assert labels.margin.tolist() == pytest.approx([0.0, 0.2])


@pytest.mark.parametrize("documents", [1, 32, 33, 200])
def test_sums_are_those_of_scipys_sparse_product_to_the_last_bit(documents):
    model, rng = LinearModel.load(WEIGHTS_PATH), np.random.default_rng(documents)
    ends = np.append(0, np.cumsum(rng.integers(0, 700, documents))).astype(np.int32)
    features = rng.integers(0, NUM_FEATURES, ends[-1]).astype(np.int32)
    found = model._sums(features, ends)
    ones = np.ones(len(features), np.float32)
    expected = csr_array((ones, features, ends), shape=(documents, NUM_FEATURES)) @ model._table
    assert np.array_equal(found, expected[:, : found.shape[1]])
    assert np.array_equal(model._sums(features, ends)[:, : found.shape[1]], found)
