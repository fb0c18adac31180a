"""Records by template from files: JSON Lines and Parquet, whole and in pieces, give the same documents."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from dmix.etl.publishing.rejects import Reject
from dmix.etl.reading.documents import Columns
from dmix.etl.reading.inspection import inspect_and_cut
from dmix.etl.reading.records import read_documents, read_piece
from dmix.etl.reading.sources import find_files
from dmix.etl.spark.tasks import Meter
from dmix.etl.templates.settings import TextSettings
from dmix.warehouse_schema.errors import InputError

LIMIT = 2_000
CHAT = TextSettings(template="chat")


def talk(number, *, role="user"):
    return [
        {"role": role, "content": f"Question {number}?"},
        {"role": "assistant", "content": f"Answer {number} é."},
    ]


def read(path, settings=CHAT, *, piece_bytes=None):
    columns = Columns.of(settings)
    found = inspect_and_cut(
        find_files([str(path)]).files[0],
        columns=columns.required,
        shapes=columns.text_shapes,
        piece_bytes=piece_bytes,
    )
    options = {"columns": columns, "max_document_bytes": LIMIT, "meter": Meter(None)}
    if not found.pieces:
        return list(read_documents(found.source, **options))
    return [entry for piece in found.pieces for entry in read_piece(found.source, piece, **options)]


def seen(entries):
    return [
        (e.position, f"<{e.reason}>") if isinstance(e, Reject) else (e.position, e.id[:3], e.text)
        for e in entries
    ]


RECORDS = [
    {"id": "r1", "messages": talk(1)},
    {"id": "r2", "messages": talk(2, role="narrator")},
    {"id": "r3", "messages": None},
    {"id": "r4", "messages": talk("x" * LIMIT)},
    {"id": "r5", "messages": []},
    {"id": "r6", "messages": talk(6)},
]
WANTED = [
    (1, "r1", "User: Question 1?\n\nAssistant: Answer 1 é."),
    (2, "<unknown_role>"),
    (3, "<missing_text>"),
    (4, "<too_long>"),
    (5, "<empty_text>"),
    (6, "r6", "User: Question 6?\n\nAssistant: Answer 6 é."),
]


def lines(records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


@pytest.mark.parametrize(
    ("ending", "packed"),
    [(".jsonl", bytes), (".jsonl.gz", gzip.compress), (".jsonl.zst", zstandard.compress)],
)
@pytest.mark.parametrize("piece_bytes", [None, 2_000])
def test_lines_become_conversations(tmp_path, ending, packed, piece_bytes):
    path = tmp_path / f"a{ending}"
    path.write_bytes(packed(lines(RECORDS)))
    assert seen(read(path, piece_bytes=piece_bytes)) == WANTED


@pytest.mark.parametrize("piece_bytes", [None, 1])
@pytest.mark.parametrize("dictionary", [True, False])
def test_rows_become_conversations(tmp_path, piece_bytes, dictionary):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(RECORDS), path, row_group_size=2, use_dictionary=dictionary)
    assert seen(read(path, piece_bytes=piece_bytes)) == WANTED


def test_bytes_that_are_no_text_cost_their_row_alone(tmp_path):
    kind = pa.list_(pa.struct({"role": pa.string(), "content": pa.binary()}))
    rows = [[{"role": "user", "content": text}] for text in (b"one", b"\xff\xfe", b"three")]
    as_text = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
    array = pa.array(rows, kind)
    content = array.flatten().field("content").view(pa.string())
    roles = array.flatten().field("role")
    column = pa.ListArray.from_arrays(
        array.offsets, pa.StructArray.from_arrays([roles, content], fields=list(as_text.value_type))
    )
    pq.write_table(pa.table({"messages": column}), tmp_path / "a.parquet")
    assert [entry[1:] for entry in seen(read(tmp_path / "a.parquet"))] == [
        (entry_id(read(tmp_path / "a.parquet")[0]), "User: one"),
        ("<invalid_utf8>",),
        (entry_id(read(tmp_path / "a.parquet")[2]), "User: three"),
    ]


def entry_id(document):
    return document.id[:3]


def test_columns_are_joined_from_both_formats(tmp_path):
    records = [
        {"title": "One", "body": "two"},
        {"title": None, "body": "three"},
        {"title": "Four", "body": 5},
    ]
    (tmp_path / "a.jsonl").write_bytes(lines(records))
    pq.write_table(pa.Table.from_pylist(records[:2]), tmp_path / "b.parquet")
    for settings in (
        TextSettings(text_column=("title", "body")),
        TextSettings(template=r"{title}\n\n{body}"),
    ):
        entries = read(tmp_path / "a.jsonl", settings)
        assert [getattr(entry, "text", "") for entry in entries] == ["One\n\ntwo", "three", ""]
        assert entries[2].reason == "text_not_string"
        assert [entry.text for entry in read(tmp_path / "b.parquet", settings)] == ["One\n\ntwo", "three"]


def test_a_parquet_file_that_does_not_fit_is_refused_with_the_template_that_does(tmp_path):
    pq.write_table(pa.table({"question": ["a"], "answer": ["b"]}), tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_pylist(RECORDS), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"no columns prompt and response or .* or text .*--template chat"):
        read(tmp_path / "b.parquet", TextSettings(template="instruction"))
    with pytest.raises(InputError, match=r"no column 'text'.*--template instruction"):
        read(tmp_path / "a.parquet", TextSettings())
    assert read(tmp_path / "a.parquet", TextSettings(template="instruction"))[0].text == "a\n\nb"


def test_chats_pairs_and_plain_text_are_read_by_one_template(tmp_path):
    records = [{"messages": talk(1)}, {"prompt": "a", "response": "b"}, {"text": "plain"}, {"body": "none"}]
    (tmp_path / "a.jsonl").write_bytes(lines(records))
    texts = [getattr(entry, "text", entry[2]) for entry in read(tmp_path / "a.jsonl")]
    assert texts[1:] == ["User: a\n\nAssistant: b", "plain", "missing_text"]
    instruction = read(tmp_path / "a.jsonl", TextSettings(template="instruction"))
    assert [getattr(entry, "text", entry[2]) for entry in instruction] == [
        "missing_text",
        "a\n\nb",
        "plain",
        "missing_text",
    ]


def test_a_file_of_text_needs_no_template(tmp_path):
    (tmp_path / "a.txt").write_text("plain words")
    assert [entry.text for entry in read(tmp_path / "a.txt")] == ["plain words"]


def test_half_a_surrogate_pair_costs_its_line_alone(tmp_path):
    bad = rb'{"messages": [{"role": "user", "content": "\ud800"}]}' + b"\n"
    other = rb'{"messages": [{"role": "user", "content": "fine"}], "note": "\ud800"}' + b"\n"
    (tmp_path / "a.jsonl").write_bytes(bad + other)
    assert [getattr(entry, "reason", "taken") for entry in read(tmp_path / "a.jsonl")] == [
        "invalid_utf8",
        "taken",
    ]
