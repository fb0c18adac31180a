"""The bare PyTorch loop: exact under interruption, on any number of ranks and workers."""

import json
import os
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmix.mixing.delivery.dataset import MixedDataset
from dmix.mixing.delivery.digest import CHAIN_START, chain_digest, step_digest
from dmix.mixing.delivery.loader import MixedLoader
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.errors import InputError, VerificationError

PROVEN = settings(max_examples=int(os.environ.get("DMIX_EXAMPLES", "15")), deadline=None, derandomize=True)
SETTINGS = PlanSettings(step_samples=48, batch_size=12, exhaustion="redistribute", shuffle_block=2)


def weights_of(step: int) -> np.ndarray:
    """A mixture that changes a lot from step to step; what a scripted controller would ask."""
    return np.random.default_rng(step).dirichlet(np.full(6, 0.4))


def consume(loader: MixedLoader, batches: int) -> list[list[int]]:
    """Ids of up to so many batches, step after step."""
    taken: list[list[int]] = []
    while not loader.finished:
        if not loader.in_step:
            loader.begin_step(weights_of(loader.state.step + 1))
        for batch in loader:
            taken.append(batch["sample_ids"].tolist())
            if len(taken) == batches:
                return taken
    return taken


def on_ranks(world: int, work: Callable[[int, Callable], Any]) -> list[Any]:
    """Runs `work(rank, gather)` on so many threads that exchange arrays as ranks do."""
    barrier, slots = threading.Barrier(world), [None] * world

    def run(rank: int) -> Any:
        def gather(own: np.ndarray) -> list[Any]:
            slots[rank] = own
            barrier.wait(timeout=30)
            everything = list(slots)
            barrier.wait(timeout=30)
            return everything

        return work(rank, gather)

    with ThreadPoolExecutor(world) as pool:
        return [future.result(timeout=60) for future in [pool.submit(run, rank) for rank in range(world)]]


def in_order(slices_by_rank: list[list[list[int]]]) -> list[int]:
    """Ids of all ranks in order, from the slices that each consumed."""
    return [sample for batch in zip(*slices_by_rank, strict=True) for part in batch for sample in part]


def one_attempt(
    dataset: MixedDataset, *, world: int, batches: int, state: dict | None, workers: int = 0
) -> tuple[list[int], dict]:
    """What all ranks consumed in order, and the state that rank 0 saved."""

    def work(rank: int, gather: Callable) -> tuple[list[list[int]], dict]:
        loader = MixedLoader(
            dataset, settings=SETTINGS, rank=rank, world_size=world, num_workers=workers, gather=gather
        )
        if state is not None:
            loader.load_state_dict(json.loads(json.dumps(state)))
        return consume(loader, batches), loader.state_dict()

    results = on_ranks(world, work)
    saved = [json.dumps(result[1]) for result in results]
    assert len(set(saved)) == 1
    return in_order([result[0] for result in results]), json.loads(saved[0])


@pytest.fixture(scope="module")
def unbroken(dataset: MixedDataset) -> tuple[list[int], dict]:
    """Ids and last state of a run that nothing interrupts."""
    return one_attempt(dataset, world=1, batches=10**6, state=None)


@PROVEN
@given(attempts=st.lists(st.tuples(st.integers(1, 9), st.sampled_from([1, 2, 3, 4])), min_size=1, max_size=6))
def test_interrupted_run_on_any_ranks_takes_the_ids_of_an_unbroken_one(
    dataset: MixedDataset, unbroken: tuple, attempts: list[tuple[int, int]]
) -> None:
    expected, end = unbroken
    ids, state = [], None
    for batches, world in [*attempts, (10**6, 1)]:
        part, state = one_attempt(dataset, world=world, batches=batches, state=state)
        ids += part
    assert ids == expected
    assert state == end
    assert len(set(ids)) == len(ids) == 336  # 341 samples, batches of 12, 5 are left


def test_resume_in_the_middle_of_a_step_with_other_workers_and_ranks(
    dataset: MixedDataset, unbroken: tuple
) -> None:
    expected, end = unbroken
    first, state = one_attempt(dataset, world=2, batches=6, state=None, workers=0)
    assert state["batches_done"] == 2
    loader = MixedLoader(dataset, settings=SETTINGS, num_workers=2)
    loader.load_state_dict(state)
    assert loader.in_step
    rest = [sample for slices in consume(loader, 10**6) for sample in slices]
    assert first + rest == expected
    assert loader.chain == end["chain"]


