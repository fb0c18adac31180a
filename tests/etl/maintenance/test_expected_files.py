"""A file against what its manifest says of it."""

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dmix.etl.maintenance.expected_files import (
    ExpectedFile,
    checked_versions,
    corpus_files,
    effects_files,
    file_problems,
    readable_manifests,
    start_state_files,
)
from dmix.warehouse_schema.files.layout import publish_bytes, publish_json


@pytest.fixture
def labels(warehouse):
    path = warehouse.root / "labels.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"id": ["a", "b"]}), path)
    return path


def expected(path, **changes):
    content = path.read_bytes()
    given = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "rows": 2}
    return ExpectedFile(path=path, **given | changes)


def kinds(warehouse, file):
    return [problem.kind for problem in file_problems(warehouse, file)]


def test_a_file_that_is_as_the_manifest_says_has_no_problem(warehouse, labels):
    assert kinds(warehouse, expected(labels)) == []


@pytest.mark.parametrize(
    ("changes", "kind"), [({"size_bytes": 1}, "size"), ({"sha256": "0" * 64}, "hash"), ({"rows": 3}, "count")]
)
def test_each_difference_has_its_kind(warehouse, labels, changes, kind):
    assert kinds(warehouse, expected(labels, **changes)) == [kind]


def test_a_file_that_is_not_there_is_missing_and_nothing_else(warehouse, labels):
    file = expected(labels)
    labels.unlink()
    assert kinds(warehouse, file) == ["missing"]


def test_rows_of_what_is_no_parquet_cannot_be_counted(warehouse, labels):
    labels.write_bytes(b"text")
    [problem] = file_problems(warehouse, expected(labels))
    assert (problem.kind, problem.path) == ("count", "labels.parquet")
    assert "no readable Parquet" in problem.detail


def test_files_of_a_corpus_have_the_rows_of_their_domains(warehouse, make_corpus):
    version = make_corpus("main", "source", [[("News", "a"), ("Games", "b")], [("News", "c")]])
    files = list(corpus_files(warehouse, version))
    assert [file.rows for file in files] == [2, 1]
    assert [kinds(warehouse, file) for file in files] == [[], []]


def test_a_manifest_that_cannot_be_read_is_a_problem(warehouse, make_corpus):
    make_corpus("main", "source", [[("News", "a")]])
    publish_bytes(warehouse.labels("other") / "v2.json", b"{")
    publish_bytes(warehouse.root / "streams/d/manifest.json", b"[]")
    problems = []
    assert [version.corpus for version in checked_versions(warehouse, None, problems)] == ["main"]
    assert readable_manifests(warehouse, None, problems) == []
    assert [problem.path for problem in problems] == ["labels/other/v2.json", "streams/d"]


def test_manifests_of_effects_and_start_states_name_their_files(warehouse):
    named = {"size_bytes": 1, "sha256": "0" * 64}
    publish_json(warehouse.effects("e") / "effects.json", {"files": {"effects.parquet": named}})
    publish_json(
        warehouse.root / "start_states/s/estimate.json",
        {"blocks": [{"name": "block-0.parquet", "documents": 5, **named}]},
    )
    publish_json(warehouse.root / "start_states/t/estimate.json", {})
    problems = []
    [effects] = effects_files(warehouse, problems)
    [block] = start_state_files(warehouse, problems)
    assert (effects.path.name, block.path.name, block.rows) == ("effects.parquet", "block-0.parquet", 5)
    assert [problem.path for problem in problems] == ["start_states/t/estimate.json"]
