"""Large inputs in pieces: same bytes on one core and two, and after a stop in the middle of a file.

Runs without Spark stand for one core.
"""

import gzip
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.etl.classify.test_classify import classify_with, digests, documents, label_rows, made, write_jsonl
from tests.etl.mixed_inputs import mixed_inputs

from dmix.etl.classify.classify import classify_corpora
from dmix.etl.classify.label_tasks import label_part
from dmix.etl.classify.plan import CorpusRequest
from dmix.etl.classify.settings import ClassifySettings
from dmix.etl.reading.inspection import inspect_and_cut
from dmix.warehouse_schema.errors import InputError, NotFoundError, StorageError
from dmix.warehouse_schema.files.layout import Warehouse

PIECES = ClassifySettings(
    classifier="column:topic", taxonomy="from-data", part_bytes=2_000, piece_bytes=1_500
)


raw = pytest.fixture(mixed_inputs)


@pytest.fixture
def place(tmp_path):
    def make(name):
        return Warehouse.at(tmp_path / name)

    return make


def classify(warehouse, raw, work=label_part, executor=None):
    (outcome,) = classify_with(executor, warehouse, raw, work, settings=PIECES)
    return outcome


def stopping_at(number, calls):
    """Work that ends the job at its piece of this number, as a kill would; and notes what it did."""

    def work(plan, job):
        if plan.piece is not None and plan.piece.index == number and plan.fingerprint not in calls:
            raise StorageError("stopped")
        calls.append(plan.fingerprint)
        return label_part(plan, job)

    return work


def test_pieces_hold_every_document_once_with_its_place_in_the_file(place, raw):
    warehouse = place("w")
    version = classify(warehouse, raw).version
    by_input = {}
    for part in version.parts:
        by_input.setdefault(part.inputs[0].name, []).append(part.piece)
    assert {name: len(pieces) for name, pieces in by_input.items()} == {
        "a.jsonl": 4,
        "b.jsonl.gz": 8,
        "c.parquet": 3,
        "d.jsonl": 1,
    }
    assert [piece.index for piece in by_input["b.jsonl.gz"]] == list(range(8))
    rows = label_rows(warehouse, version)
    places = {(row["path"], row["position"]): row["text"] for row in rows}
    starts = {"a.jsonl": 0, "b.jsonl.gz": 150, "c.parquet": 300, "d.jsonl": 450, "e.jsonl": 460}
    assert len(places) == len(rows) == 470
    assert all(text == f"document {starts[path] + n - 1}" for (path, n), text in places.items())


def test_two_cores_give_the_bytes_of_one(executor, place, raw):
    one, two = place("one"), place("two")
    version = classify(two, raw, executor=executor).version
    assert classify(one, raw, executor=None).version.parts == version.parts
    assert digests(one) == digests(two)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_job_that_stopped_inside_a_file_goes_on_there(place, raw, number):
    unbroken, broken, calls = place("unbroken"), place("broken"), []
    expected = classify(unbroken, raw).version
    with pytest.raises(StorageError, match="stopped"):
        classify(broken, raw, stopping_at(number, calls))
    before = len(calls)
    outcome = classify(broken, raw, stopping_at(-1, calls))
    assert len(outcome.plan.kept) == before
    assert sorted(calls) == sorted(made(expected))  # each piece was classified once
    assert outcome.version.parts == expected.parts
    assert digests(broken) == digests(unbroken)


def test_lost_piece_of_a_file_is_made_again_alone(place, raw):
    warehouse, calls = place("w"), []
    version = classify(warehouse, raw).version
    before = digests(warehouse)
    lost = next(p for p in version.parts if p.inputs[0].name == "b.jsonl.gz" and p.piece.index == 2)
    (warehouse.labels("c-source") / "parts" / lost.fingerprint / lost.files[0].name).unlink()
    outcome = classify(warehouse, raw, stopping_at(-1, calls))
    assert calls == [lost.fingerprint]
    assert (outcome.published, digests(warehouse)) == (False, before)


def test_new_file_redoes_no_piece_and_other_piece_sizes_redo_nothing(place, raw):
    warehouse, calls = place("w"), []
    first = classify(warehouse, raw).version
    write_jsonl(raw / "f.jsonl", documents(900, 100))
    second = classify(warehouse, raw, stopping_at(-1, calls)).version
    assert set(made(second)) - set(made(first)) == set(calls)
    assert second.version == 2
    other = ClassifySettings(
        classifier="column:topic", taxonomy="from-data", part_bytes=2_000, piece_bytes=3_000
    )
    (outcome,) = classify_with(None, warehouse, raw, settings=other)
    assert (outcome.published, outcome.plan.to_do) == (False, ())


def test_added_inputs_that_are_gone_keep_their_pieces(place, raw, tmp_path):
    warehouse = place("w")
    first = classify(warehouse, raw).version
    raw.rename(tmp_path / "gone")
    more = write_jsonl(tmp_path / "more.jsonl", documents(900, 100))
    request = CorpusRequest(corpus="c-source", field="source", inputs=(str(more),), add=True)
    (outcome,) = classify_corpora(None, warehouse, [request], settings=PIECES, progress=lambda line: None)
    assert set(made(first)) < set(made(outcome.version))
    assert outcome.version.documents == 570


