"""An estimate from the domains of blocks, worked by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from dmix.etl.synthetic.start_state import estimate
from dmix.etl.synthetic.start_state.estimate import NO_TEXT, domain_counts, make_estimate
from dmix.etl.synthetic.start_state.settings import StartStateSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.taxonomy import Taxonomy

TAXONOMY = Taxonomy("two", ("A", "B"))
BLOCKS = [np.array([0, 0, NO_TEXT]), np.array([NO_TEXT] * 3), np.array([1, 0, 1])]
TOKENS = np.array([10, 20, 0, 0, 0, 0, 5, 1, 4])


@pytest.fixture
def plan(monkeypatch, tmp_path):
    """A plan whose blocks have these tokens, without files."""
    monkeypatch.setattr(
        estimate,
        "read_blocks",
        lambda folder, numbers: {"tokens": SimpleNamespace(to_numpy=lambda: TOKENS[: 3 * len(numbers)])},
    )
    monkeypatch.setattr(estimate, "require_facts", lambda path: SimpleNamespace(capped=1))
    monkeypatch.setattr(estimate.BlockFile, "of", classmethod(lambda cls, path: path.name))
    return SimpleNamespace(
        name="m",
        model=SimpleNamespace(max_tokens=32),
        job=SimpleNamespace(model="hub/m", digest="d", folder=tmp_path, settings=SimpleNamespace(seed=0)),
        settings=StartStateSettings(kl_bound=9.0),
        classifier=SimpleNamespace(name="embedded"),
        taxonomy=TAXONOMY,
        manifest=None,
    )


def test_documents_without_text_have_no_domain():
    assert domain_counts(BLOCKS, TAXONOMY).tolist() == [3, 2]
    assert domain_counts([], TAXONOMY).tolist() == [0, 0]


def test_shares_count_documents_and_tokens(plan):
    found = make_estimate(BLOCKS, plan)
    a, b = found.domains
    assert (a.documents, a.tokens, a.document_weight) == (3, 31, pytest.approx(0.6))
    assert (b.documents, b.tokens, b.token_weight) == (2, 9, pytest.approx(9 / 40))
    assert a.document_low <= a.document_weight <= a.document_high
    assert (found.generated, found.empty, found.documents, found.capped) == (9, 4, 5, 3)
    assert found.converged and found.dataset is None


def test_the_curve_has_a_point_for_each_block_from_the_first_text_on(plan):
    first, second, last = make_estimate(BLOCKS, plan).curve
    assert [point.documents for point in (first, second, last)] == [2, 2, 5]
    # all of the first block is A: log(1 / 0.6)
    assert first.divergence == pytest.approx(np.log(1 / 0.6)) and last.divergence == pytest.approx(0)
    assert last.divergence_to_corpus is None
    assert [point.documents for point in make_estimate([BLOCKS[1], BLOCKS[0]], plan).curve] == [2]


def test_a_dataset_is_compared_by_the_documents_of_its_source(plan):
    def stream(field, documents):
        return SimpleNamespace(field=field, documents=documents)

    plan.manifest = SimpleNamespace(
        dataset="d", streams=[stream("source", 1), stream("source", 0), stream("target", 9)]
    )
    # with half a document added: 1.5 and 0.5 of 2
    wanted = 0.6 * np.log(0.6 / 0.75) + 0.4 * np.log(0.4 / 0.25)
    assert make_estimate(BLOCKS, plan).curve[-1].divergence_to_corpus == pytest.approx(wanted)
    plan.manifest.streams = [stream("target", 9)]
    assert make_estimate(BLOCKS, plan).curve[-1].divergence_to_corpus is None


def test_a_model_that_writes_nothing_is_refused(plan):
    with pytest.raises(InputError, match=r"'hub/m' wrote 3 documents.*--start-token"):
        make_estimate([BLOCKS[1]], plan)


def test_a_bound_that_is_not_reached_is_told(plan):
    plan.settings = StartStateSettings(kl_bound=1e-9)
    assert not make_estimate(BLOCKS, plan).converged
