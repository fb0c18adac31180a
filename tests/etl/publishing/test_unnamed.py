"""Only what has a name of ours is removed, never a link, and never what a manifest names."""

import pytest

from dmix.etl.publishing.publish import STAGING
from dmix.etl.publishing.unnamed import collected, hidden, needed_by, outside, unnamed_below


@pytest.fixture
def tree(tmp_path):
    """Files by their paths below a folder."""

    def make(*names):
        for name in names:
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"12345")
        return tmp_path / "data"

    return make


def names(folder, paths):
    return [str(path.relative_to(folder)) for path in paths]


def test_topmost_entries_that_hold_nothing_named_are_found_in_order(tree):
    folder = tree("a/kept.parquet", "a/stray.parquet", "b/c/deep.parquet", "z.parquet")
    assert names(folder, unnamed_below(folder, {folder / "a/kept.parquet"})) == [
        "a/stray.parquet",
        "b",
        "z.parquet",
    ]
    assert unnamed_below(folder / "none", set()) == []


def test_a_needed_link_to_a_folder_is_not_followed(tree, tmp_path):
    folder = tree("a/kept.parquet")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.parquet").touch()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    needed = needed_by([folder / "a/kept.parquet", folder / "link/y.parquet"])
    assert list(outside(folder, needed)) == []


def test_needed_folders_are_all_those_above_a_file(tree):
    folder = tree("a/b/c.parquet")
    assert {folder, folder / "a", folder / "a/b"} <= needed_by([folder / "a/b/c.parquet"])


def test_files_of_others_stay_and_hold_their_folder(tree):
    folder = tree("a/labels.parquet", "a/notes.txt", "b/shard.00000.mds", "b/index.json")
    found = collected([folder / "a", folder / "b"], dry_run=False)
    assert [(entry.path, entry.size_bytes) for entry in found] == [
        (folder / "a/labels.parquet", 5),
        (folder / "b", 10),
    ]
    assert names(folder, sorted(folder.rglob("*"))) == ["a", "a/notes.txt"]


def test_a_dry_run_removes_nothing(tree):
    folder = tree("a/labels.parquet")
    assert [entry.path for entry in collected([folder / "a"], dry_run=True)] == [folder / "a"]
    assert (folder / "a/labels.parquet").exists()


def test_a_staging_folder_goes_whole_unless_it_holds_a_link(tree, tmp_path):
    folder = tree(f"{STAGING}/attempts/anything.txt", f"x/{STAGING}/any.txt")
    (folder / "x" / STAGING / "link").symlink_to(tmp_path)
    assert hidden(folder) == [folder / STAGING] and hidden(folder / "none") == []
    found = collected([folder / STAGING, folder / "x" / STAGING], dry_run=False)
    assert [entry.path for entry in found] == [folder / STAGING]
    assert not (folder / STAGING).exists() and (folder / "x" / STAGING / "any.txt").exists()


def test_links_and_files_that_are_gone_are_no_garbage(tree, tmp_path):
    folder = tree("real.parquet")
    (folder / "link.parquet").symlink_to(folder / "real.parquet")
    assert collected([folder / "link.parquet", folder / "gone.parquet"], dry_run=False) == []
    assert (folder / "link.parquet").is_symlink()


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("v12.json", True),
        ("0123456789abcdef.json", True),
        (".labels.parquet.x7", True),
        ("shard.00001.mds", True),
        ("probes.json", True),
        ("my.json", False),
        ("v.json", False),
        ("notes.md", False),
        (".env", False),
    ],
)
def test_which_names_are_ours(tree, name, ours):
    folder = tree(name)
    assert bool(collected([folder / name], dry_run=True)) is ours