def test_digest_chain_is_over_the_ids_that_were_consumed(dataset: MixedDataset) -> None:
    loader, chain = MixedLoader(dataset, settings=SETTINGS), CHAIN_START
    for step in (1, 2, 3):
        plan = loader.begin_step(weights_of(step))
        ids = np.concatenate([batch["sample_ids"] for batch in loader])
        assert loader.record is not None
        assert loader.record.digest == step_digest(ids) == step_digest(plan.ids)
        assert np.array_equal(loader.record.delivered_samples_N, plan.counts_N)
        chain = chain_digest(chain, loader.record.digest)
        assert loader.chain == chain


def test_state_after_the_last_batch_ends_the_step_on_resume(dataset: MixedDataset) -> None:
    loader = MixedLoader(dataset, settings=SETTINGS)
    loader.begin_step(weights_of(1))
    states = [loader.state_dict() for _ in loader]
    resumed = MixedLoader(dataset, settings=SETTINGS)
    resumed.load_state_dict(states[-1])
    assert resumed.in_step
    assert list(resumed) == []
    assert not resumed.in_step
    assert resumed.chain == loader.chain


def test_state_between_steps_and_at_the_start_is_enough(dataset: MixedDataset) -> None:
    fresh = MixedLoader(dataset, settings=SETTINGS)
    fresh.load_state_dict(MixedLoader(dataset, settings=SETTINGS).state_dict())
    assert not fresh.in_step
    assert fresh.remaining_samples().tolist() == [130, 0, 50, 90, 7, 64]


def test_steps_are_begun_and_iterated_in_turn(dataset: MixedDataset) -> None:
    loader = MixedLoader(dataset, settings=SETTINGS)
    with pytest.raises(InputError, match="begin_step"):
        next(iter(loader))
    loader.begin_step(weights_of(1))
    with pytest.raises(InputError, match="step 1 has batches left"):
        loader.begin_step(weights_of(2))
    consume(loader, 10**6)
    assert loader.finished
    with pytest.raises(InputError, match=r"run ended with step \d"):
        loader.begin_step(weights_of(9))


def test_a_step_takes_what_a_mixture_file_takes(dataset: MixedDataset) -> None:
    by_name = MixedLoader(dataset, settings=SETTINGS)
    space = DomainSpace.of_dataset(dataset.manifest)
    first, second = np.flatnonzero(space.active_N)[:2]
    plan = by_name.begin_step({"/".join(space.names[first]): 3, "/".join(space.names[second]): 1})
    weights_N = np.zeros(len(space))
    weights_N[[first, second]] = 0.75, 0.25
    wanted = MixedLoader(dataset, settings=SETTINGS).begin_step(weights_N)
    assert np.array_equal(plan.ids, wanted.ids)
    with pytest.raises(InputError, match=r"begin_step.*'sauce' is not a field/domain.*'source'"):
        MixedLoader(dataset, settings=SETTINGS).begin_step({"sauce": 1})


def test_breaking_out_of_the_loop_goes_on_with_the_next_batch(dataset: MixedDataset) -> None:
    loader = MixedLoader(dataset, settings=SETTINGS)
    plan = loader.begin_step(weights_of(1))
    ids = []
    while loader.in_step:
        for batch in loader:
            ids += batch["sample_ids"].tolist()
            break
    assert ids == plan.ids.tolist()


def test_state_of_other_settings_or_data_is_refused(dataset: MixedDataset, two_domains: Any) -> None:
    saved = MixedLoader(dataset, settings=SETTINGS).state_dict()
    other = MixedLoader(dataset, settings=PlanSettings(step_samples=24, batch_size=12))
    with pytest.raises(InputError, match="started with step_samples 48, but this loader has 24"):
        other.load_state_dict(saved)
    with pytest.raises(InputError, match="state has format 9, expected 1"):
        other.load_state_dict({**saved, "format": 9})
    with pytest.raises(InputError, match="started with dataset 'other'"):
        MixedLoader(dataset, settings=SETTINGS).load_state_dict({**saved, "dataset": "other"})


def test_state_with_a_part_missing_is_refused_by_name(dataset: MixedDataset) -> None:
    saved = MixedLoader(dataset, settings=SETTINGS).state_dict()
    for name in saved.keys() - {"format"}:
        with pytest.raises(InputError, match=f"state lacks {name}; resume from an earlier one"):
            MixedLoader(dataset, settings=SETTINGS).load_state_dict(
                {key: value for key, value in saved.items() if key != name}
            )


