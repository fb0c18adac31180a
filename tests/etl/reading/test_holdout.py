import json
from hashlib import sha256

import pytest

from dmix.etl.reading.documents import Document
from dmix.etl.reading.holdout import PLAIN, draw_items, field_folders, hold_out, split_end
from dmix.etl.reading.inspection import inspect_file
from dmix.etl.reading.records import read_documents
from dmix.etl.reading.sources import find_files
from dmix.etl.spark.tasks import Meter
from dmix.warehouse_schema.errors import InputError


@pytest.fixture
def two_files(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("a", "b"):
        lines = [json.dumps({"id": f"{name}{i}", "text": f"{name}{i} " + "words " * 30}) for i in range(400)]
        (folder / f"{name}.jsonl").write_text("\n".join([*lines, "not json"]) + "\n")
    return folder


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_items_and_corpus_are_disjoint_and_nothing_is_lost(two_files, tmp_path):
    corpus, items = tmp_path / "corpus.jsonl", tmp_path / "items.jsonl"
    result = hold_out([str(two_files)], corpus=corpus, items=items, num_items=8, limit_bytes=10**6)
    kept, held = read(corpus), read(items)
    assert (result.kept, result.items, dict(result.rejected)) == (792, 8, {"malformed_json": 2})
    assert {d["id"] for d in kept} | {d["id"] for d in held} == {f"{n}{i}" for n in "ab" for i in range(400)}
    assert {d["id"][0] for d in held} == {"a", "b"}


def places(path):
    """(path, position, id or reason) of all documents and rejects of files."""
    return {
        (found.path, found.position, found.id if isinstance(found, Document) else found.reason)
        for file in find_files([str(path)]).files
        for found in read_documents(
            inspect_file(file, columns=()), columns=PLAIN, max_document_bytes=10**6, meter=Meter(None)
        )
    }


def test_documents_and_rejects_of_a_copy_have_the_places_and_ids_of_the_original(two_files, tmp_path):
    (two_files / "notes").mkdir()
    (two_files / "notes" / "a \u00fc.txt").write_text("a text of a file " * 100)
    (two_files / "latin.txt").write_bytes(b"caf\xe9 " * 20)
    lines = ['{"text": "without an id"}', "", '{"text": "a line later"}', '{"no": "text"}']
    (two_files / "a.jsonl").write_text("\n".join(lines))
    copy, items = tmp_path / "copy" / "documents.jsonl", tmp_path / "items.jsonl"
    result = hold_out([str(two_files)], corpus=copy, items=items, num_items=8, limit_bytes=10**6)
    held = {item["id"] for item in read(items)}
    assert places(copy.parent) == {place for place in places(two_files) if place[2] not in held}
    assert sum(result.rejected.values()) == 3
    # a copy of text that can all be read takes the list of before away
    for name in ("a.jsonl", "latin.txt"):
        (two_files / name).unlink()
    (two_files / "b.jsonl").write_text("".join(f'{{"text": "{i} {"words " * 30}"}}\n' for i in range(400)))
    hold_out([str(two_files)], corpus=copy, items=items, num_items=8, limit_bytes=10**6)
    assert [path.name for path in copy.parent.iterdir()] == ["documents.jsonl"]


def test_items_that_an_unreadable_file_cannot_give_come_from_the_others(two_files, tmp_path):
    (two_files / "a.jsonl").write_text('{"content": "no text column"}\n' * 50)
    corpus, items = tmp_path / "corpus.jsonl", tmp_path / "items.jsonl"
    result = hold_out([str(two_files)], corpus=corpus, items=items, num_items=8, limit_bytes=10**6)
    assert result.items == 8 and {d["id"][0] for d in read(items)} == {"b"}
    # items are drawn from files in the order of their hashes
    names = sorted(("a.jsonl", "b.jsonl"), key=lambda name: sha256(name.encode()).digest())
    (two_files / "b.jsonl").rename(tmp_path / "whole")
    (two_files / names[0]).write_text('{"content": "no text column"}\n' * 50)
    (tmp_path / "whole").rename(two_files / names[1])
    drawn = draw_items([str(two_files)], num_items=8)
    assert len(drawn.feedback) == 8 and len(drawn.judging) > 4  # the file has six judging documents


def test_ten_long_files_give_their_ends(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    texts = [" ".join(f"{name}{i}" for i in range(3000)) for name in "abcdefghij"]
    for name, text in zip("abcdefghij", texts, strict=True):
        (folder / f"{name}.md").write_text(text)
    corpus, items = tmp_path / "corpus.jsonl", tmp_path / "items.jsonl"
    result = hold_out([str(folder)], corpus=corpus, items=items, num_items=60, limit_bytes=10**6)
    assert (result.kept, result.items) == (10, 20)
    words = [set(d["text"].split()) for d in (*read(corpus), *read(items))]
    assert sum(map(len, words)) == len(set.union(*words)) == 30_000  # disjoint, and nothing is lost
    assert sum(len(d["text"]) for d in read(items)) < 0.11 * sum(map(len, texts))


def test_long_texts_make_up_for_short_ones_that_can_spare_nothing(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i:02}.txt").write_text(f"word{i} " * (5000 if i < 5 else 10))
    corpus, items = tmp_path / "corpus.jsonl", tmp_path / "items.jsonl"
    hold_out([str(folder)], corpus=corpus, items=items, num_items=20, limit_bytes=10**7)
    assert len(read(items)) == 20


def test_end_of_a_short_text_is_not_cut():
    assert split_end("word " * 100, most=3) == ("word " * 100, [])
    text, (end,) = split_end("word " * 200, most=3)
    assert len(text) >= 0.88 * 1000 and 80 <= len(end) <= 100


def test_limit_is_shared_by_the_files(two_files, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    result = hold_out([str(two_files)], corpus=corpus, items=tmp_path / "i", num_items=8, limit_bytes=40_000)
    names = [document["id"][0] for document in read(corpus)]
    assert result.left_out == 2
    assert 0.9 < names.count("a") / names.count("b") < 1.1


def test_too_little_text_says_how_much_is_held_out(tmp_path):
    (tmp_path / "one.txt").write_text("a short text")
    with pytest.raises(InputError, match="one document in 50"):
        hold_out([str(tmp_path)], corpus=tmp_path / "c", items=tmp_path / "i", num_items=5, limit_bytes=100)


def test_fields_are_folders_by_prefix(tmp_path):
    for name in ("source", "target_math", "target_code"):
        (tmp_path / name).mkdir()
    folders = field_folders(tmp_path)
    assert [len(folders["source"]), len(folders["target"])] == [1, 2]
    (tmp_path / "source").rmdir()
    with pytest.raises(InputError, match="no sub-folder 'source'"):
        field_folders(tmp_path)


def test_one_folder_for_both_fields_is_refused(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "target").symlink_to(tmp_path / "source")
    with pytest.raises(InputError, match="both fields have the folder"):
        field_folders(tmp_path)
