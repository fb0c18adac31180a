import bz2
import gzip
import hashlib
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from dmix.etl.publishing.rejects import REASONS, Reject
from dmix.etl.reading import records
from dmix.etl.reading.documents import Columns, Document, document_id
from dmix.etl.reading.inspection import inspect_file
from dmix.etl.reading.records import read_documents
from dmix.etl.reading.sources import find_files
from dmix.etl.spark.tasks import Meter
from dmix.warehouse_schema.errors import InputError

PLAIN = Columns(text="text", id=None, others=())
LIMIT = 1000


def read(path, *, columns=PLAIN, limit=LIMIT):
    source = inspect_file(find_files([str(path)]).files[0], columns=())
    return list(read_documents(source, columns=columns, max_document_bytes=limit, meter=Meter(None)))


@pytest.fixture
def read_bytes(tmp_path):
    """Everything in a file of this name and content."""

    def read_it(name, content, **options):
        (tmp_path / name).write_bytes(content)
        return read(tmp_path / name, **options)

    return read_it


def jsonl(*values):
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def summary(entries):
    """(position, text) of documents and (position, reason) of rejects."""
    return [(e.position, e.text if isinstance(e, Document) else f"<{e.reason}>") for e in entries]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "cut', "malformed_json"),
        (b"\x00\x00", "malformed_json"),
        (b"[" * 100_000, "malformed_json"),
        (b'{"text": "a", "deep": ' + b"[" * 5_000_000 + b"]" * 5_000_000 + b"}", "malformed_json"),
        (b'{"text": "\xff\xfe"}', "invalid_utf8"),
        (rb'{"text": "half a pair: \ud800"}', "invalid_utf8"),
        (b'["text"]', "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"other": "a"}', "missing_text"),
        (b'{"text": null}', "missing_text"),
        (b'{"text": 7}', "text_not_string"),
        (b'{"text": ["a"]}', "text_not_string"),
        (b'{"text": ""}', "empty_text"),
        (b'{"text": " \\n\\t"}', "empty_text"),
        (b'{"text": "' + b"x" * LIMIT + b'"}', "too_long"),
    ],
)
def test_bad_line_is_a_reject_and_costs_no_neighbour(read_bytes, line, reason):
    limit = LIMIT if reason == "too_long" else 1 << 25
    content = jsonl({"text": "before"}) + line + b"\n" + jsonl({"text": "after"})
    found = read_bytes("a.jsonl", content, limit=limit)
    assert summary(found) == [(1, "before"), (2, f"<{reason}>"), (3, "after")]
    assert reason in REASONS
    assert len(found[1].prefix) <= 200
    found[1].prefix.encode()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"text": "nul \\u0000 inside"}', "nul \0 inside"),
        (b'{"text": "\xf0\x9f\x98\x80 \\ud83d\\ude00"}', "\U0001f600 \U0001f600"),
        (b'{"text": "a", "score": NaN, "big": 123456789012345678901234567890}', "a"),
        (b'{"text": "windows"}\r', "windows"),
        (b'  {"text": " kept as it is "}  ', " kept as it is "),
    ],
)
def test_unusual_lines_are_taken(read_bytes, line, text):
    assert summary(read_bytes("a.jsonl", line + b"\n")) == [(1, text)]


def test_blank_lines_count_as_positions_and_are_no_documents(read_bytes):
    assert summary(read_bytes("a.jsonl", b"\n  \r\n" + jsonl({"text": "a"}) + b'\n{"text": "b"}')) == [
        (3, "a"),
        (5, "b"),
    ]


def test_byte_order_mark_is_no_part_of_the_first_line(read_bytes):
    assert summary(read_bytes("a.jsonl", b"\xef\xbb\xbf" + jsonl({"text": "a"}))) == [(1, "a")]
    assert summary(read_bytes("a.txt", b"\xef\xbb\xbfa")) == [(1, "a")]
    assert summary(read_bytes("a.jsonl", b"\xef\xbb\xbf" * 5000 + jsonl({"text": "a"}), limit=1 << 20)) == [
        (1, "a")
    ]