def test_state_whose_ids_do_not_follow_from_the_plan_is_refused(dataset: MixedDataset) -> None:
    loader = MixedLoader(dataset, settings=SETTINGS)
    loader.begin_step(weights_of(1))
    next(iter(loader))
    saved = loader.state_dict()
    with pytest.raises(VerificationError, match="12 planned samples before the interruption"):
        MixedLoader(dataset, settings=SETTINGS).load_state_dict({**saved, "asked": weights_of(2).tolist()})


@pytest.mark.parametrize("fault", [lambda ids: ids[::-1], lambda ids: ids[[0, *range(11)]]])
def test_batches_other_than_the_planned_ones_end_the_run(
    dataset: MixedDataset, monkeypatch: pytest.MonkeyPatch, fault: Callable
) -> None:
    read = dataset.batch
    monkeypatch.setattr(MixedDataset, "batch", lambda _, ids: read(fault(ids)))
    loader = MixedLoader(dataset, settings=SETTINGS)
    loader.begin_step(weights_of(1))
    with pytest.raises(VerificationError, match="step 1 used 48 samples, but not the 48 planned"):
        list(loader)


def test_several_ranks_without_a_process_group_are_refused(dataset: MixedDataset) -> None:
    loader = MixedLoader(dataset, settings=SETTINGS, rank=0, world_size=2)
    loader.begin_step(weights_of(1))
    next(iter(loader))
    with pytest.raises(InputError, match="init_process_group"):
        loader.state_dict()


def test_two_real_ranks_continue_what_one_began(
    stored: Any, dataset: MixedDataset, unbroken: tuple, on_real_ranks: Any
) -> None:
    expected, end = unbroken
    first, state = one_attempt(dataset, world=1, batches=5, state=None)

    def work() -> tuple[list[list[int]], dict]:
        with MixedDataset(stored.manifest, stored.folder) as opened:
            loader = MixedLoader(opened, settings=SETTINGS, num_workers=1)
            loader.load_state_dict(state)
            return consume(loader, 10**6), loader.state_dict()

    found = on_real_ranks(2, work)
    assert first + in_order([ids for ids, _ in found]) == expected
    assert found[0][1] == found[1][1] == end


def test_a_changed_state_is_refused_by_what_is_wrong_with_it(dataset: MixedDataset) -> None:
    loader = MixedLoader(dataset, settings=SETTINGS)
    for step in (1, 2):
        loader.begin_step(weights_of(step))
        list(loader)
    loader.begin_step(weights_of(3))
    next(iter(loader))
    saved = loader.state_dict()
    mixer = saved["mixer"]
    for changed, said in (
        ({"mixer": {**mixer, "step": 0}}, r"used 96 samples in 0 steps of 48"),
        ({"mixer": {**mixer, "step": -1}}, "step is -1"),
        ({"mixer": {**mixer, "step": 3}}, "used 96 samples in 3 steps"),
        ({"mixer": {**mixer, "pass": [9] * 6}}, "used more samples than a domain has"),
        ({"chain": "x"}, "chain is 'x', expected 64 hexadecimal digits"),
        ({"batches_done": -1}, "batches_done is -1"),
        ({"batches_done": 99}, "has no batch 99"),
        ({"asked": [1.0]}, "asked has the shape"),
        ({"settings": 3}, "settings"),
    ):
        with pytest.raises(InputError, match=said):
            MixedLoader(dataset, settings=SETTINGS).load_state_dict({**saved, **changed})
    again = MixedLoader(dataset, settings=SETTINGS)
    again.load_state_dict({**saved, "finished": True})
    assert not again.finished and again.in_step


def test_signals_to_the_group_leave_loader_workers_at_work(dataset: MixedDataset) -> None:
    loader = MixedLoader(dataset, settings=SETTINGS, num_workers=2)
    plan, ids = loader.begin_step(weights_of(1)), []
    for batch in loader:
        if not ids:
            workers = [str(worker.pid) for worker in loader.dataloader._iterator._workers]
            for name in ("INT", "TERM", "HUP", "USR1"):  # from another process, as a terminal sends them
                subprocess.run(["kill", f"-{name}", *workers], check=True)
        ids += batch["sample_ids"].tolist()
    assert ids == plan.ids.tolist()
    assert all(worker.is_alive() for worker in loader.dataloader._iterator._workers)
    loader.dataloader._iterator._shutdown_workers()
