"""The compiled loops give the numbers of NumPy and SciPy, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmix.etl.classifiers import features, linear, loops
from dmix.etl.classifiers.embedded import WEIGHTS_PATH, EmbeddedClassifier
from dmix.etl.classifiers.features import NUM_FEATURES, WordTable, document_features
from dmix.etl.classifiers.linear import LinearModel
from dmix.etl.text.tokens import EMBEDDED_PATH

LIBRARY = loops.compiled()
needs_loops = pytest.mark.skipif(LIBRARY is None, reason="no C compiler was there at the installation")


@pytest.fixture(scope="module")
def table():
    return WordTable.of(EMBEDDED_PATH.read_bytes())


@pytest.fixture(scope="module")
def model():
    return LinearModel.load(WEIGHTS_PATH)


@pytest.fixture
def without(monkeypatch):
    for module in (features, linear):
        monkeypatch.setattr(module, "compiled", lambda: None)


def random_documents(seed, *, most_tokens=300, vocabulary=3000):
    """Ids of random documents, some empty, with runs of one id and ids beyond the vocabulary."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, most_tokens, size=generator.integers(1, 40)) * generator.integers(0, 2)
    lengths[0] = generator.integers(0, most_tokens)
    ids = generator.integers(0, vocabulary, size=lengths.sum())
    ids[generator.random(len(ids)) < 0.3] = generator.integers(0, vocabulary)
    ids[generator.random(len(ids)) < 0.02] = 10**6
    return ids.astype(np.uint32), lengths.astype(np.int64)


@needs_loops
@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_features_equal_those_of_numpy(table, seed):
    ids, lengths = random_documents(seed)
    compiled = document_features(ids, lengths, table=table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "compiled", lambda: None)
        plain = document_features(ids, lengths, table=table)
    for one, other in zip(compiled, plain, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@needs_loops
@pytest.mark.parametrize("documents", [1, 3, 40])
def test_logits_have_the_bits_of_scipys_product(model, documents):
    generator = np.random.default_rng(documents)
    sizes = generator.integers(0, 400, documents)
    flat = generator.integers(0, NUM_FEATURES, sizes.sum()).astype(np.int32)
    offsets = (np.cumsum(sizes) - sizes).astype(np.int32)
    compiled = model.logits(flat, offsets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "compiled", lambda: None)
        plain = model.logits(flat, offsets)
    assert compiled.tobytes() == plain.tobytes()


def test_labels_are_the_same_without_the_loops(without):
    texts = ["A theorem follows from the lemma.", "", "The senator voted. " * 900, "ไทย भाषा", "x" * 70_000]
    plain = EmbeddedClassifier().classify(texts)
    with pytest.MonkeyPatch.context() as patch:
        for module in (features, linear):
            patch.setattr(module, "compiled", loops.compiled)
        found = EmbeddedClassifier().classify(texts)
    for one, other in zip(vars(plain).values(), vars(found).values(), strict=True):
        np.testing.assert_array_equal(one, other)


@needs_loops
def test_lengths_that_do_not_fit_the_ids_and_rows_that_are_not_there_are_refused(table):
    ids = np.zeros(5, np.uint32)
    with pytest.raises(ValueError, match="5 ids"):
        document_features(ids, np.array([6]), table=table)
    with pytest.raises(ValueError, match="lengths"):
        document_features(ids, np.array([6, -1]), table=table)
    rows = np.zeros((4, 16), np.float32)
    for wrong in (-1, 4):
        with pytest.raises(ValueError, match="4 rows"):
            loops.compiled_row_sums(LIBRARY, np.array([0, wrong], np.int32), np.array([0, 2], np.int32), rows)


@pytest.fixture
def found_anew():
    loops.compiled.cache_clear()
    yield
    loops.compiled.cache_clear()


@pytest.mark.usefixtures("found_anew")
def test_a_library_that_is_damaged_counts_as_none(monkeypatch, tmp_path):
    monkeypatch.setattr(loops, "__file__", str(tmp_path / "loops.py"))
    assert loops.compiled() is None
    loops.compiled.cache_clear()
    (tmp_path / f"_loops{loops.machinery.EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")
    assert loops.compiled() is None


@needs_loops
@pytest.mark.usefixtures("found_anew")
def test_a_library_of_another_version_counts_as_none(monkeypatch):
    monkeypatch.setattr(loops, "INTERFACE", loops.INTERFACE + 1)
    assert loops.compiled() is None
