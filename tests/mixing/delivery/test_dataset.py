"""Reading by the batch: the right tokens for every id, whatever the ranks and workers."""

import dataclasses
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, DistributedSampler

from dmix.mixing.delivery.dataset import MixedDataset, StepBatchSampler, build_dataloader
from dmix.mixing.delivery.mds import map_tokens, token_layout
from dmix.mixing.delivery.step_plan import MixerState, PlanSettings, StepPlan, plan_step
from dmix.warehouse_schema.errors import InputError, StorageError, VerificationError

PROVEN = settings(max_examples=int(os.environ.get("DMIX_EXAMPLES", "40")), deadline=None, derandomize=True)
SETTINGS = PlanSettings(step_samples=48, batch_size=12, exhaustion="repeat")
EVEN = np.array([0.2, 0.0, 0.2, 0.2, 0.2, 0.2])


def first_plan(dataset: MixedDataset) -> StepPlan:
    return plan_step(EVEN, MixerState.start(6), streams=dataset.sizes, settings=SETTINGS)


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


@PROVEN
@given(data=st.data())
def test_batch_holds_the_tokens_of_its_ids_in_order(stored: Any, dataset: MixedDataset, data: Any) -> None:
    ids = data.draw(st.lists(st.integers(0, len(dataset) - 1), min_size=1, max_size=40))
    batch = dataset.batch(ids)
    assert batch["sample_ids"].tolist() == ids
    assert np.array_equal(batch["input_ids"].numpy(), stored.rows[ids])
    assert batch["domains"].tolist() == dataset.sizes.domains_of(np.array(ids)).tolist()


def test_batch_has_the_types_that_a_model_wants(dataset: MixedDataset) -> None:
    batch = dataset.batch([5, 0, 340])
    assert {name: (values.dtype, tuple(values.shape)) for name, values in batch.items()} == {
        "input_ids": (torch.int64, (3, 8)),
        "labels": (torch.int64, (3, 8)),
        "sample_ids": (torch.int64, (3,)),
        "domains": (torch.int64, (3,)),
    }
    assert batch["labels"] is batch["input_ids"]


def test_single_sample_and_empty_batch(stored: Any, dataset: MixedDataset) -> None:
    assert dataset[7]["input_ids"].tolist() == stored.rows[7].tolist()
    assert dataset.batch([])["input_ids"].shape == (0, 8)


def test_ids_out_of_range_are_refused(dataset: MixedDataset) -> None:
    assert len(dataset) == 341
    for ids in ([341], [-1, 3]):
        with pytest.raises(InputError, match="has 341"):
            dataset.batch(ids)


@pytest.mark.parametrize("ids", [[1.7], ["1"], [True], [[1, 2]], 3, [10**30], [None]])
def test_what_is_no_row_of_whole_numbers_is_refused(dataset: MixedDataset, ids: Any) -> None:
    with pytest.raises(InputError, match="expected whole numbers in a row"):
        dataset.batch(ids)
    assert dataset.batch(np.array([1, 1], np.uint16))["sample_ids"].tolist() == [1, 1]
    for index in (1.5, "1", None):
        with pytest.raises(TypeError):
            _ = dataset[index]  # type: ignore[index]
    assert dataset[np.int64(1)]["sample_ids"] == dataset[torch.tensor(1)]["sample_ids"] == 1  # type: ignore[index]


def test_ids_of_a_domain_follow_the_streams_in_domain_order(dataset: MixedDataset) -> None:
    assert dataset.sizes.samples_N.tolist() == [130, 0, 50, 90, 7, 64]
    assert dataset.sizes.offsets_N.tolist() == [0, 130, 130, 180, 270, 277]
    assert dataset.sizes.domains_of(np.array([0, 129, 130, 179, 180, 340])).tolist() == [0, 0, 2, 2, 3, 5]
    assert dataset._streaming.sample_offset_per_stream.tolist() == [0, 130, 180, 270, 277]


def test_reading_starts_no_thread_and_no_process(stored: Any) -> None:
    threads, children = threading.active_count(), len(multiprocessing.active_children())
    with MixedDataset(stored.manifest, stored.folder) as opened:
        opened.batch(list(range(0, 341, 10)))
        assert threading.active_count() == threads
        assert len(multiprocessing.active_children()) == children


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


def test_dataset_that_was_closed_says_so(two_domains: Any) -> None:
    with MixedDataset(two_domains.manifest, two_domains.folder) as opened:
        assert opened[0]["input_ids"].tolist() == two_domains.rows[0].tolist()
    with pytest.raises(InputError, match="the dataset is closed"):
        opened[0]


