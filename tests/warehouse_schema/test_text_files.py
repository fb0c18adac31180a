"""Text files that people write are read whatever their editor made of them, or refused with a sentence."""

import codecs
import os

import pytest

from dmix.warehouse_schema import text_files
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.changes import accepted_changes
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.weights import file_digest
from dmix.warehouse_schema.text_files import excerpt, parse_json, parse_yaml, read_json_object, read_text

TEXT = "Größe\nनमस्ते\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    ],
    ids=["utf-8", "utf-8 with a mark", "utf-16-le", "utf-16-be", "utf-32"],
)
def test_the_text_is_the_same_in_every_encoding_that_says_what_it_is(tmp_path, content):
    (tmp_path / "f.txt").write_bytes(content)
    assert read_text(tmp_path / "f.txt") == TEXT


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Größe".encode("latin-1"), "UTF-8"),
        (b"a\0b\0", "zero bytes"),
        (codecs.BOM_UTF16_LE + b"abc", "UTF-16"),
    ],
)
def test_bytes_that_are_no_such_text_are_refused_with_the_name_of_the_file(tmp_path, content, said):
    (tmp_path / "f.txt").write_bytes(content)
    with pytest.raises(InputError, match=rf"f\.txt.*{said}"):
        read_text(tmp_path / "f.txt")


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match="none"):
        read_text(tmp_path / "none")
    with pytest.raises(InputError, match="folder"):
        read_text(tmp_path)


def test_a_pipe_that_nobody_writes_is_not_waited_for(tmp_path):
    run = tmp_path / "runs" / "r"
    run.mkdir(parents=True)
    for name in ("config.yaml", "events.jsonl"):
        os.mkfifo(run / name)
        with pytest.raises(InputError, match=f"{name} is a pipe or a device, expected a file"):
            read_text(run / name)
        with pytest.raises(InputError, match="a pipe or a device"):
            file_digest(run / name)
    assert list(accepted_changes(Warehouse.at(tmp_path))) == []
    assert read_text("/dev/null") == ""


def test_a_json_file_holds_an_object(tmp_path):
    path = tmp_path / "c.json"
    path.write_bytes(codecs.BOM_UTF8 + b'{"a": 1}')
    assert read_json_object(path) == {"a": 1}
    for content, said in (("{", "valid JSON"), ("[1]", "list"), ("[" * 100_000, "valid JSON")):
        path.write_text(content)
        with pytest.raises(InputError, match=said):
            read_json_object(path)


def test_a_name_that_comes_twice_is_refused_at_every_depth():
    with pytest.raises(InputError, match=r"'a' twice \(lines 1 and 3\)"):
        parse_yaml("a: 1\nb: 2\na: 3\n", where="f.yaml")
    with pytest.raises(InputError, match="'x' twice"):
        parse_yaml("a:\n  - {x: 1, x: 1}\n", where="f.yaml")
    assert parse_yaml("a: {x: 1}\nb: {x: 1}\n", where="f.yaml") == {"a": {"x": 1}, "b": {"x": 1}}


@pytest.mark.parametrize(
    "text",
    [
        "yes: 1\ntrue: 2",
        "1: a\n0x1: b",
        "1: a\n1.0: b",
        "~: 1\nnull: 2",
        "a: {1: x, '1': y}",
        "on: 1\nyes: 2",
    ],
)
def test_one_name_written_in_two_ways_comes_twice(text):
    with pytest.raises(InputError, match="twice"):
        parse_yaml(text, where="f.yaml")
    assert parse_yaml("yes: 1\nno: 2\n3: 3\n4: 4\n2: 5", where="f")[2] == 5


def test_a_yaml_file_has_a_bound(monkeypatch):
    monkeypatch.setattr(text_files, "MOST_YAML_CHARACTERS", 10)
    assert parse_yaml("a: 2345678", where="f") == {"a": 2345678}
    with pytest.raises(InputError, match="f has 11 characters, expected at most 10"):
        parse_yaml("a: 23456789", where="f")


