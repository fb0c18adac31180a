"""A dataset against its corpora and within itself, without a shard on disk."""

import dataclasses

import pytest
from tests.manifests import dataset_manifest

from dmix.etl.maintenance.datasets import dataset_problems, origin_problems
from dmix.etl.shard.plan import manifest_id
from dmix.warehouse_schema.files.layout import publish_bytes
from dmix.warehouse_schema.files.manifests import CorpusReference, content_digest


@pytest.fixture
def origin(warehouse, make_corpus):
    """A corpus of three documents, and a dataset that was made from it."""
    version = make_corpus("main", "source", [[("News", "a"), ("News", "b"), ("Games", "c")]])
    reference = CorpusReference(
        corpus="main", version=1, field="source", synthetic=False, manifest_sha256=content_digest(version)
    )
    manifest = dataset_manifest([1, 2, 0, 0, 0, 0], taxonomy=version.taxonomy, corpora=(reference,))
    return dataclasses.replace(manifest, dataset=manifest_id(manifest))


def stream(manifest, index, **changes):
    streams = list(manifest.streams)
    streams[index] = dataclasses.replace(streams[index], **changes)
    return dataclasses.replace(manifest, streams=tuple(streams))


def kinds(problems):
    return [problem.kind for problem in problems]


def test_a_dataset_that_has_the_documents_of_its_corpora_has_no_problem(warehouse, origin):
    assert kinds(origin_problems(warehouse, origin)) == []


def test_documents_that_no_corpus_has_are_counted(warehouse, origin):
    assert kinds(origin_problems(warehouse, stream(origin, 0, documents=5))) == ["count"]


def test_only_a_screened_dataset_may_have_fewer_documents(warehouse, origin):
    fewer = stream(origin, 1, documents=1)
    assert kinds(origin_problems(warehouse, fewer)) == ["count"]
    screened = dataclasses.replace(fewer, settings={"duplicates": "drop"})
    assert kinds(origin_problems(warehouse, screened)) == []


def test_another_corpus_of_that_name_is_told_by_its_content(warehouse, origin):
    reference = dataclasses.replace(origin.corpora[0], manifest_sha256="0" * 64)
    assert kinds(origin_problems(warehouse, dataclasses.replace(origin, corpora=(reference,)))) == ["hash"]


def test_a_corpus_that_is_gone_is_missing(warehouse, origin):
    reference = dataclasses.replace(origin.corpora[0], version=2)
    [problem] = origin_problems(warehouse, dataclasses.replace(origin, corpora=(reference,)))
    assert problem.kind == "missing" and "main@v2" in problem.detail


def test_counts_of_a_stream_agree_with_each_other(warehouse, origin):
    publish_bytes(warehouse.stream_data(origin.dataset) / "tokenizer.json", b"{}")
    found = list(dataset_problems(warehouse, stream(origin, 0, tokens=7)))
    assert [(problem.kind, problem.path.rpartition("/")[2]) for problem in found] == [
        ("hash", "tokenizer.json"),
        ("count", "Games"),  # no shard holds its sample
        ("count", "Games"),  # seven tokens are no sample of eight
        ("count", "News"),
    ]
