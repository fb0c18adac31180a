"""Reading by the batch: the right tokens for every id, whatever the ranks and workers."""

import dataclasses
import json
import multiprocessing
import os
import pickle
import shutil
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
from dmix.mixing.delivery.mds import token_layout
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


def test_dataset_that_was_closed_says_so(two_domains: Any) -> None:
    with MixedDataset(two_domains.manifest, two_domains.folder) as opened:
        assert opened[0]["input_ids"].tolist() == two_domains.rows[0].tolist()
    with pytest.raises(InputError, match="the dataset is closed"):
        opened[0]


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


def test_an_index_that_exchanges_two_shards_is_refused(stored: Any, tmp_path: Path) -> None:
    """Same sizes and counts, but each sample of both would have another text."""
    folder = copy_of(stored, tmp_path)
    path = folder / "source" / "A" / "index.json"
    index = json.loads(path.read_text())
    first, second = (shard["raw_data"] for shard in index["shards"][:2])
    assert first["bytes"] == second["bytes"]
    first["basename"], second["basename"] = second["basename"], first["basename"]
    path.write_text(json.dumps(index))
    with pytest.raises(VerificationError, match="the index of source/A differs from the manifest"):
        MixedDataset(stored.manifest, folder)


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