def test_blank_lines_do_not_reach_the_parser(read_bytes, monkeypatch):
    parsed = []
    monkeypatch.setattr(records.orjson, "loads", lambda line: parsed.append(line) or {"text": "a"})
    assert summary(read_bytes("a.jsonl", b"\n \t\r\n\x0b\nx\n")) == [(4, "a")]
    assert parsed == [b"x"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_empty_file(read_bytes, name):
    assert summary(read_bytes(name, b"")) == ([] if name == "a.jsonl" else [(1, "<empty_text>")])


def test_ids_are_the_documents_own_or_a_hash_of_name_and_position(read_bytes):
    own, number, null, none = (
        {"text": "a", "id": "x"},
        {"text": "b", "id": 7},
        {"text": "c", "id": None},
        {"text": "d"},
    )
    documents = read_bytes("a.jsonl", jsonl(own, number, null, none))
    assert [d.id for d in documents[:2]] == ["x", "7"]
    assert documents[2].id == hashlib.sha256(b"a.jsonl\x003").hexdigest()[:32]
    assert documents[3].id == document_id(None, "a.jsonl", 4) != documents[2].id


def test_named_columns_are_read(read_bytes):
    columns = Columns(text="content", id="url", others=("origin", "absent"))
    (found,) = read_bytes(
        "a.jsonl", jsonl({"content": "a", "url": "u", "id": "no", "origin": ["o"]}), columns=columns
    )
    assert (found.id, found.text, found.values) == ("u", "a", (["o"], None))


def test_text_file_is_one_document(read_bytes):
    (found,) = read_bytes("a.md", "# Tïtle\r\n\r\ntext\n".encode())
    assert (found.text, found.position, found.path) == ("# Tïtle\r\n\r\ntext\n", 1, "a.md")
    assert found.size_bytes == len(found.text.encode())
    assert summary(read_bytes("b.txt", b"\xff\xfe")) == [(1, "<invalid_utf8>")]
    assert summary(read_bytes("c.txt", b"x" * (LIMIT + 1))) == [(1, "<too_long>")]
    assert summary(read_bytes("d.txt", b"x" * LIMIT)) == [(1, "x" * LIMIT)]


COMPRESS = {"gz": gzip.compress, "zst": zstandard.compress, "bz2": bz2.compress}


@pytest.mark.parametrize("ending", COMPRESS)
def test_concatenated_streams_are_one_file(read_bytes, ending):
    content = COMPRESS[ending](jsonl({"text": "a"})[:9]) + COMPRESS[ending](jsonl({"text": "a"})[9:])
    assert summary(read_bytes(f"a.jsonl.{ending}", content)) == [(1, "a")]


# incompressible enough that every cut leaves whole lines before it
MANY = jsonl(*({"text": hashlib.sha256(bytes([i])).hexdigest()} for i in range(200)))


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_documents_before_a_truncation_are_kept_and_one_reject_names_it(read_bytes, ending, share):
    stored = COMPRESS[ending](MANY)
    *documents, reject = read_bytes(f"a.jsonl.{ending}", stored[: int(len(stored) * share)])
    assert reject.reason == "truncated_input"
    assert [d.position for d in documents] == list(range(1, len(documents) + 1))
    assert reject.position == len(documents) + 1
    assert "end mark" in reject.detail
    if ending == "gz" and share == 0.5:
        assert len(documents) > 50


def test_line_that_is_complete_at_the_break_is_a_document(read_bytes):
    stored = gzip.compress(jsonl({"text": "a"}, {"text": "b"})[:-1])[:-8]  # without the checksum
    assert summary(read_bytes("a.jsonl.gz", stored)) == [(1, "a"), (2, "b"), (3, "<truncated_input>")]


def test_damage_inside_a_stream_keeps_what_stands_before_it(read_bytes):
    first = gzip.compress(MANY)
    found = read_bytes("a.jsonl.gz", first + first[:-8] + b"\0" * 8)
    assert found[-1].reason == "damaged_input"
    assert [entry.position for entry in found[:200]] == list(range(1, 201))


def test_truncated_text_file_is_no_document(read_bytes):
    assert summary(read_bytes("a.txt.gz", gzip.compress(b"some text")[:-3])) == [(1, "<truncated_input>")]


def test_parquet_rows_become_documents_or_rejects(tmp_path):
    stored = pa.array([b"one", b"\xff", None, b" ", b"x" * 2000, b"six"])
    text = pa.Array.from_buffers(pa.string(), 6, stored.buffers())  # unchecked, so not all of it UTF-8
    table = pa.table({"text": text, "id": [1, 2, 3, 4, 5, None], "origin": ["a", "b", "c", "d", "e", "f"]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    found = read(tmp_path / "a.parquet", columns=Columns(text="text", id=None, others=("origin",)))
    assert summary(found) == [
        (1, "one"),
        (2, "<invalid_utf8>"),
        (3, "<missing_text>"),
        (4, "<empty_text>"),
        (5, "<too_long>"),
        (6, "six"),
    ]
    assert (found[0].id, found[0].values) == ("1", ("a",))
    assert found[5].id == document_id(None, "a.parquet", 6)


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.binary(), pa.binary(3)]
)
def test_parquet_text_may_have_any_type_of_text(tmp_path, kind):
    texts = pa.array(["abc", "bä"])
    texts = texts.cast(pa.binary()).cast(kind) if pa.types.is_fixed_size_binary(kind) else texts.cast(kind)
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    assert summary(read(tmp_path / "a.parquet")) == [(1, "abc"), (2, "bä")]


def test_parquet_column_of_numbers_is_no_text(tmp_path):
    pq.write_table(pa.table({"text": [1, None]}), tmp_path / "a.parquet")
    assert summary(read(tmp_path / "a.parquet")) == [(1, "<text_not_string>"), (2, "<missing_text>")]


def test_truncated_parquet_is_one_reject(read_bytes):
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"] * 100}), sink)
    assert summary(read_bytes("a.parquet", sink.getvalue()[:-10])) == [(1, "<truncated_input>")]
    assert summary(read_bytes("b.parquet", b"")) == [(1, "<damaged_input>")]


def test_damaged_parquet_page_keeps_the_row_groups_before_it(read_bytes):
    sink = io.BytesIO()
    table = pa.table({"text": [hashlib.sha256(bytes([i])).hexdigest() for i in range(200)]})
    pq.write_table(table, sink, row_group_size=100, compression="zstd")
    content = bytearray(sink.getvalue())
    start = pq.read_metadata(io.BytesIO(content)).row_group(1).column(0).dictionary_page_offset
    content[start + 30 : start + 400] = b"\xaa" * 370
    *documents, reject = read_bytes("a.parquet", bytes(content))
    assert len(documents) == 100
    assert (reject.reason, reject.position) == ("damaged_input", 101)


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_file_that_changed_since_it_was_hashed_is_refused(tmp_path, name):
    path = tmp_path / name

    def write(text):
        if name == "a.jsonl":
            path.write_bytes(jsonl({"text": text}))
        else:
            pq.write_table(pa.table({"text": [text]}), path)

    write("before")
    source = inspect_file(find_files([str(path)]).files[0], columns=())
    write("after!")
    with pytest.raises(InputError, match="changed while dmix read it"):
        list(read_documents(source, columns=PLAIN, max_document_bytes=LIMIT, meter=Meter(None)))


def test_every_entry_is_a_document_or_a_reject(read_bytes):
    found = read_bytes("a.jsonl", MANY + b"nonsense\n")
    assert {type(entry) for entry in found} == {Document, Reject}


@pytest.mark.parametrize(
    "other",
    [rb'"\ud800"', b'"\xff\xfe"', b"NaN", b"9" * 5000, rb'{"deep": ["\udfff"]}'],
    ids=["half a pair", "no UTF-8", "NaN", "a long number", "half a pair inside"],
)
def test_columns_that_nobody_asked_for_decide_nothing(read_bytes, other):
    line = b'{"text": "kept", "title": ' + other + b"}\n"
    assert summary(read_bytes("a.jsonl", line, limit=1 << 20)) == [(1, "kept")]
    asked = Columns(text="text", id=None, others=("title",))
    wanted = "<invalid_utf8>" if other.startswith(b'"') else "kept"
    assert summary(read_bytes("a.jsonl", line, limit=1 << 20, columns=asked)) == [(1, wanted)]


def test_named_ids_that_are_neither_text_nor_number_are_rejects(read_bytes):
    named = Columns(text="text", id="key", others=())
    content = jsonl(*({"text": "a", "key": key} for key in ([1], True, {}, None, 7, 2**70, "x")))
    found = read_bytes("a.jsonl", content, columns=named)
    assert [e.reason if isinstance(e, Reject) else "" for e in found] == ["id_not_text"] * 3 + [""] * 4
    assert [entry.id for entry in found[4:]] == ["7", str(2**70), "x"]


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("a.json", b'{\n  "text": "x"\n}', "jq -c . {folder}/a.json > {folder}/a.jsonl"),
        ("a.json", b'{ "text": "x",\n "n": 1 }', "jq -c . {folder}/a.json"),
        ("a.json", b'[{"text": "x"}]', "jq -c '.[]' {folder}/a.json"),
        (
            "a b.json.gz",
            gzip.compress(b'{\n"text": "x"\n}', mtime=0),
            "gzip -dc '{folder}/a b.json.gz' | jq -c . >",
        ),
    ],
)
def test_advice_for_json_over_several_lines_can_be_copied(tmp_path, name, content, advice):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as raised:
        read(tmp_path / name)
    assert advice.replace("{folder}", str(tmp_path)) in raised.value.message