def test_aliases_and_merges_work_and_bombs_of_them_are_refused():
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\n", where="f") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
    }
    bomb = "a0: &a0 [1, 1]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
    )
    with pytest.raises(InputError, match="aliases"):
        parse_yaml(bomb, where="f")
    with pytest.raises(InputError, match="refers to itself"):
        parse_yaml("a: &a [*a]\n", where="f")


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: 1\x1a",
        "[" * 5_000,
        "a: 2001-99-99",
        "a: !!python/object:os.system {}",
        "? [1]\n: 2",
        "!!bool x",
        "!!timestamp x",
    ],
)
def test_what_is_no_yaml_is_one_sentence(text):
    with pytest.raises(InputError, match=r"YAML|levels"):
        parse_yaml(text, where="f.yaml")


def test_a_character_in_two_escapes_is_one_and_half_of_it_is_refused(tmp_path):
    assert parse_yaml(r'{"source/\ud83d\ude00": 1}', where="f") == {"source/😀": 1}
    assert parse_yaml(r'a: "/data/\udcff"', where="f") == {
        "a": "/data/\udcff"
        # the name of a file that is no UTF-8
    }
    with pytest.raises(InputError, match=r"f\.yaml, line 2.*half a surrogate pair"):
        parse_yaml('a: 1\n"\\ud800": 2\n', where="f.yaml")
    path = tmp_path / "c.json"
    path.write_text(r'{"a": "\ud83d\ude00"}')
    assert read_json_object(path) == {"a": "😀"}
    path.write_text(r'{"a": "\uD800"}')
    with pytest.raises(InputError, match="surrogates not allowed"):
        read_json_object(path)
    assert parse_json(rb'{"a": "\udcff"}', paths=True) == {"a": "\udcff"}


@pytest.mark.parametrize(("text", "base"), [("seed: 010", 8), ("a: [1:30]", 60), ("-01", 8), ("1:30.5", 60)])
def test_numbers_that_yaml_reads_in_another_base_are_refused(text, base):
    with pytest.raises(InputError, match=rf"line 1: YAML reads the number .* in base {base}"):
        parse_yaml(text, where="f")
    assert parse_yaml("[0, -0, 10, 0.5, 0x10, '010', 007x, 'a: 1:30', 1e-3]", where="f") == [
        0, 0, 10, 0.5, 16, "010", "007x", "a: 1:30", "1e-3"
    ]  # fmt: skip


def test_a_path_that_the_system_refuses_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read .File name too long"):
        read_text(tmp_path / ("x" * 300))


@pytest.mark.parametrize("number", ["0x" + "f" * 5_000, "1" + ":59" * 50_000, "1" + "_0" * 999, "9" * 1_001])
def test_a_number_that_nobody_can_print_is_refused_and_its_text_is_not(number):
    with pytest.raises(InputError, match=r"f\.yaml has a number of .* in line 2"):
        parse_yaml(f"b: 1\na: {number}", where="f.yaml")
    assert parse_yaml(f"a: '{number}'", where="f.yaml") == {"a": number}


@pytest.mark.parametrize("content", ["a: \x01", "a: \x7f", "\ud800"])
def test_control_characters_are_no_yaml(content):
    with pytest.raises(InputError, match="YAML"):
        parse_yaml(content, where="f.yaml")


def test_a_zero_character_is_refused_since_no_path_takes_it():
    with pytest.raises(InputError, match=r"f\.yaml has a zero character in line 2"):
        parse_yaml('b: 1\na: ["x\\0y"]', where="f.yaml")


def test_an_excerpt_ends_at_white_space():
    assert excerpt("short", 400) == "short"
    assert excerpt("word " * 200, 400).endswith("word")
    assert len(excerpt("word " * 200, 400)) <= 400
    assert excerpt("x" * 500, 400) == "x" * 400
