import dataclasses
import json

import pytest

from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.manifests import (
    content_digest,
    corpora,
    corpus_versions,
    read_corpus_version,
    read_dataset_manifest,
    write_corpus_version,
    write_dataset_manifest,
)


def test_a_corpus_version_comes_back_as_it_was_written(warehouse, make_corpus):
    version = make_corpus()
    write_corpus_version(warehouse, version)
    assert read_corpus_version(warehouse, "main-source") == version
    assert (version.documents, version.rejected) == (4, 2)
    assert version.domain_documents() == {"Games": 3, "Real Estate": 1}


def test_the_newest_version_is_the_default_beyond_nine(warehouse, make_corpus):
    for number in (2, 10):
        write_corpus_version(warehouse, make_corpus(version=number))
    assert corpus_versions(warehouse, "main-source") == [2, 10]
    assert read_corpus_version(warehouse, "main-source").version == 10
    assert read_corpus_version(warehouse, "main-source", 2).version == 2
    assert corpora(warehouse) == ["main-source"]


def test_unknown_corpora_and_versions_are_named_with_what_there_is(warehouse, make_corpus):
    with pytest.raises(NotFoundError, match=r"corpus 'x' is not in .* \(available: none yet\)"):
        read_corpus_version(warehouse, "x")
    write_corpus_version(warehouse, make_corpus())
    with pytest.raises(NotFoundError, match=r"\(available: main-source\)"):
        read_corpus_version(warehouse, "x")
    with pytest.raises(NotFoundError, match="has no version 7"):
        read_corpus_version(warehouse, "main-source", 7)


def test_a_dataset_is_found_by_id_by_name_and_when_it_is_the_only_one(warehouse, make_dataset):
    manifest = make_dataset()
    write_dataset_manifest(warehouse, manifest)
    for chosen in ("abc", "small", None):
        assert read_dataset_manifest(warehouse, chosen) == manifest
    write_dataset_manifest(warehouse, make_dataset(dataset="def", name="other"))
    assert read_dataset_manifest(warehouse, "other").dataset == "def"
    with pytest.raises(
        InputError, match=r"the warehouse has 2 datasets; choose one with --dataset \w+ \(id or"
    ):
        read_dataset_manifest(warehouse)
    with pytest.raises(NotFoundError, match=r"dataset 'zzz' is not in .*abc \(small\)"):
        read_dataset_manifest(warehouse, "zzz")


def test_an_empty_warehouse_has_no_dataset(warehouse):
    with pytest.raises(NotFoundError, match="has no dataset; run 'dmix etl shard' first"):
        read_dataset_manifest(warehouse)


def test_newer_formats_and_damage_are_named(warehouse, make_dataset):
    path = write_dataset_manifest(warehouse, make_dataset())
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "format": 2}))
    with pytest.raises(InputError, match="has format 2, but this dmix reads 1; update dmix"):
        read_dataset_manifest(warehouse)
    del value["tokenizer"]
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match="is damaged"):
        read_dataset_manifest(warehouse)


def test_equal_content_has_an_equal_digest_whatever_the_version(make_corpus):
    first, second = make_corpus(version=1), make_corpus(version=2, created_at="2027-01-01T00:00:00+00:00")
    assert content_digest(first) == content_digest(second)
    assert content_digest(first) != content_digest(dataclasses.replace(first, field="target"))


def test_stream_entries_count_shards_without_the_index(make_dataset):
    (
        games,
        *_,
    ) = make_dataset().streams
    assert (games.shards, games.size_bytes) == (1, 200)
    empty = make_dataset().streams[2]
    assert (empty.shards, empty.size_bytes) == (0, 0)
