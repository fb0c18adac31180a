"""What stands in a folder of inputs is read once, or counted and named, or refused."""

import errno
import os
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from dmix.etl.reading.sources import find_files
from dmix.warehouse_schema.errors import InputError

LINE = b'{"text": "a document"}\n'


def made(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(LINE)
    return root


def names(found):
    return [file.name for file in found.files]


@pytest.fixture(params=["folder", "glob"])
def given(request, tmp_path):
    """(folder `in`, what names all of it)."""
    return tmp_path / "in", str(tmp_path / "in" / "**") if request.param == "glob" else str(tmp_path / "in")


def test_a_folder_that_may_not_be_read_is_refused(given, monkeypatch):
    root, pattern = given
    made(root, "open/a.jsonl", "closed/b.jsonl")
    scandir = os.scandir

    def closed(path="."):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(InputError, match=r"may not read input .*closed"):
        find_files([pattern])


@pytest.mark.parametrize("name", ["lost.jsonl", "lost.txt.gz", "lost_folder", "lost.xz"])
def test_a_link_to_nothing_is_refused_where_documents_may_be_missing(given, name):
    root, pattern = given
    made(root, "good.jsonl")
    (root / name).symlink_to("/nonexistent/blob")
    with pytest.raises(InputError, match=rf"{name} is broken \(/nonexistent/blob"):
        find_files([pattern])


def test_a_link_to_nothing_of_another_ending_is_counted(tmp_path):
    made(tmp_path, "good.jsonl")
    (tmp_path / "lost.csv").symlink_to("/nonexistent/blob")
    assert find_files([str(tmp_path)]).skipped == {"link lost.csv to nothing": 1}


def test_a_named_link_to_nothing_says_so(tmp_path):
    (tmp_path / "lost.jsonl").symlink_to("/nonexistent/blob")
    with pytest.raises(InputError, match=r"lost.jsonl does not exist .*/nonexistent/blob"):
        find_files([str(tmp_path / "lost.jsonl")])


def test_linked_folders_are_followed_once(tmp_path):
    root = made(tmp_path / "in", "real/a.jsonl")
    made(tmp_path / "scratch", "b.jsonl", "deep/c.jsonl")
    (root / "elsewhere").symlink_to(tmp_path / "scratch")
    (root / "again").symlink_to(tmp_path / "scratch")
    (root / "self").symlink_to(root / "real")
    assert names(find_files([str(root)])) == ["again/b.jsonl", "again/deep/c.jsonl", "real/a.jsonl"]


def test_loops_end_and_are_named(tmp_path):
    root = made(tmp_path / "in", "a/b/x.jsonl")
    made(tmp_path, "beside.jsonl")
    (root / "a/b/up").symlink_to(root)
    (root / "a/b/out").symlink_to(tmp_path)
    found = find_files([str(root)])
    assert names(found) == ["a/b/x.jsonl"]
    assert found.skipped == {
        "link out to a folder that contains the link": 1,
        "link up to a folder that contains the link": 1,
    }
    (root / "itself.jsonl").symlink_to(root / "itself.jsonl")
    with pytest.raises(InputError, match=r"itself\.jsonl is broken"):
        find_files([str(root)])


@pytest.mark.parametrize("name", [".loop", "_tmp", ".a/_tmp"])
def test_a_loop_among_what_is_left_out_anyway_is_no_matter(tmp_path, name):
    root = made(tmp_path / "in", "x.jsonl")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).symlink_to(Path(name).name)
    assert names(find_files([str(root)])) == ["x.jsonl"]


def test_a_left_out_link_into_a_closed_folder_is_no_matter(tmp_path, monkeypatch):
    root = made(tmp_path / "in", "x.jsonl", "_temporary/y.jsonl")

    class Closed:
        def __init__(self, entry):
            self.name, self.is_symlink = entry.name, entry.is_symlink

        def is_dir(self, *, follow_symlinks=True):
            raise PermissionError(13, "Permission denied", self.name)

    scandir = os.scandir

    @contextmanager
    def closed(folder):
        with scandir(folder) as listing:
            yield [Closed(entry) if entry.name == "_temporary" else entry for entry in listing]

    monkeypatch.setattr(os, "scandir", closed)
    found = find_files([str(root)])
    assert names(found) == ["x.jsonl"] and found.skipped == {"_temporary": 1}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "empty name"),
        (" ", "empty name"),
        ("memory://in/a.jsonl", "memory://, expected .*s3://"),
        ("file:///in", "scheme file://"),
        ("~no-such-user/in", "give the whole path"),
        ("x" * 5000, "shorter names"),
        ("s3:///in", "is not a remote folder"),
    ],
)
def test_a_name_that_can_be_no_input_is_refused(given, said):
    with pytest.raises(InputError, match=said):
        find_files([given])


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.ENOTCONN, errno.EIO])
def test_a_folder_that_the_system_does_not_open_is_named_with_what_to_do(tmp_path, monkeypatch, number):
    root = made(tmp_path / "in", "x.jsonl")

    def fails(folder):
        raise OSError(number, os.strerror(number), str(folder))

    monkeypatch.setattr(os, "scandir", fails)
    with pytest.raises(InputError, match=f"cannot read .*{root}.*{os.strerror(number)}"):
        find_files([str(root)])


