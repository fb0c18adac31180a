"""Streams that are read by id: shared memory and caches are given back, and nothing of others is touched."""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streaming.base.dataset as streaming_dataset
import streaming.base.shared.array as streaming_array
import streaming.base.shared.prefix as streaming_prefix
import torch

from dmix.mixing.delivery import shared_streams
from dmix.mixing.delivery.dataset import MixedDataset
from dmix.warehouse_schema.errors import InputError, LockHeldError, StorageError, VerificationError


def copy_of(stored: Any, folder: Path) -> Path:
    """A copy of some streams that a test may damage."""
    return Path(shutil.copytree(stored.folder, folder / "streams"))


def own_blocks() -> set[tuple[str, int]]:
    """Names and inodes of the shared memory that this process has mapped; others may run beside it."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    return {(line[5], int(line[4])) for line in lines if line[-1].startswith("/dev/shm/")}


def still_there(blocks: set[tuple[str, int]]) -> list[str]:
    return [name for name, inode in blocks if Path(name).exists() and Path(name).stat().st_ino == inode]


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_several_datasets_live_side_by_side_and_leave_nothing(stored: Any, dataset: MixedDataset) -> None:
    before, descriptors_before = own_blocks(), descriptors()
    opened = [MixedDataset(stored.manifest, stored.folder) for _ in range(3)]
    for one in opened:
        assert one[3]["input_ids"].tolist() == stored.rows[3].tolist()
    made = own_blocks() - before
    assert len(made) == len(still_there(made)) == 3 * 6
    for one in opened:
        one.close()
        one.close()
    assert own_blocks() == before and not still_there(made)
    assert descriptors() <= descriptors_before
    assert dataset[3]["input_ids"].tolist() == stored.rows[3].tolist()


def test_fifty_datasets_leave_no_descriptor_and_no_block(stored: Any, dataset: MixedDataset) -> None:
    # `dataset` is open all the while: the search for a free name passes its blocks every time
    made, before, descriptors_before = set(), own_blocks(), descriptors()
    for _ in range(50):
        with MixedDataset(stored.manifest, stored.folder) as opened:
            opened.batch([0, 140, 200])
            made |= own_blocks() - before
    assert len(made) == 50 * 6
    assert descriptors() <= descriptors_before
    assert own_blocks() == before and not still_there(made)


def test_closing_twice_leaves_the_dataset_that_took_its_names(stored: Any) -> None:
    first = MixedDataset(stored.manifest, stored.folder)
    first.close()
    with MixedDataset(stored.manifest, stored.folder) as second:
        made = own_blocks()
        first.close()
        assert len(still_there(made)) == len(made)
        assert second[3]["input_ids"].tolist() == stored.rows[3].tolist()


def test_dataset_that_cannot_be_opened_leaves_nothing(two_domains: Any, tmp_path: Path) -> None:
    before, descriptors_before = own_blocks(), descriptors()
    longer = dataclasses.replace(two_domains.manifest, seq_len=16)
    with pytest.raises(VerificationError):
        MixedDataset(longer, two_domains.folder)
    with pytest.raises(StorageError):
        MixedDataset(two_domains.manifest, tmp_path)
    assert own_blocks() == before and descriptors() <= descriptors_before


def test_missing_stream_is_an_error_that_names_the_folder(two_domains: Any, tmp_path: Path) -> None:
    folder = copy_of(two_domains, tmp_path)
    shutil.rmtree(folder / "target")
    with pytest.raises(StorageError, match=f"cannot open the streams in {folder}"):
        MixedDataset(two_domains.manifest, folder)


def test_a_planted_shard_in_a_cache_is_not_read(two_domains: Any, tmp_path: Path, caplog: Any) -> None:
    manifest, folder = two_domains.manifest, two_domains.folder
    [stream] = [entry for entry in manifest.streams if entry.samples][:1]
    shard = next(file.name for file in stream.files if file.samples)
    cache = tmp_path / "cache"
    (cache / stream.path).mkdir(parents=True)
    content = bytearray((folder / stream.path / shard).read_bytes())
    content[-8:] = bytes(8)
    (cache / stream.path / shard).write_bytes(content)
    with MixedDataset(manifest, folder) as right, MixedDataset(manifest, cache, remote=str(folder)) as read:
        ids = list(range(len(right)))
        assert torch.equal(read.batch(ids)["input_ids"], right.batch(ids)["input_ids"])
    assert "differs from the manifest" in caplog.text


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_a_cache_that_others_may_write_is_refused(two_domains: Any, tmp_path: Path, mode: int) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(mode)
    with pytest.raises(InputError, match="others may write to the cache folder"):
        MixedDataset(two_domains.manifest, cache, remote=str(two_domains.folder))


def test_blocks_of_a_killed_process_are_taken_away_and_living_ones_stay(stored: Any, tmp_path: Path) -> None:
    def hold() -> None:
        opened = MixedDataset(stored.manifest, stored.folder)
        there.send(opened._streams.dataset._shm_prefix_int)
        os.kill(os.getpid(), signal.SIGKILL)

    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    with MixedDataset(stored.manifest, stored.folder) as living:
        process = context.Process(target=hold)
        process.start()
        prefix = here.recv()
        process.join()
        block = Path(f"/dev/shm/{prefix:06}_locals")
        assert block.exists()
        mine = Path(f"/dev/shm/{living._streams.dataset._shm_prefix_int:06}_locals")
        inode = block.stat().st_ino
        with MixedDataset(stored.manifest, stored.folder):
            assert not block.exists() or block.stat().st_ino != inode
            assert mine.exists()
        assert living[0]["sample_ids"] == 0


def test_a_cache_that_others_could_exchange_is_refused(two_domains: Any, tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o777)
    with pytest.raises(InputError, match="could exchange the cache"):
        MixedDataset(two_domains.manifest, above / "cache", remote=str(two_domains.folder))
    above.chmod(0o1777)
    MixedDataset(two_domains.manifest, above / "cache", remote=str(two_domains.folder)).close()


def test_a_link_in_a_cache_is_not_written_through(two_domains: Any, tmp_path: Path) -> None:
    (tmp_path / "of the user").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "source").symlink_to(tmp_path / "of the user")
    with pytest.raises(InputError, match="source is a link to"):
        MixedDataset(two_domains.manifest, tmp_path / "cache", remote=str(two_domains.folder))
    assert not list((tmp_path / "of the user").iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"compression": "zstd", "zip_data": {"basename": "a.zstd", "bytes": 9, "hashes": {}}},
        {"column_encodings": ["pkl"]},
        {"column_encodings": ["jpeg"]},
        {"format": "json"},
    ],
    ids=str,
)
def test_shards_of_kinds_that_dmix_never_writes_are_refused(
    two_domains: Any, tmp_path: Path, change: Any
) -> None:
    folder = copy_of(two_domains, tmp_path)
    path = next(folder.glob("*/A/index.json"))
    index = json.loads(path.read_text())
    index["shards"][0] |= change
    path.write_text(json.dumps(index))
    with pytest.raises(InputError, match="which dmix does not read"):
        MixedDataset(two_domains.manifest, folder)


@pytest.mark.parametrize("index", range(9))
def test_a_sample_is_found_in_its_shard(index: int) -> None:
    search = shared_streams._ShardSearch(np.array([4, 2, 3]))
    expected = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    assert search[index] == expected[index]


@pytest.mark.parametrize("index", [-1, 9])
def test_a_sample_beyond_the_shards_is_in_none(index: int) -> None:
    with pytest.raises(IndexError):
        shared_streams._ShardSearch(np.array([4, 2, 3]))[index]


def test_streaming_gets_its_own_classes_back_also_after_an_error() -> None:
    before = streaming_dataset.Spanner, streaming_prefix.SharedMemory, streaming_array.SharedMemory
    with (
        pytest.raises(ValueError, match="x"),
        shared_streams._shard_search(),
        shared_streams._recorded_blocks(),
    ):
        assert streaming_dataset.Spanner is shared_streams._ShardSearch
        assert streaming_prefix.SharedMemory is streaming_array.SharedMemory is not before[1]
        raise ValueError("x")
    after = streaming_dataset.Spanner, streaming_prefix.SharedMemory, streaming_array.SharedMemory
    assert after == before


def test_cached_indexes_that_are_not_the_manifest_s_are_dropped(tmp_path: Path) -> None:
    for folder in ("same", "other", "unknown"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "index.json").write_text(folder)
    wanted = {"same": hashlib.sha256(b"same").hexdigest(), "other": "0" * 64, "missing": "1" * 64}
    shared_streams._drop_other_indexes(["same", "other", "unknown", "missing"], tmp_path, wanted)
    assert sorted(path.parent.name for path in tmp_path.glob("*/index.json")) == ["same", "unknown"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"shards": []}, None),
        ({}, StorageError),
        ({"shards": 3}, StorageError),
        ({"shards": [{}]}, StorageError),
        ({"shards": [{"column_encodings": 1}]}, StorageError),
    ],
    ids=str,
)
def test_a_damaged_index_is_named(tmp_path: Path, content: Any, error: type[Exception] | None) -> None:
    path = tmp_path / "index.json"
    path.write_text(json.dumps(content))
    if error is None:
        shared_streams._check_index(path)
        return
    with pytest.raises(error, match=r"index\.json is damaged"):
        shared_streams._check_index(path)


def test_an_index_that_names_a_file_elsewhere_is_refused(two_domains: Any, tmp_path: Path) -> None:
    folder = copy_of(two_domains, tmp_path)
    path = next(folder.glob("*/A/index.json"))
    index = json.loads(path.read_text())
    index["shards"][0]["raw_data"]["basename"] = "../../elsewhere.mds"
    path.write_text(json.dumps(index))
    with pytest.raises(InputError, match="elsewhere"):
        shared_streams._check_index(path)


def test_a_cache_with_files_of_others_is_refused(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    (cache / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"thesis\.tex"):
        with shared_streams._owned_cache(cache, ["source/A"], ["x"], wait_seconds=0.1):
            pytest.fail("it was taken")
    assert [path.name for path in cache.iterdir()] == ["thesis.tex"]


def test_a_cache_that_another_run_holds_is_refused(tmp_path: Path) -> None:
    cache, given = tmp_path / "cache", (["source/A"], ["x"])
    with shared_streams._owned_cache(cache, *given, wait_seconds=0.1):
        assert cache.stat().st_mode & 0o777 == 0o700
        with pytest.raises(LockHeldError, match="cache"):
            with shared_streams._owned_cache(cache, *given, wait_seconds=0.01):
                pytest.fail("it was taken twice")
    with shared_streams._owned_cache(cache, *given, wait_seconds=0.1):
        pass


def test_records_of_owners_that_cannot_be_read_are_removed(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(shared_streams.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = shared_streams._owners_folder()
    for name, content in (("a.json", "{}"), ("000001.json", "no JSON")):
        (folder / name).write_text(content)
    alive = folder / "999998.json"
    alive.write_text(json.dumps({**shared_streams.this_process(), "folders": []}))
    shared_streams._remove_orphans()
    assert list(folder.iterdir()) == [alive]


def test_ranks_beside_the_first_own_no_blocks(monkeypatch: Any) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert shared_streams._own_blocks(1, ["x"]) is None


def test_no_block_names_no_folders() -> None:
    assert shared_streams._folders_of(999_999) is None
    shared_streams._unlink(999_999)  # nothing to do


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("/etc", "files of other programs|belongs to the user"),
        ("/", "files of other programs|belongs to the user"),
        ("/proc/x", "cannot make"),
        ("files", r"files of other programs \(thesis\.tex\)"),
        ("folders", r"files of other programs \(photos\)"),
        ("group", r"others may write .*mode 770.*chmod go-w"),
        ("open/cache", r"may be written by all \(mode 0777\)"),
        ("link", "is a link to"),
        ("dangling", "cannot make"),
        ("file", "cannot make"),
        ("a\0b", "cannot make"),
    ],
)
def test_a_cache_folder_that_is_not_this_users_alone_is_refused_and_nothing_written(
    tmp_path: Path, folder: str, said: str
) -> None:
    for name, mode in (("files", 0o700), ("folders", 0o700), ("group", 0o770), ("open", 0o777)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    (tmp_path / "files" / "thesis.tex").touch()
    (tmp_path / "folders" / "photos").mkdir()
    (tmp_path / "folders" / "photos" / "one.jpg").touch()
    (tmp_path / "link").symlink_to(tmp_path / "files")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("kept")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=f"({said}).*set another cache_folder"):
        shared_streams.make_cache_folder(tmp_path / folder)
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(os.getuid() != 0, reason="gives a folder to another user")
def test_a_cache_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    above = tmp_path / "theirs"
    (above / "mine").mkdir(parents=True)
    os.chown(above, 12345, 12345)
    for cache, said in ((above, "id 12345"), (above / "mine", "exchange the cache")):
        with pytest.raises(InputError, match=said):
            shared_streams.make_cache_folder(cache)
    assert list(above.iterdir()) == [above / "mine"] and not list((above / "mine").iterdir())


def test_a_cache_folder_holds_caches_of_several_datasets(tmp_path: Path) -> None:
    caches = tmp_path / "new" / "caches"
    for dataset in ("one", "two", "one"):
        shared_streams.make_cache_folder(caches)
        (caches / "lost+found").mkdir(exist_ok=True)
        with shared_streams._owned_cache(caches / dataset, ["source/A"], ["x"], wait_seconds=0.1):
            pass
    assert caches.stat().st_mode & 0o777 == 0o700


def test_streams_of_an_unknown_scheme_are_refused_before_a_cache_is_made(
    two_domains: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"ftp://host/streams.*s3://bucket/streams"):
        MixedDataset(two_domains.manifest, tmp_path / "cache", remote="ftp://host/streams")
    assert not list(tmp_path.iterdir())
