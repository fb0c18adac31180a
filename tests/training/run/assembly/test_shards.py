"""Local shards are held against the manifest when a run opens them, up to a size."""

import dataclasses
import os
import shutil

import pytest

from dmix.training.run.assembly import shards
from dmix.training.run.assembly.job import open_streams
from dmix.training.run.assembly.shards import check_shards
from dmix.warehouse_schema.errors import VerificationError


@pytest.fixture
def changed(job, tmp_path):
    """The job over a copy of its streams, of which one byte of one shard is another."""
    folder = shutil.copytree(job.streams, tmp_path / "streams")
    shard = sorted(folder.rglob("*.mds"))[-1]
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    return dataclasses.replace(job, streams=folder), shard


def test_a_shard_of_equal_size_with_another_byte_is_named(changed):
    job, shard = changed
    with pytest.raises(VerificationError, match=f"{shard} differs from the manifest"):
        open_streams(job)


def test_shards_of_the_manifest_are_read_once_in_a_process(job, monkeypatch):
    read = []
    monkeypatch.setattr(shards, "_checked", {})
    monkeypatch.setattr(shards, "file_digest", lambda path: read.append(path) or _stated(job, path))
    check_shards(job.manifest, job.streams)
    check_shards(job.manifest, job.streams)
    assert sorted(read) == sorted(job.streams.rglob("*.mds"))


def _stated(job, path):
    return next(
        file.sha256
        for stream in job.manifest.streams
        for file in stream.files
        if job.streams / stream.path / file.name == path
    )


def test_a_shard_that_changes_later_is_read_again(changed):
    job, shard = changed
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    check_shards(job.manifest, job.streams)
    content[-3] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(1, 1))
    with pytest.raises(VerificationError):
        check_shards(job.manifest, job.streams)


def test_a_large_dataset_is_left_to_verify_and_a_missing_shard_to_its_reader(changed):
    job, shard = changed
    size_bytes = sum(path.stat().st_size for path in job.streams.rglob("*.mds"))
    check_shards(job.manifest, job.streams, most_bytes=size_bytes - 1)
    with pytest.raises(VerificationError):
        check_shards(job.manifest, job.streams, most_bytes=size_bytes)
    shard.unlink()
    check_shards(job.manifest, job.streams)
