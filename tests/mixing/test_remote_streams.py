"""Streams on an S3 server on this machine, through a cache of a tenth of the data."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest

from dmix.mixing.delivery.dataset import MixedDataset
from dmix.mixing.delivery.loader import MixedLoader
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.warehouse_schema.errors import InputError, LockHeldError, StorageError

SETTINGS = PlanSettings(step_samples=80, batch_size=20, exhaustion="redistribute", shuffle_block=1)
BUCKET = "s3://mixtures/letters"


@pytest.fixture(scope="module")
def remote(write_streams: Any, s3_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Streams of many shards in a bucket, and the same ones on disk."""
    stored = write_streams(tmp_path_factory.mktemp("local"), [400, 200, 300, 100], shard_bytes=500)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("S3_ENDPOINT_URL", s3_server)
        client = boto3.client("s3", endpoint_url=s3_server)
        client.create_bucket(Bucket="mixtures")
        for path in sorted(stored.folder.rglob("*")):
            if path.is_file():
                client.upload_file(str(path), "mixtures", f"letters/{path.relative_to(stored.folder)}")
        yield stored


def run(dataset: MixedDataset, workers: int) -> tuple[list[int], np.ndarray, str]:
    """Ids, tokens and digest chain of a whole run."""
    loader, ids, tokens = MixedLoader(dataset, settings=SETTINGS, num_workers=workers), [], []
    while not loader.finished:
        loader.begin_step(np.random.default_rng(loader.state.step).dirichlet(np.ones(4)))
        for batch in loader:
            ids += batch["sample_ids"].tolist()
            tokens.append(batch["input_ids"].numpy())
    return ids, np.concatenate(tokens), loader.chain


def shard_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.mds*"))


@pytest.mark.parametrize("workers", [0, 2])
def test_small_cache_loses_nothing_and_gives_the_digest_of_local_files(
    remote: Any, tmp_path: Path, workers: int
) -> None:
    with MixedDataset(remote.manifest, remote.folder) as local:
        expected = run(local, 0)
    index_bytes = sum(path.stat().st_size for path in remote.folder.rglob("index.json"))
    limit = shard_bytes(remote.folder) // 10 + index_bytes
    with MixedDataset(remote.manifest, tmp_path, remote=BUCKET, cache_limit=limit) as cached:
        ids, tokens, chain = run(cached, workers)
        kept = shard_bytes(tmp_path)
    assert ids == expected[0]
    assert chain == expected[2]
    assert np.array_equal(tokens, remote.rows[ids])
    largest = max(path.stat().st_size for path in remote.folder.rglob("*.mds"))
    # Streaming counts a shard when it has arrived, so each further process may be one ahead.
    assert 0 < kept <= limit - index_bytes + max(0, workers - 1) * largest


def test_two_ranks_with_two_workers_share_a_small_cache(
    remote: Any, tmp_path: Path, on_real_ranks: Any
) -> None:
    with MixedDataset(remote.manifest, remote.folder) as local:
        expected, _, chain = run(local, 0)
    index_bytes = sum(path.stat().st_size for path in remote.folder.rglob("index.json"))
    limit = shard_bytes(remote.folder) // 10 + index_bytes

    def work() -> tuple[list[int], np.ndarray, str, int]:
        with MixedDataset(remote.manifest, tmp_path, remote=BUCKET, cache_limit=limit) as cached:
            return *run(cached, 2), shard_bytes(tmp_path)

    found = on_real_ranks(2, work)
    by_rank = [np.array(ids).reshape(-1, SETTINGS.batch_size // 2) for ids, *_ in found]
    assert np.stack(by_rank, 1).ravel().tolist() == expected
    for ids, tokens, chain_here, kept in found:
        assert chain_here == chain
        assert np.array_equal(tokens, remote.rows[ids])
        largest = max(path.stat().st_size for path in remote.folder.rglob("*.mds"))
        assert 0 < kept <= limit - index_bytes + 3 * largest


def test_cache_without_a_limit_is_used_again(remote: Any, tmp_path: Path) -> None:
    for _ in range(2):
        with MixedDataset(remote.manifest, tmp_path, remote=BUCKET) as cached:
            assert cached[399]["input_ids"].tolist() == remote.rows[399].tolist()
    assert len(list(tmp_path.rglob("*.mds"))) == 1


def test_a_folder_with_files_of_others_is_no_cache(remote: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("of the user")
    with pytest.raises(InputError, match=r"notes\.txt.*set another cache_folder"):
        MixedDataset(remote.manifest, tmp_path, remote=BUCKET)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_cache_in_use_is_refused(remote: Any, tmp_path: Path) -> None:
    with MixedDataset(remote.manifest, tmp_path, remote=BUCKET) as first:
        with pytest.raises(LockHeldError, match=f"cache folder {tmp_path} .*process {os.getpid()}"):
            MixedDataset(remote.manifest, tmp_path, remote=BUCKET, cache_wait_seconds=0.2)
        assert first[0]["input_ids"].tolist() == remote.rows[0].tolist()


def test_cache_of_a_killed_run_can_be_opened_again(remote: Any, tmp_path: Path) -> None:
    ready = tmp_path.with_name("ready")

    def hold() -> None:
        with MixedDataset(remote.manifest, tmp_path, remote=BUCKET):
            ready.touch()
            time.sleep(60)

    process = multiprocessing.get_context("fork").Process(target=hold)
    process.start()
    deadline = time.monotonic() + 30
    while not ready.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with MixedDataset(remote.manifest, tmp_path, remote=BUCKET) as again:
        assert again[5]["input_ids"].tolist() == remote.rows[5].tolist()


def test_limit_that_streaming_cannot_work_with_is_refused(remote: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot open the streams.*[Cc]ache"):
        MixedDataset(remote.manifest, tmp_path, remote=BUCKET, cache_limit=3000)


def test_missing_bucket_is_an_error_that_names_it(
    remote: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmix.mixing.delivery.shared_streams._DOWNLOAD_RETRIES", 1)
    with pytest.raises(StorageError, match="cannot open the streams in s3://nowhere"):
        MixedDataset(remote.manifest, tmp_path, remote="s3://nowhere")