def test_two_names_of_one_file_are_one_document_and_the_other_is_named(tmp_path):
    root = made(tmp_path / "in", "m.jsonl")
    (root / "a.jsonl").symlink_to(root / "m.jsonl")
    found = find_files([str(root)])
    assert names(found) == ["m.jsonl"]
    assert found.skipped == {"a.jsonl (another name of m.jsonl)": 1}


def test_a_cache_of_the_hub_keeps_the_names_of_its_links(tmp_path):
    made(tmp_path, "blobs/0f3a")
    for revision in ("one", "two"):
        (tmp_path / "snapshots" / revision).mkdir(parents=True)
        (tmp_path / "snapshots" / revision / "d.jsonl").symlink_to("../../blobs/0f3a")
    found = find_files([str(tmp_path / "snapshots")])
    assert names(found) == ["one/d.jsonl"]
    assert found.skipped == {"d.jsonl (another name of d.jsonl)": 1}


def test_what_is_no_regular_file_is_counted(tmp_path):
    made(tmp_path, "a.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    # as a link to /proc/kmsg, whose reader may wait for ever
    (tmp_path / "system.txt").symlink_to("/proc/version")
    assert find_files([str(tmp_path)]).skipped == {
        "pipe.jsonl (no regular file)": 1,
        "system.txt (no regular file)": 1,
    }


def test_what_engines_leave_is_named_and_other_folders_of_that_look_are_read(given):
    root, pattern = given
    made(
        root,
        "part-0.jsonl",
        "_posts/a.md",
        "_temporary/0/part-0.jsonl",
        "__magic_job-1/x.jsonl",
        "_tmp.x.jsonl",
    )
    made(root, "_metadata", "deep/_spark_metadata/0.json")
    found = find_files([pattern])
    assert names(found) == ["_posts/a.md", "part-0.jsonl"]
    assert {name.rstrip("/") for name in found.skipped} == {
        "_temporary",
        "__magic_job-1",
        "_tmp.x.jsonl",
        "_metadata",
        "_spark_metadata",
    }


def test_a_folder_of_an_engine_is_read_if_it_is_named(tmp_path):
    made(tmp_path, "_temporary/0/part-0.jsonl")
    assert names(find_files([str(tmp_path / "_temporary")])) == ["0/part-0.jsonl"]


@pytest.mark.parametrize(
    ("log", "kind"),
    [("t/_delta_log/0.json", "Delta"), ("t/metadata/v1.metadata.json", "Iceberg"), ("t/.hoodie/x", "Hudi")],
)
def test_a_table_whose_log_says_what_counts_is_refused(tmp_path, log, kind):
    made(tmp_path, "t/part-0.parquet", log)
    with pytest.raises(InputError, match=rf"t is a table of {kind}"):
        find_files([str(tmp_path)])
    assert names(find_files([f"{tmp_path}/t/*.parquet"])) == ["part-0.parquet"]


def test_the_warehouse_among_the_inputs_is_left_out_behind_a_link_too(tmp_path):
    root = made(tmp_path / "in", "a.jsonl")
    made(tmp_path / "w", "labels/b.jsonl")
    (root / "w").symlink_to(tmp_path / "w")
    found = find_files([str(root)], not_below=tmp_path / "w")
    assert (names(found), found.skipped) == (["a.jsonl"], {})


def test_remote_folders_are_walked_by_the_same_rules(monkeypatch):
    from dmix.etl.reading import sources
    from dmix.warehouse_schema.files.storage import RemoteFile, RemotePath

    def listing(*paths):
        monkeypatch.setattr(RemotePath, "size_bytes", property(lambda self: None))
        monkeypatch.setattr(
            RemotePath, "files", lambda self: iter(RemoteFile(self / path, 1, 1) for path in paths)
        )
        skipped = Counter()
        found = [Path(url).name for url, _ in sources._remote(RemotePath.at("s3://b/in"), skipped, {})]
        return found, skipped

    found, skipped = listing("a.jsonl", "_temporary/0/a.jsonl", ".x/b.jsonl", "_posts/c.md", "_SUCCESS")
    assert found == ["a.jsonl", "c.md"]
    assert skipped == {"_temporary/": 1, "_SUCCESS": 1, ".x/ (hidden)": 1}
    with pytest.raises(InputError, match="s3://b/in/t is a table of Delta"):
        listing("t/a.parquet", "t/_delta_log/0.json")
    with pytest.raises(InputError, match="s3://b/in is a table of Iceberg"):
        listing("data/a.parquet", "metadata/v1.metadata.json")
