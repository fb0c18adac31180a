"""A results folder: every attempt counted once, and stored utilities held against items."""

import pytest
from tests.training.comparison.generated_results import results_below

from dmix.training.comparison.analysis.evidence import read_evidence, utility_disagreement
from dmix.warehouse_schema.errors import NotFoundError

make_results = pytest.fixture(results_below)


def test_stored_utility_agrees_with_that_of_items(make_results):
    folder = make_results().add("a", noise=0.1).add("b", noise=0.1, seed=1).write()
    assert utility_disagreement(read_evidence(folder), "screening", "development") < 1e-12


def test_stored_utility_that_disagrees_is_seen(make_results):
    folder = make_results().add("a", utility_development=0.5).write()
    gap = utility_disagreement(read_evidence(folder), "screening", "development")
    assert gap == pytest.approx(0.5)


def test_an_attempt_that_failed_stays_on_record(make_results):
    results = make_results()
    results.add("a", status="failed", unit="u").add("a", unit="u", attempt=1).add(
        "a", seed=1, status="failed"
    )
    evidence = read_evidence(results.write())
    assert evidence.runs.set_index("unit_id").status.to_dict() == {"u": "done", "screening-a-1-0-0": "failed"}
    assert evidence.failed_attempts == 1


def test_folder_without_results_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"no setting\.json"):
        read_evidence(tmp_path)
