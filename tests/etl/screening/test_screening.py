"""Duplicates and evaluation items in two small corpora: found by Spark, seen in SQL, left out of shards."""

import dataclasses
import json
import shutil
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.etl import conftest as _etl

from dmix.etl.maintenance.gc import collect_garbage
from dmix.etl.publishing.shard_inputs import read_texts
from dmix.etl.screening.contamination import find_contamination
from dmix.etl.screening.duplicates import duplicates_id, find_duplicates
from dmix.etl.screening.ngrams import EvaluationItem
from dmix.etl.screening.screening import excluded_documents, without_found
from dmix.etl.shard.plan import manifest_id, plan_dataset
from dmix.etl.shard.settings import ShardSettings
from dmix.etl.shard.shard import shard_dataset
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.files.screenings import Screening, find_screening, load_screening

SMALL = {"seq_len": 16, "split_bytes": 4_000, "shard_bytes": 2_048}


def words(start, count):
    return " ".join(f"word{start * 1000 + i}" for i in range(count))


ITEMS = (
    EvaluationItem(objective="math", item_id="planted", question=words(3, 20), answer="seven"),
    EvaluationItem(objective="math", item_id="absent", question=words(77, 20), answer="seven"),
    EvaluationItem(objective="talk", item_id="short", question=words(9, 8), answer="yes"),
    EvaluationItem(objective="talk", item_id="tiny", question="who is it", answer="he"),
)
# rows in label files are sorted by label: Games before News
SOURCE = [
    [("News", words(1, 30)), ("News", words(2, 30)), ("Games", f"{words(1, 30).upper()}!!")],
    [("News", words(3, 40)), ("Games", words(2, 30)), ("News", "..."), ("News", "!")],
]
TARGET = [[("Games", f"«{words(1, 30)}»"), ("News", words(9, 50)), ("News", "..."), ("News", "")]]


def quiet(line):
    """Progress that nobody wants to hear."""


@dataclass
class Screened:
    """A warehouse of two corpora that was screened and made a clean dataset of; not to be changed."""

    warehouse: Warehouse
    corpora: list
    duplicates: Screening
    contamination: Screening
    clean: DatasetManifest

    def copied(self, folder):
        """The warehouse at another place, to be changed."""
        shutil.copytree(self.warehouse.root, folder)
        return Warehouse.at(folder)


CLEAN = ShardSettings(**SMALL, drop_duplicates=True, name="clean")


@pytest.fixture(scope="module")
def screened(spark, tmp_path_factory):
    warehouse = Warehouse.at(tmp_path_factory.mktemp("screened") / "warehouse")
    corpora = [
        _etl.write_corpus(warehouse, "main-source", "source", SOURCE),
        _etl.write_corpus(warehouse, "main-target", "target", TARGET),
    ]
    duplicates = find_duplicates(spark, warehouse, corpora=corpora[::-1], progress=quiet)
    contamination = find_contamination(spark, warehouse, corpora=corpora, items=ITEMS, progress=quiet)
    clean = shard_dataset(spark, warehouse, corpora=corpora, settings=CLEAN, items=ITEMS, progress=quiet)
    sync(warehouse)
    return Screened(warehouse, corpora, duplicates, contamination, clean)


def ask(warehouse, sql):
    with Catalog.open_reader(warehouse) as catalog:
        return catalog.query(sql)[1]


def test_all_copies_but_the_first_are_found(screened):
    assert (screened.duplicates.documents, screened.duplicates.found) == (11, 4)
    assert ask(
        screened.warehouse,
        "select corpus, path, position, first_corpus, first_path, first_position from duplicates"
        " order by all",
    ) == [
        ("main-source", "0.jsonl", 2, "main-source", "0.jsonl", 1),
        ("main-source", "1.jsonl", 1, "main-source", "0.jsonl", 3),
        ("main-target", "0.jsonl", 1, "main-source", "0.jsonl", 1),
        ("main-target", "0.jsonl", 3, "main-source", "1.jsonl", 3),
    ]


def test_items_are_found_with_their_overlap(screened):
    found = screened.contamination
    assert (found.documents, found.found, found.items, found.items_too_short) == (11, 2, 4, 1)
    assert ask(
        screened.warehouse,
        "select corpus, path, position, objective, item_id, overlap from contamination order by all",
    ) == [
        ("main-source", "1.jsonl", 2, "math", "planted", 0.8889),
        ("main-target", "0.jsonl", 2, "talk", "short", 1.0),
    ]