# ---- what need not be read again


def test_second_call_reads_nothing_and_notices_a_change(place, raw, monkeypatch):
    monkeypatch.setattr("dmix.etl.reading.input_records.SETTLED_SECONDS", 0)
    time.sleep(0.01)
    warehouse, read = place("w"), []

    def noted(file, **options):
        read.append(file.name)
        return inspect_and_cut(file, **options)

    monkeypatch.setattr("dmix.etl.classify.plan.inspect_and_cut", noted)
    first = classify(warehouse, raw).version
    assert len(read) == 5
    assert classify(warehouse, raw).version == first
    assert len(read) == 5
    write_jsonl(raw / "d.jsonl", documents(700, 10))
    assert classify(warehouse, raw).version.version == 2
    assert read[5:] == ["d.jsonl"]


# ---- bad inputs


def test_files_with_other_columns_and_types_make_one_corpus(place, tmp_path):
    folder = tmp_path / "mixed"
    write_jsonl(folder / "a.jsonl", [{"text": "one", "topic": "News", "more": {"x": [1]}}])
    write_jsonl(folder / "b.jsonl", [{"topic": "News", "text": "two", "more": 7, "id": 12}])
    for name, kind in (("c", pa.large_string()), ("d", pa.dictionary(pa.int32(), pa.string()))):
        table = pa.table({"more": [1.5], "text": pa.array([name], kind), "topic": ["News"]})
        pq.write_table(table, folder / f"{name}.parquet")
    pq.write_table(pa.table({"text": [5], "topic": ["News"]}), folder / "e.parquet")
    warehouse = place("w")
    version = classify(warehouse, folder).version
    assert sorted(row["text"] for row in label_rows(warehouse, version)) == ["c", "d", "one", "two"]
    assert sum(part.rejected.get("text_not_string", 0) for part in version.parts) == version.rejected == 1


def test_documents_with_one_id_are_all_kept_and_told_apart_by_their_place(place, tmp_path):
    values = [{"id": "x", "text": f"t{i}", "topic": "News"} for i in range(3)]
    path = write_jsonl(tmp_path / "a.jsonl", values)
    warehouse = place("w")
    rows = label_rows(warehouse, classify(warehouse, path).version)
    assert [(row["id"], row["position"], row["text"]) for row in rows] == [
        ("x", 1, "t0"),
        ("x", 2, "t1"),
        ("x", 3, "t2"),
    ]


def test_line_of_fifty_megabytes_is_one_document_among_pieces(place, tmp_path):
    long = "ab " * (50 * 1024 * 1024 // 3)
    lines = [{"text": text, "topic": "News"} for text in ("before", long, "nul \0 inside", "after")]
    path = write_jsonl(tmp_path / "a.jsonl", lines)
    path.write_bytes(path.read_bytes() + b"\0\0\0\n")
    warehouse = place("w")
    version = classify(warehouse, path).version
    rows = {row["position"]: row["text"] for row in label_rows(warehouse, version)}
    assert (rows[1], rows[2] == long, rows[3], rows[4]) == ("before", True, "nul \0 inside", "after")
    assert version.rejected == 1
    assert len(version.parts) == 2  # the long line, and what follows it


def test_folder_that_vanishes_in_the_middle_is_named_and_the_rest_kept(place, raw, tmp_path):
    warehouse = place("w")

    def vanish(plan, job):
        if plan.piece is not None and plan.piece.index == 1:
            raw.rename(tmp_path / "moved")
        return label_part(plan, job)

    with pytest.raises(
        NotFoundError, match=r"raw/\S+ disappeared; restore it and run the same command again"
    ):
        classify(warehouse, raw, vanish)
    (tmp_path / "moved").rename(raw)
    assert len(classify(warehouse, raw).plan.kept) == 1


def test_parquet_file_without_the_text_column_is_named(place, raw):
    pq.write_table(pa.table({"content": ["a"], "topic": ["News"]}), raw / "z.parquet")
    with pytest.raises(InputError, match=r"z.parquet has no column 'text' \(its columns: content, topic\)"):
        classify(place("w"), raw)


def test_cut_compressed_file_keeps_what_stands_before_the_break(place, raw):
    content = (raw / "b.jsonl.gz").read_bytes()
    (raw / "b.jsonl.gz").write_bytes(content[: len(content) // 2])
    warehouse = place("w")
    version = classify(warehouse, raw).version
    rows = [row for row in label_rows(warehouse, version) if row["path"] == "b.jsonl.gz"]
    texts = [row["text"] for row in sorted(rows, key=lambda row: row["position"])]
    assert texts == [f"document {150 + i}" for i in range(len(texts))] and len(texts) > 50
    assert sum(part.rejected.get("truncated_input", 0) for part in version.parts) == version.rejected == 1
    with pytest.raises(EOFError):
        gzip.decompress((raw / "b.jsonl.gz").read_bytes())