def test_lines_that_look_alike_are_no_such_document(read_bytes):
    content = b'{"text": "cut\n{"text": "fine"}\n'
    assert summary(read_bytes("a.json", content)) == [(1, "<malformed_json>"), (2, "fine")]


ODD = ["a\0b", "a\x1fb", "a\u2028b", "a\rb", "a\r\nb", "\ta", "a\x85", "\x7f", "\ufeffa", " a ", "\u202ea"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
@pytest.mark.parametrize("id", ["id", None])
def test_ids_and_labels_with_control_characters_are_the_same_in_both_formats(tmp_path, kind, id):
    columns = Columns(text="text", id=id, others=("label",))
    (tmp_path / "a.jsonl").write_bytes(jsonl(*({"text": "t", "id": odd, "label": odd} for odd in ODD)))
    odd = pa.array(ODD).cast(kind) if not isinstance(kind, pa.DictionaryType) else pa.array(ODD, kind)
    pq.write_table(pa.table({"text": ["t"] * len(ODD), "id": odd, "label": odd}), tmp_path / "a.parquet")
    by_lines, by_rows = (read(tmp_path / name, columns=columns) for name in ("a.jsonl", "a.parquet"))
    assert [(d.id, d.values) for d in by_rows] == [(text, (text,)) for text in ODD]
    assert [(d.id, d.values) for d in by_lines] == [(d.id, d.values) for d in by_rows]


@pytest.mark.parametrize("wrong", ["id", "label"])
def test_text_that_is_no_utf8_in_a_column_that_is_read_is_a_reject_in_both_formats(tmp_path, wrong):
    columns = Columns(text="text", id="id", others=("label",))
    (tmp_path / "a.jsonl").write_bytes(
        b'{"text": "t", "id": "x", "label": "y"}\n'.replace(b'"x"' if wrong == "id" else b'"y"', b'"\xff"')
    )
    raw = pa.array([b"\xff"], pa.binary()).view(pa.string())
    table = pa.table({"text": ["t"], "id": ["x"], "label": ["y"], wrong: raw})
    pq.write_table(table, tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        assert summary(read(tmp_path / name, columns=columns)) == [(1, "<invalid_utf8>")]
    [unread] = read(tmp_path / "a.parquet")
    assert unread.text == "t"


def test_bytes_that_are_no_text_are_hexadecimal_digits_as_an_id(tmp_path):
    pq.write_table(pa.table({"text": ["t"], "id": pa.array([b"a\0b"], pa.binary())}), tmp_path / "a.parquet")
    [found] = read(tmp_path / "a.parquet", columns=Columns(text="text", id="id", others=()))
    assert found.id == "610062"