def test_dataset_that_cannot_be_opened_leaves_nothing(two_domains: Any, tmp_path: Path) -> None:
    before, descriptors_before = own_blocks(), descriptors()
    longer = dataclasses.replace(two_domains.manifest, seq_len=16)
    with pytest.raises(VerificationError):
        MixedDataset(longer, two_domains.folder)
    with pytest.raises(StorageError):
        MixedDataset(two_domains.manifest, tmp_path)
    assert own_blocks() == before and descriptors() <= descriptors_before


def test_rows_without_a_fixed_layout_are_decoded_by_streaming(write_streams: Any, tmp_path: Path) -> None:
    stored = write_streams(tmp_path, [20, 30], column="ndarray:uint16")
    with MixedDataset(stored.manifest, tmp_path) as opened:
        assert token_layout(opened._streaming.shards[0]) is None
        assert np.array_equal(opened.batch([31, 2, 49])["input_ids"].numpy(), stored.rows[[31, 2, 49]])


def test_truncated_shard_is_an_error_and_no_wrong_tokens(two_domains: Any, tmp_path: Path) -> None:
    folder = copy_of(two_domains, tmp_path)
    shard = next(folder.glob("target/A/shard.00000.mds"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with MixedDataset(two_domains.manifest, folder) as opened:
        with pytest.raises(VerificationError, match=r"shard.00000.mds \(\d+ bytes\) is too small for \d+"):
            opened.batch([20])


def test_missing_shard_is_an_error_that_names_it_every_time(two_domains: Any, tmp_path: Path) -> None:
    folder = copy_of(two_domains, tmp_path)
    next(folder.glob("target/A/shard.00000.mds")).unlink()
    with MixedDataset(two_domains.manifest, folder) as opened:
        for _ in range(2):
            with pytest.raises(StorageError, match=r"shard shard.00000.mds of .*target/A cannot be read"):
                opened.batch([20])


def test_missing_stream_is_an_error_that_names_the_folder(two_domains: Any, tmp_path: Path) -> None:
    folder = copy_of(two_domains, tmp_path)
    shutil.rmtree(folder / "target")
    with pytest.raises(StorageError, match=f"cannot open the streams in {folder}"):
        MixedDataset(two_domains.manifest, folder)


def test_streams_that_are_not_what_the_manifest_states_are_refused(two_domains: Any) -> None:
    one, *rest = two_domains.manifest.streams
    shards = (one.files[0], *(dataclasses.replace(f, samples=f.samples + 1) for f in one.files[1:]))
    other = dataclasses.replace(two_domains.manifest, streams=(dataclasses.replace(one, files=shards), *rest))
    with pytest.raises(
        VerificationError, match=r"have 50 samples in 3 shards, but the manifest says 51 in 3"
    ):
        MixedDataset(other, two_domains.folder)
    longer = dataclasses.replace(two_domains.manifest, seq_len=16)
    with pytest.raises(VerificationError, match="has rows of 8 uint16, but the manifest says 16 uint16"):
        MixedDataset(longer, two_domains.folder)


def test_mapped_rows_equal_what_streaming_decodes(dataset: MixedDataset) -> None:
    reader = dataset._streaming.shards[0]
    path = Path(reader.dirname, reader.raw_data.basename)
    mapped = map_tokens(path, samples=len(reader), dtype=np.dtype("<u2"), length=8)
    assert np.array_equal(mapped, np.stack([reader[i]["tokens"] for i in range(len(reader))]))


@PROVEN
@given(world=st.sampled_from([1, 2, 3, 4, 6, 12]), first=st.integers(0, 4))
def test_ranks_cut_each_global_batch_into_slices(dataset: MixedDataset, world: int, first: int) -> None:
    plan = first_plan(dataset)
    samplers = [StepBatchSampler(dataset, settings=SETTINGS, rank=r, world_size=world) for r in range(world)]
    for sampler in samplers:
        assert len(sampler) == 4
        sampler.set_plan(plan, first_batch=first)
        assert len(sampler) == 4 - first
    slices = [np.concatenate(parts) for parts in zip(*samplers, strict=True)]
    assert len(slices) == 4 - first
    for k, ids in enumerate(slices, start=first):
        assert ids.tolist() == plan.ids[12 * k : 12 * (k + 1)].tolist()


def test_sampler_refuses_what_it_cannot_cut(dataset: MixedDataset) -> None:
    with pytest.raises(InputError, match=r"batch-size is 12.*5 ranks"):
        StepBatchSampler(dataset, settings=SETTINGS, rank=0, world_size=5)
    sampler = StepBatchSampler(dataset, settings=SETTINGS)
    assert isinstance(sampler, DistributedSampler)
    with pytest.raises(InputError, match="no plan yet"):
        next(iter(sampler))
    with pytest.raises(InputError, match=r"4 batches of 12.* batch 5"):
        sampler.set_plan(first_plan(dataset), first_batch=5)


def test_zero_and_two_workers_deliver_the_same(stored: Any, dataset: MixedDataset) -> None:
    plan = first_plan(dataset)
    delivered = []
    for workers in (0, 2):
        sampler = StepBatchSampler(dataset, settings=SETTINGS)
        sampler.set_plan(plan)
        delivered.append(list(build_dataloader(dataset, sampler, num_workers=workers)))
    for plain, forked in zip(*delivered, strict=True):
        assert all(torch.equal(plain[name], forked[name]) for name in plain)
        assert plain.keys() == forked.keys()
        assert np.array_equal(forked["input_ids"].numpy(), stored.rows[forked["sample_ids"].numpy()])
    assert np.concatenate([b["sample_ids"] for b in delivered[1]]).tolist() == plan.ids.tolist()


def test_persistent_workers_take_each_new_plan(dataset: MixedDataset) -> None:
    sampler = StepBatchSampler(dataset, settings=SETTINGS)
    loader = build_dataloader(dataset, sampler, num_workers=2)
    state, workers = MixerState.start(6), []
    for weights in (np.eye(6)[0], np.eye(6)[3], EVEN):
        plan = plan_step(weights, state, streams=dataset.sizes, settings=SETTINGS)
        sampler.set_plan(plan)
        ids = np.concatenate([batch["sample_ids"] for batch in loader])
        assert ids.tolist() == plan.ids.tolist()
        workers.append(sorted(worker.pid for worker in loader._iterator._workers))
        state = plan.state_after
    assert workers[0] == workers[1] == workers[2]


def test_breaking_off_a_step_leaves_nothing_of_it_in_the_next(dataset: MixedDataset) -> None:
    sampler = StepBatchSampler(dataset, settings=SETTINGS)
    loader = build_dataloader(dataset, sampler, num_workers=2)
    plan = first_plan(dataset)
    sampler.set_plan(plan)
    for _ in loader:
        break
    after = plan_step(np.eye(6)[5], plan.state_after, streams=dataset.sizes, settings=SETTINGS)
    sampler.set_plan(after)
    assert np.concatenate([batch["sample_ids"] for batch in loader]).tolist() == after.ids.tolist()


def test_error_in_a_worker_keeps_its_class_and_message(two_domains: Any, tmp_path: Path) -> None:
    folder = copy_of(two_domains, tmp_path)
    chosen = PlanSettings(step_samples=8, batch_size=4)
    with MixedDataset(two_domains.manifest, folder) as opened:
        shutil.rmtree(folder / "source")
        sampler = StepBatchSampler(opened, settings=chosen)
        sampler.set_plan(
            plan_step(np.array([1.0, 0.0]), MixerState.start(2), streams=opened.sizes, settings=chosen)
        )
        with pytest.raises(StorageError, match="cannot be read"):
            list(build_dataloader(opened, sampler, num_workers=1))


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
    with pytest.raises(InputError, match="others may write to it"):
        MixedDataset(two_domains.manifest, cache, remote=str(two_domains.folder))


def test_a_plain_loader_and_a_loop_read_all_samples(stored: Any, dataset: MixedDataset) -> None:
    loaded = [batch["input_ids"] for batch in DataLoader(dataset, batch_size=64)]
    assert np.array_equal(torch.cat(loaded).numpy(), stored.rows)
    forked = DataLoader(dataset, batch_size=64, num_workers=1, multiprocessing_context="fork")
    assert torch.equal(next(iter(forked))["sample_ids"], torch.arange(64))
    one_by_one = [int(sample["sample_ids"]) for sample in dataset]
    assert one_by_one == list(range(len(dataset)))
    assert next(iter(DataLoader(dataset, batch_size=None)))["input_ids"].shape == (8,)
    for wrong in (-1, len(dataset)):
        with pytest.raises(IndexError, match="the dataset has"):
            dataset[wrong]


def test_a_dataset_says_why_it_cannot_be_pickled(dataset: MixedDataset) -> None:
    with pytest.raises(InputError, match="multiprocessing_context='fork'"):
        pickle.dumps(dataset)


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
