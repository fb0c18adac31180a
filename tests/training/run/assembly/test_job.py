"""Datasets of a run: local, or downloaded through a cache."""

import dataclasses
import os
import shutil

import pytest
from tests.training.run.runs import with_training

from dmix.training.run.assembly.job import open_streams
from dmix.training.run.run import train
from dmix.warehouse_schema.errors import (
    InputError,
)


def test_shards_of_a_remote_warehouse_are_downloaded_from_there(job, tiny_warehouse, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    copy = shutil.copytree(tiny_warehouse.stream("tiny"), tmp_path / "bucket" / "tiny")
    remote = dataclasses.replace(job, streams_url=str(copy))
    with open_streams(job) as here, open_streams(remote) as there:
        assert (there[0]["input_ids"] == here[0]["input_ids"]).all()
    cache = tmp_path / "temporary" / f"dmix-cache-{os.getuid()}" / job.manifest.dataset
    assert len(list(cache.rglob("*.mds"))) == 1


def test_a_cache_folder_may_lie_below_the_home_folder(job, tiny_warehouse, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    copy = shutil.copytree(tiny_warehouse.stream("tiny"), tmp_path / "bucket" / "tiny")
    remote = with_training(job, streams_url=str(copy.parent), cache_folder="~/cache")
    with open_streams(remote) as opened:
        assert len(opened) == 216
    assert (tmp_path / "home" / "cache" / "tiny").is_dir()


def test_a_remote_warehouse_takes_a_cache_limit_without_a_url_and_a_local_one_none(
    job, tiny_warehouse, tmp_path
):
    limited = with_training(job, cache_folder=str(tmp_path / "cache"), cache_limit="1mb")
    with pytest.raises(InputError, match="no effect on local streams"):
        train(limited, folder=tmp_path / "run")
    copy = shutil.copytree(tiny_warehouse.stream("tiny"), tmp_path / "bucket" / "tiny")
    with open_streams(dataclasses.replace(limited, streams_url=str(copy))) as opened:
        assert len(opened) == 216


def test_proxies_beside_each_other_have_caches_of_their_own(job, tiny_warehouse, tmp_path):
    copy = shutil.copytree(tiny_warehouse.stream("tiny"), tmp_path / "bucket" / "tiny")
    cached = with_training(job, cache_folder=str(tmp_path / "cache"))
    proxy = dataclasses.replace(cached, streams_url=str(copy), keep_checkpoints=False)
    with open_streams(proxy) as one, open_streams(proxy) as other:
        assert (one[0]["input_ids"] == other[0]["input_ids"]).all()
    with open_streams(proxy) as again:
        assert (again[0]["input_ids"] == again[0]["labels"]).all()
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["tiny-0", "tiny-1"]


def test_a_run_over_a_remote_copy_takes_the_same_samples(job, whole_run, tiny_warehouse, tmp_path):
    _, whole = whole_run
    copy = shutil.copytree(tiny_warehouse.stream("tiny"), tmp_path / "bucket" / "tiny")
    shards = sum(path.stat().st_size for path in copy.rglob("*.mds"))
    remote = with_training(
        job,
        streams_url=f"{tmp_path}/bucket/",
        cache_folder=str(tmp_path / "cache"),
        cache_limit=f"{shards // 2}b",
        loader_workers=1,
    )
    summary = train(remote, folder=tmp_path / "run")
    assert summary.chain == whole.chain
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.mds"))
    assert 0 < kept < shards
