"""Splits follow from manifests alone, cover every document once, and read back in order."""

import pyarrow.parquet as pq
import pytest

from dmix.etl.publishing.shard_inputs import check_label_files, label_paths, plan_shard_inputs, read_texts
from dmix.warehouse_schema.errors import NotFoundError, VerificationError
from dmix.warehouse_schema.taxonomy import Taxonomy


def texts_of(split, *, batch_bytes=1 << 20):
    return [text for batch in read_texts(split, batch_bytes=batch_bytes) for text in batch]


@pytest.mark.parametrize("split_bytes", [1, 300, 2_000, 1 << 20])
@pytest.mark.parametrize("batch_bytes", [1, 500, 1 << 20])
def test_every_document_is_read_once_and_in_order(warehouse, make_corpus, split_bytes, batch_bytes):
    files = [
        [("News", f"n{file}-{i} " * (1 + i)) for i in range(20)]
        + [("Games", f"g{file}-{i}") for i in range(3)]
        for file in range(3)
    ]
    corpus = make_corpus("a", "source", files)
    splits = plan_shard_inputs(warehouse, corpora=[corpus], split_bytes=split_bytes)
    assert set(splits) == {("source", "News"), ("source", "Games")}
    for (_, domain), parts in splits.items():
        read = [text for part in parts for text in texts_of(part, batch_bytes=batch_bytes)]
        assert read == [text for file in files for label, text in file if label == domain]
        assert [part.index for part in parts] == list(range(len(parts)))
        assert sum(part.text_bytes for part in parts) == sum(len(text) for text in read)


def test_footer_of_a_file_of_many_domains_is_read_once(warehouse, make_corpus, monkeypatch):
    labels = tuple(f"d{number:02}" for number in range(40))
    corpus = make_corpus(
        "a", "source", [[(label, label) for label in labels]], taxonomy=Taxonomy("t", labels)
    )
    splits = plan_shard_inputs(warehouse, corpora=[corpus], split_bytes=1_000)
    opened, reader = [], pq.ParquetFile

    def counted(*given, metadata=None, **named):
        opened.append(metadata)
        return reader(*given, metadata=metadata, **named)

    monkeypatch.setattr(pq, "ParquetFile", counted)
    assert [texts_of(splits["source", label][0]) for label in labels] == [[label] for label in labels]
    assert (len(opened), opened.count(None)) == (41, 1)


def test_a_large_domain_becomes_many_splits_and_small_runs_share_one(warehouse, make_corpus):
    large = [("News", "x" * 100)] * 50
    small = [[("Games", "y" * 10)] for _ in range(4)]
    corpus = make_corpus("a", "source", [large, *small])
    splits = plan_shard_inputs(warehouse, corpora=[corpus], split_bytes=1_000)
    assert [split.documents for split in splits["source", "News"]] == [10] * 5
    assert [len(split.ranges) for split in splits["source", "Games"]] == [4]


def test_one_document_longer_than_a_split_is_one_split(warehouse, make_corpus):
    corpus = make_corpus("a", "source", [[("News", "x" * 10_000)]])
    (split,) = plan_shard_inputs(warehouse, corpora=[corpus], split_bytes=100)["source", "News"]
    assert texts_of(split) == ["x" * 10_000]


def test_fingerprints_do_not_depend_on_where_the_warehouse_lies(warehouse, make_corpus, tmp_path):
    corpus = make_corpus("a", "source", [[("News", "text")]])
    moved = type(warehouse).at(tmp_path / "elsewhere")
    here, there = (
        plan_shard_inputs(place, corpora=[corpus], split_bytes=100)["source", "News"][0].fingerprint
        for place in (warehouse, moved)
    )
    assert here == there


def test_a_missing_label_file_is_named_with_the_way_back(warehouse, make_corpus):
    corpus = make_corpus("a", "source", [[("News", "text")]])
    (path, _) = next(label_paths(warehouse, corpus))
    path.unlink()
    with pytest.raises(NotFoundError, match=rf"{path.name} of corpus 'a' version 1 is missing; restore it"):
        check_label_files(warehouse, [corpus])


def test_a_truncated_label_file_is_named(warehouse, make_corpus):
    corpus = make_corpus("a", "source", [[("News", "text")]])
    path, size = next(label_paths(warehouse, corpus))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(VerificationError, match=f"{size - 5:,} bytes, .*manifest .*{size:,}"):
        check_label_files(warehouse, [corpus])


def test_rows_of_another_label_than_the_manifest_says_are_refused(warehouse, make_corpus):
    corpus = make_corpus("a", "source", [[("News", "text")]])
    other = make_corpus("b", "source", [[("Games", "text")]])
    (split,) = plan_shard_inputs(warehouse, corpora=[corpus], split_bytes=100)["source", "News"]
    path, _ = next(label_paths(warehouse, corpus))
    path.write_bytes(next(label_paths(warehouse, other))[0].read_bytes())
    with pytest.raises(VerificationError, match="rows 0 to 1 are not all of 'News'"):
        texts_of(split)


def test_fewer_rows_than_the_manifest_says_are_refused(warehouse, make_corpus):
    corpus = make_corpus("a", "source", [[("News", "one"), ("News", "two")]])
    other = make_corpus("b", "source", [[("News", "one")]])
    (split,) = plan_shard_inputs(warehouse, corpora=[corpus], split_bytes=100)["source", "News"]
    path, _ = next(label_paths(warehouse, corpus))
    path.write_bytes(next(label_paths(warehouse, other))[0].read_bytes())
    with pytest.raises(VerificationError, match="ends before row 2"):
        texts_of(split)