def test_findings_have_the_field_and_the_domain_of_their_document(screened):
    for view, found in (
        (
            "duplicates",
            [("source", "Games", 1), ("source", "News", 1), ("target", "Games", 1), ("target", "News", 1)],
        ),
        ("contamination", [("source", "News", 1), ("target", "News", 1)]),
    ):
        sql = f"select field, domain, count(*) from {view} group by all order by all"
        assert ask(screened.warehouse, sql) == found


def test_findings_of_an_older_dmix_have_no_domain(screened, tmp_path):
    warehouse = screened.copied(tmp_path / "older")
    for path in (warehouse.root / "duplicates").glob("[!.]*/*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["domain"]), path)
    sync(warehouse)
    assert ask(warehouse, "select field, domain, count(*) from duplicates group by all order by all") == [
        ("source", None, 2),
        ("target", None, 2),
    ]


def test_a_clean_dataset_lacks_them_and_the_views_say_so(screened):
    clean = screened.clean
    assert sum(stream.documents for stream in clean.streams) == 11 - 4 - 2
    assert manifest_id(clean) == clean.dataset
    named = [(clean.dataset, True)]
    assert ask(screened.warehouse, "select distinct dataset, dropped from duplicates") == named
    assert ask(screened.warehouse, "select distinct dataset, removed from contamination") == named


def test_what_is_known_is_not_looked_for_again(screened):
    said = []
    again = shard_dataset(
        None,
        screened.warehouse,
        corpora=screened.corpora,
        settings=CLEAN,
        items=ITEMS[::-1],
        progress=said.append,
    )
    assert again == screened.clean
    assert [line.endswith("(from an earlier search)") for line in said] == [True, True, False]


def test_what_is_left_out_is_exactly_what_was_found(screened):
    warehouse, corpora = screened.warehouse, screened.corpora
    screenings = [screened.duplicates, screened.contamination]
    plan = plan_dataset(warehouse, corpora=corpora, settings=ShardSettings(**SMALL))
    splits = without_found(
        plan.shard_inputs, warehouse=warehouse, corpora=plan.corpora, screenings=screenings
    )
    texts = {
        key: [text for split in group for batch in read_texts(split, batch_bytes=200) for text in batch]
        for key, group in splits.items()
    }
    assert texts == {
        ("source", "Games"): [f"{words(1, 30).upper()}!!"],
        ("source", "News"): [words(2, 30), "...", "!"],
        ("target", "Games"): [],
        ("target", "News"): [""],
    }
    assert sum(excluded_documents(warehouse, plan.corpora, screenings).values()) == 6
    # a document that two screenings found counts once
    again = [*screenings, screenings[0]]
    assert sum(excluded_documents(warehouse, plan.corpora, again).values()) == 6


def test_documents_left_out_are_counted_by_field(screened, tmp_path):
    warehouse, said = screened.copied(tmp_path / "copy"), []
    settings = ShardSettings(**SMALL, drop_duplicates=True)
    shard_dataset(None, warehouse, corpora=screened.corpora, settings=settings, progress=said.append)
    lines = [line for line in said if "left out of the training samples" in line]
    assert [line.split()[0] for line in lines] == ["main-source:", "main-target:"]
    assert [line.split()[3] for line in lines] == ["7", "4"]
    assert sum(int(line.split()[1]) for line in lines) == screened.duplicates.found
    assert all(line.endswith("because they are copies of others") for line in lines)


def test_rows_of_findings_are_sorted(screened):
    folder = screened.warehouse.screening("duplicates", screened.duplicates.screening)
    assert len(screened.duplicates.files) == 3
    for name, count in screened.duplicates.files.items():
        rows = pq.read_table(folder / f"{name}.parquet")["row"].to_numpy()
        assert len(rows) == count
        assert np.all(np.diff(rows) > 0)


def test_reported_contamination_stays_in_a_dataset_of_the_same_id(screened, tmp_path):
    warehouse = screened.copied(tmp_path / "copy")
    plain = _etl.shard_here(warehouse, screened.corpora, ShardSettings(**SMALL))
    report = ShardSettings(**SMALL, contaminated="report")
    said = []
    found = shard_dataset(
        None, warehouse, corpora=screened.corpora, settings=report, items=ITEMS, progress=said.append
    )
    assert found == plain
    assert sum(stream.documents for stream in plain.streams) == 11
    assert "2 of 11 documents contain an item" in said[0] and "(4 items searched; too short" in said[0]
    assert not any("left out" in line for line in said)
    sync(warehouse)
    rows = ask(warehouse, "select distinct dataset, removed from contamination order by removed nulls last")
    assert rows == [(screened.clean.dataset, True), (plain.dataset, None)]


def test_id_follows_duplicates_items_and_the_names_that_choose_the_first_copy(warehouse, make_corpus):
    corpora = [make_corpus("main-source", "source", SOURCE), make_corpus("main-target", "target", TARGET)]

    def plan(found=corpora, items=(), **settings):
        chosen = ShardSettings(**SMALL, **settings)
        return plan_dataset(warehouse, corpora=found, settings=chosen, items=items).dataset

    ids = [plan(), plan(drop_duplicates=True), plan(items=ITEMS), plan(items=ITEMS[:1])]
    assert len(set(ids)) == 4
    assert plan(items=ITEMS, contaminated="report") == plan()
    renamed = [dataclasses.replace(corpora[0], corpus="a-source"), corpora[1]]
    assert plan(renamed) == plan()
    assert plan(renamed, drop_duplicates=True) != plan(drop_duplicates=True)
    assert duplicates_id(corpora) != duplicates_id(renamed)


def test_a_new_version_reads_its_new_files_alone(workers, screened, tmp_path):
    warehouse = screened.copied(tmp_path / "copy")
    files = [*SOURCE, [("News", words(1, 30))]]
    more = _etl.write_corpus(warehouse, "main-source", "source", files, version=2)
    said = []
    found = find_duplicates(workers, warehouse, corpora=[more, screened.corpora[1]], progress=said.append)
    assert "; 3 of 4 label files read before" in said[0]
    assert found.found == 5


def test_without_spark_the_same_copies_are_found(screened, tmp_path):
    warehouse, found = screened.copied(tmp_path / "copy"), screened.duplicates
    folder = warehouse.screening("duplicates", found.screening)
    content = {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
    shutil.rmtree(folder)
    again = find_duplicates(None, warehouse, corpora=screened.corpora[::-1], progress=quiet)
    assert dataclasses.replace(again, created_at=found.created_at) == found
    assert {path.name: path.read_bytes() for path in folder.glob("*.parquet")} == content


def test_a_killed_search_goes_on_with_the_same_bytes(screened, tmp_path):
    warehouse, found = screened.copied(tmp_path / "copy"), screened.contamination
    folder = warehouse.screening("contamination", found.screening)
    content = {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
    (folder / "manifest.json").unlink()
    assert find_screening(warehouse, "contamination", found.screening) is None
    sync(warehouse)
    assert ask(warehouse, "select count(*) from contamination") == [(0,)]
    sorted(folder.glob("*.parquet"))[0].unlink()
    said = []
    again = find_contamination(None, warehouse, corpora=screened.corpora, items=ITEMS, progress=said.append)
    assert (
        "; 1 of 3 label files searched before" in said[0]
    )  # one was removed here, one had no findings to keep
    assert {path.name: path.read_bytes() for path in folder.glob("*.parquet")} == content
    assert (again.files, again.found) == (found.files, 2)


def test_no_items_and_missing_label_files_are_named(warehouse, make_corpus):
    corpus = make_corpus("main-source", "source", SOURCE)
    with pytest.raises(InputError, match="no evaluation items"):
        find_contamination(None, warehouse, corpora=[corpus], items=(), progress=quiet)
    next(warehouse.labels("main-source").glob("parts/*/*.parquet")).unlink()
    with pytest.raises(NotFoundError, match="is missing; restore it from a copy"):
        find_duplicates(None, warehouse, corpora=[corpus], progress=quiet)


def test_damaged_manifest_says_what_to_do(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"format": 1, "kind": "duplicates"}))
    with pytest.raises(InputError, match=r"is damaged .* run 'dmix etl"):
        load_screening(path)
    path.write_text(json.dumps({"format": 9}))
    with pytest.raises(InputError, match="format 9, but this dmix reads 1; update dmix"):
        load_screening(path)


def test_garbage_is_unfinished_screenings_and_digests_of_no_label_file(screened, tmp_path):
    warehouse = screened.copied(tmp_path / "copy")
    assert collect_garbage(warehouse, dry_run=True).found == ()
    unfinished = warehouse.screening("contamination", "0123456789abcdef")
    unfinished.mkdir(parents=True)
    (unfinished / "x.parquet").write_bytes(b"part")
    stale = warehouse.text_digests / f"{'0' * 64}-1.1.parquet"
    stale.write_bytes(b"old")
    removed = [garbage.path for garbage in collect_garbage(warehouse, dry_run=False).found]
    assert removed == [unfinished, stale]
    known = find_screening(warehouse, "duplicates", screened.duplicates.screening)
    assert known == screened.duplicates
