"""The guarantees of the mixing layer, together, over random runs that are cut off and resumed.

One property draws everything at once: sizes of domains and shards, mixtures, batches, ranks,
exhaustion rules, block of the shuffle, and the batches at which attempts end. Loader workers are
drawn in a second one, because forking takes longer than all the rest.
"""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmix.mixing.delivery.dataset import MixedDataset
from dmix.mixing.delivery.digest import CHAIN_START, chain_digest, step_digest
from dmix.mixing.delivery.exhaustion import EXHAUSTION
from dmix.mixing.delivery.loader import MixedLoader, StepRecord
from dmix.mixing.delivery.step_plan import MixerState, PlanSettings, plan_step

EXAMPLES = int(os.environ.get("DMIX_EXAMPLES", "30"))
PROVEN = settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
FORKED = settings(max_examples=max(4, EXAMPLES // 20), deadline=None, derandomize=True)
MOST_STEPS = 12


@dataclass(frozen=True)
class Drawn:
    """A run: its data, rules and mixtures, and where its attempts end (batches, ranks, workers)."""

    sizes: list[int]
    shard_bytes: int
    rules: PlanSettings
    mixtures_TN: np.ndarray
    attempts: list[tuple[int, int, int]]


@st.composite
def runs(draw: st.DrawFn, *, workers: tuple[int, ...] = (0,)) -> Drawn:
    batch = draw(st.sampled_from([4, 8, 12]))
    # from one batch in one domain to many times the longest run; empty domains among them
    sizes = draw(st.lists(st.integers(0, 150), min_size=6, max_size=6).filter(lambda n: sum(n) >= batch))
    rules = PlanSettings(
        step_samples=batch * draw(st.integers(1, 6)),
        batch_size=batch,
        seed=draw(st.integers(0, 2**31)),
        exhaustion=draw(st.sampled_from(EXHAUSTION)),
        max_passes=draw(st.integers(1, 3)),
        shuffle_block=draw(st.integers(1, 9)),
    )
    # from nearly uniform to all on one domain, some of them exactly 0
    sharpness = draw(st.sampled_from([0.05, 0.4, 5.0]))
    mixtures = np.random.default_rng(draw(st.integers(0, 2**31))).dirichlet(np.full(6, sharpness), MOST_STEPS)
    mixtures = np.where(mixtures < 1e-3, 0.0, mixtures)
    ranks = [1, 2, 4]
    attempt = st.tuples(st.integers(1, 25), st.sampled_from(ranks), st.sampled_from(workers))
    attempts = draw(st.lists(attempt, max_size=5))
    return Drawn(
        sizes=sizes,
        shard_bytes=draw(st.sampled_from([300, 900, 5000])),
        rules=rules,
        mixtures_TN=mixtures / mixtures.sum(1, keepdims=True),
        attempts=[*attempts, (10**6, 1, workers[-1])],
    )


def attempt(
    dataset: MixedDataset, run: Drawn, *, batches: int, ranks: int, workers: int, state: dict | None
) -> tuple[list[int], list[StepRecord], dict]:
    """Ids in the order of all ranks, the steps that ended, and the state at the end.

    The ranks take turns within this process, batch by batch.
    """
    taken: list[list[int]] = [[] for _ in range(ranks)]
    marks = [0] * ranks

    def gather(own: np.ndarray) -> list[np.ndarray]:
        """What every rank took since the last time; they take the same number of batches."""
        return [np.array(ids[mark:]) for ids, mark in zip(taken, marks, strict=True)]

    loaders = [
        MixedLoader(
            dataset, settings=run.rules, rank=rank, world_size=ranks, num_workers=workers, gather=gather
        )
        for rank in range(ranks)
    ]
    if state is not None:
        for loader in loaders:
            loader.load_state_dict(json.loads(json.dumps(state)))
    ordered: list[int] = []
    records: list[StepRecord] = []
    while not loaders[0].finished and loaders[0].state.step < MOST_STEPS and batches:
        if not loaders[0].in_step:
            for loader in loaders:
                loader.begin_step(run.mixtures_TN[loader.state.step])
        iterators = [iter(loader) for loader in loaders]
        marks[:] = [len(ids) for ids in taken]
        while batches:
            slices = [next(iterator, None) for iterator in iterators[:1]]
            if slices[0] is None:
                break
            slices += [next(iterator) for iterator in iterators[1:]]
            for rank, batch in enumerate(slices):
                ids = batch["sample_ids"].tolist()
                taken[rank] += ids
                ordered += ids
            batches -= 1
        if not loaders[0].in_step:
            for iterator in iterators[1:]:
                assert next(iterator, None) is None
            assert loaders[0].record is not None
            records.append(loaders[0].record)
    return ordered, records, loaders[0].state_dict()


def whole_run(dataset: MixedDataset, run: Drawn) -> tuple[list[int], list[StepRecord], dict]:
    """The run in as many attempts as were drawn."""
    ids: list[int] = []
    records: list[StepRecord] = []
    state = None
    for batches, ranks, workers in run.attempts:
        part, ended, state = attempt(dataset, run, batches=batches, ranks=ranks, workers=workers, state=state)
        ids, records = ids + part, records + ended
    assert state is not None
    return ids, records, state


def check(write_streams: Any, run: Drawn) -> None:
    """Every guarantee, on what was consumed."""
    with tempfile.TemporaryDirectory() as folder:
        stored = write_streams(Path(folder), run.sizes, shard_bytes=run.shard_bytes)
        with MixedDataset(stored.manifest, stored.folder) as dataset:
            check_run(dataset, run)


def check_run(dataset: MixedDataset, run: Drawn) -> None:
    sizes, rules = dataset.sizes, run.rules
    ids, records, end = whole_run(dataset, run)
    expected, state = [], MixerState.start(6)
    for record in records:
        plan = plan_step(run.mixtures_TN[state.step], state, streams=sizes, settings=rules)
        expected += plan.ids.tolist()
        # counts: whole, as many as planned, and of the planned mixture up to the carry
        assert np.array_equal(record.delivered_samples_N, plan.counts_N)
        assert plan.counts_N.sum() == len(plan.ids) <= rules.step_samples
        assert len(plan.ids) % rules.batch_size == 0
        owed_N = len(plan.ids) * plan.planned_N + state.carry_N
        if not plan.reasons and (owed_N >= 0).all():
            assert (np.abs(plan.counts_N - len(plan.ids) * plan.planned_N) < 2).all()
            assert (np.abs(plan.state_after.carry_N) < 1).all()
        assert plan.planned_N.sum() == pytest.approx(1)
        state = plan.state_after
    # order: the attempts' ranks, workers and ends leave no trace
    assert ids == expected
    assert state.to_json() == end["mixer"]
    # no loss, no repeat: a domain's samples are whole passes and a beginning of the next
    taken = np.array(ids, dtype=np.int64)
    by_domain = sizes.domains_of(taken)
    for domain, size in enumerate(sizes.samples_N.tolist()):
        own = taken[by_domain == domain]
        assert len(own) == state.pass_N[domain] * size + state.cursor_N[domain]
        assert len(own) <= rules.passes * size
        for start in range(0, len(own), max(size, 1)):
            one_pass = own[start : start + size]
            assert len(set(one_pass.tolist())) == len(one_pass)
    # proof: the chain is over the consumed ids
    chain, at = CHAIN_START, 0
    for record in records:
        total = int(record.delivered_samples_N.sum())
        chain = chain_digest(chain, step_digest(taken[at : at + total]))
        at += total
        assert record.chain == chain
    assert end["chain"] == chain


@PROVEN
@given(run=runs())
def test_every_guarantee_holds_over_random_runs_that_are_cut_off(write_streams: Any, run: Drawn) -> None:
    check(write_streams, run)


@FORKED
@given(run=runs(workers=(0, 1, 2)))
def test_every_guarantee_holds_with_loader_workers(write_streams: Any, run: Drawn) -> None:
    check(write_streams, run)


def test_state_is_as_large_after_many_steps_as_after_one(dataset: MixedDataset) -> None:
    rules = PlanSettings(step_samples=12, batch_size=12, exhaustion="repeat", max_passes=10**6)
    loader: Any = MixedLoader(dataset, settings=rules)
    weights = np.array([0.3, 0.0, 0.2, 0.2, 0.1, 0.2])
    lengths = []
    for step in range(1, 201):
        loader.begin_step(weights)
        for _ in loader:
            pass
        if step in (2, 200):
            lengths.append(len(json.dumps(loader.state_dict())))
    assert lengths[1] <= lengths[0] + 6 * 20  # carries print with more digits
