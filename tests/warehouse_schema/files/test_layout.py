import errno
import os
import shutil

import pytest

from dmix.warehouse_schema.errors import InputError, NotFoundError, StorageError
from dmix.warehouse_schema.files.layout import (
    Warehouse,
    checked_name,
    publish_bytes,
    publish_folder,
    publish_json,
    read_json,
    storage_errors,
    write_errors,
    written_together,
)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "x" * 81])
def test_names_that_cannot_be_folders_are_refused(name):
    with pytest.raises(InputError, match=r"corpus name .* cannot be a folder"):
        checked_name("corpus", name)


def test_a_missing_warehouse_is_named_with_the_remedy(tmp_path):
    with pytest.raises(NotFoundError, match=r"nowhere does not exist; run 'dmix etl classify' first"):
        Warehouse.at(tmp_path / "nowhere").require()


def test_a_project_is_told_from_its_warehouse(tmp_path):
    (tmp_path / "my project" / "warehouse" / "labels").mkdir(parents=True)
    with pytest.raises(NotFoundError, match=r"contains one; give --warehouse '.*my project/warehouse'"):
        Warehouse.at(tmp_path / "my project").require()
    assert Warehouse.at(tmp_path / "my project" / "warehouse").require()
    (tmp_path / "my project" / "runs").mkdir()
    assert Warehouse.at(tmp_path / "my project").require()


def test_the_root_is_absolute_whatever_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Warehouse.at("w").root == tmp_path / "w"


def test_a_published_file_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "sub" / "f.json"
    publish_json(path, {"b": 1, "a": "ä"})
    publish_json(path, {"b": 2, "a": "ä"})
    assert path.read_text(encoding="utf-8") == '{\n "a": "ä",\n "b": 2\n}\n'
    assert [p.name for p in path.parent.iterdir()] == ["f.json"]


def test_a_failed_publish_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "f"
    publish_bytes(path, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match=r"No space left on device .*; free some space"):
        publish_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "exit_code", "remedy"),
    [
        (errno.EACCES, 2, "check the permissions"),
        (errno.EPERM, 2, "check the permissions"),
        (errno.EROFS, 2, "that can be written"),
        (errno.ENOTDIR, 2, "another folder"),
        (errno.ENOSPC, 1, "free some space"),
        (errno.EDQUOT, 1, "free some space"),
        (errno.EFBIG, 1, "ulimit -f"),
    ],
)
def test_a_place_that_refuses_is_wrong_input_and_a_full_disk_a_failure(number, exit_code, remedy):
    with pytest.raises(StorageError, match=remedy) as raised, storage_errors("x"):
        raise OSError(number, "no", "x")
    assert raised.value.exit_code == exit_code


def test_other_os_errors_pass_through():
    with pytest.raises(ConnectionResetError), storage_errors("x"):
        raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_broken_and_missing_json_are_named(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"bad\.json is not valid JSON"):
        read_json(tmp_path / "bad.json")
    with pytest.raises(NotFoundError, match=r"none\.json does not exist"):
        read_json(tmp_path / "none.json")


@pytest.mark.parametrize("root", ["s3://bucket/w", "gs://b", "file:///tmp/w", "s3:/bucket/w", "hdfs://h/w"])
def test_a_warehouse_is_no_url(root):
    with pytest.raises(InputError, match=r"is a URL, expected a local folder.*--data-url"):
        Warehouse.at(root)


@pytest.mark.parametrize("root", ["what?/w", "back\\slash"])
def test_a_path_that_the_catalog_cannot_have_is_refused_before_anything_is_made(tmp_path, root):
    with pytest.raises(InputError, match="DuckDB"):
        Warehouse.at(tmp_path / root)


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (OSError(28, "No space left on device"), "free some space"),
        (
            RuntimeError("[enforce at inline_container.cc] PytorchStreamWriter failed writing file data/1"),
            "free some space",
        ),
        (RuntimeError("[enforce fail at inline_container.cc] . unexpected pos 64 vs 0"), "free some space"),
        (
            Exception('I/O error: Os { code: 28, kind: StorageFull, message: "No space left on device" }'),
            "free some space",
        ),
        (
            Exception('I/O error: Os { code: 27, kind: FileTooLarge, message: "File too large" }'),
            "ulimit -f",
        ),
        (Exception("Permission denied (os error 13)"), "permissions"),
        (FileExistsError(errno.EEXIST, "File exists", "x"), "another folder"),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device: 'a' -> 'b'")]), "free some space"),
    ],
)
def test_a_disk_that_refuses_is_one_in_whatever_words(error, fix, tmp_path):
    with pytest.raises(StorageError, match=fix), write_errors(tmp_path):
        raise error
    with pytest.raises(KeyError), write_errors(tmp_path):
        raise KeyError("weights")


def test_a_published_folder_replaces_the_older_one(tmp_path, monkeypatch):
    result = tmp_path / "deep" / "r"

    def publish(content):
        (tmp_path / "t").mkdir(exist_ok=True)
        (tmp_path / "t" / "f").write_text(content)
        publish_folder(tmp_path / "t", result)

    publish("old")
    publish("new")
    assert (result / "f").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]

    def refuses(self, target):
        if self.name == "t":
            raise OSError(errno.EACCES, "Permission denied", str(target))
        return rename(self, target)

    rename = type(tmp_path).rename
    monkeypatch.setattr(type(tmp_path), "rename", refuses)
    with pytest.raises(StorageError, match="permissions"):
        publish("newest")
    assert (result / "f").read_text() == "new" and not (tmp_path / "t.old").exists()


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    (tmp_path / "b.json").mkdir()
    for name in ("a.json", "b.json"):
        with pytest.raises(InputError, match=f"{name} is a folder, a pipe or a device"):
            read_json(tmp_path / name)


def test_names_of_files_that_are_no_utf8_survive_and_other_halves_of_characters_are_refused(tmp_path):
    publish_json(tmp_path / "a.json", {"folder": "/data/\udcff"})
    assert read_json(tmp_path / "a.json") == {"folder": "/data/\udcff"}
    (tmp_path / "a.json").write_text(r'{"label": "\ud800"}')
    with pytest.raises(InputError, match="surrogates not allowed"):
        read_json(tmp_path / "a.json")


def test_files_that_are_written_together_appear_together(tmp_path):
    folder = tmp_path / "new" / "out"
    for word in ("first", "second"):
        with written_together(folder) as written:
            (written / "a").write_text(word)
            (written / "b").write_text(word)
            assert not (folder / "b").exists() or (folder / "b").read_text() == "first"
        assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": word, "b": word}


@pytest.mark.parametrize("there", [False, True])
def test_nothing_appears_where_one_of_the_files_cannot_be_written(tmp_path, there):
    folder = tmp_path / "new" / "out"
    if there:
        folder.mkdir(parents=True)
        (folder / "a").write_text("old")
    with pytest.raises(StorageError, match=f"{folder}: No space left"), written_together(folder) as written:
        (written / "a").write_text("new")
        raise OSError(errno.ENOSPC, "No space left on device")
    left = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))]
    assert left == (["new", "new/out", "new/out/a"] if there else [])
    assert not there or (folder / "a").read_text() == "old"
