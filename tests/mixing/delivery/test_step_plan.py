"""What a plan guarantees, line by line, over random runs; and the messages of what it refuses.

A random run is simulated to its end: random domain sizes, shards, mixtures, R, B and rule.
"""

import json
import math
import os
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmix.mixing.delivery.order import order_slice
from dmix.mixing.delivery.step_plan import (
    MixerState,
    PlanSettings,
    StepPlan,
    StreamSizes,
    check_settings,
    ending,
    plan_step,
    remaining_samples,
)
from dmix.warehouse_schema.errors import InputError

PROVEN = settings(max_examples=int(os.environ.get("DMIX_EXAMPLES", "40")), deadline=None, derandomize=True)
MOST_STEPS = 30

shard_sizes = st.lists(st.lists(st.integers(1, 12), max_size=3), min_size=2, max_size=7)
rules = st.sampled_from(["stop", "repeat", "redistribute"])


def streams_of(shards: list[list[int]], sources: int) -> StreamSizes:
    arrays = tuple(np.array(sizes, dtype=np.int64) for sizes in shards)
    return StreamSizes(arrays, np.arange(len(shards)) >= sources)


def mixtures(seed: int, size: int) -> list[np.ndarray]:
    """Random mixtures of all kinds: even, peaked, with zeros, on one domain."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(MOST_STEPS):
        weights = rng.dirichlet(np.full(size, rng.choice([0.05, 0.5, 5.0])))
        weights = np.where(rng.random(size) < 0.3, 0.0, weights)
        drawn.append(weights / weights.sum() if weights.sum() > 0 else np.eye(size)[rng.integers(size)])
    return drawn


@st.composite
def runs(draw: st.DrawFn) -> tuple[StreamSizes, PlanSettings, list[StepPlan]]:
    """Streams, settings, and the plans of a run until its last step (or the 30th)."""
    shards = draw(shard_sizes.filter(lambda s: sum(map(sum, s)) >= 4))
    streams = streams_of(shards, draw(st.integers(0, len(shards))))
    batch = draw(st.sampled_from([1, 2, 4]))
    chosen = PlanSettings(
        step_samples=batch * draw(st.integers(1, 16)),
        batch_size=batch,
        seed=draw(st.integers(0, 2**32)),
        exhaustion=draw(rules),
        max_passes=draw(st.integers(1, 3)),
        shuffle_block=draw(st.integers(1, 3)),
    )
    state, plans = MixerState.start(len(streams)), []
    for asked in mixtures(draw(st.integers(0, 10**6)), len(streams)):
        plans.append(plan_step(asked, state, streams=streams, settings=chosen))
        state = plans[-1].state_after
        if plans[-1].last:
            break
    return streams, chosen, plans


@PROVEN
@given(run=runs())
def test_counts_are_whole_and_fill_the_step(run: tuple) -> None:
    streams, chosen, plans = run
    for plan in plans:
        assert plan.counts_N.min() >= 0
        assert plan.counts_N.sum() == len(plan.ids)
        assert len(plan.ids) % chosen.batch_size == 0
        assert np.array_equal(streams.count(plan.ids), plan.counts_N)
        assert len(plan.ids) == chosen.step_samples or plan.last


@PROVEN
@given(run=runs())
def test_carry_is_quota_less_count_and_stays_bounded(run: tuple) -> None:
    streams, chosen, plans = run
    before, state = np.zeros(len(streams)), MixerState.start(len(streams))
    for plan in plans:
        left = remaining_samples(state, streams=streams, settings=chosen)
        exhausted = ((streams.samples_N > 0) & (left == 0)).any()
        carry, served = plan.state_after.carry_N, plan.planned_N * len(plan.ids)
        assert carry.max() <= 1 + math.log(len(streams))
        assert carry.min() > -1 - 1e-9
        assert abs(math.fsum(carry)) < 1e-9
        if not plan.reasons and not exhausted:
            assert carry == pytest.approx(before + served - plan.counts_N, abs=1e-9)
            if (before + served).min() >= 0:
                assert np.abs(carry).max() < 1 + 1e-9
                assert np.abs(plan.counts_N - served).max() < 2 + 1e-9
        before, state = carry, plan.state_after


@PROVEN
@given(run=runs())
def test_each_domain_is_drawn_in_its_order_without_loss_or_repeat(run: tuple) -> None:
    streams, chosen, plans = run
    consumed = np.concatenate([plan.ids for plan in plans])
    domains = streams.domains_of(consumed)
    for domain, shards in enumerate(streams.shard_samples):
        own = consumed[domains == domain] - streams.offsets_N[domain]
        size = int(shards.sum())
        assert len(own) <= chosen.passes * size
        for turn in range(-(-len(own) // size) if size else 0):
            part = own[turn * size : (turn + 1) * size]
            expected = order_slice(
                domain,
                shuffle_pass=turn,
                start=0,
                count=len(part),
                shard_samples=shards,
                seed=chosen.seed,
                shuffle_block=chosen.shuffle_block,
            )
            assert np.array_equal(part, expected)
            assert len(set(part.tolist())) == len(part)


@PROVEN
@given(run=runs())
def test_run_ends_exactly_when_its_rule_says(run: tuple) -> None:
    streams, chosen, plans = run
    for plan in plans:
        left = remaining_samples(plan.state_after, streams=streams, settings=chosen)
        assert plan.unserved_samples == left.sum()
        used_up = left.sum() < chosen.batch_size
        has_target = streams.samples_N[streams.target_N].sum() > 0
        covered = has_target and left[streams.target_N].sum() == 0
        assert plan.last == (used_up or (chosen.exhaustion == "stop" and covered))
        if plan.last and used_up:
            with pytest.raises(InputError, match="fewer than a batch"):
                plan_step(plan.asked_N, plan.state_after, streams=streams, settings=chosen)


@PROVEN
@given(run=runs())
def test_planned_mixture_differs_from_the_asked_one_for_a_reason(run: tuple) -> None:
    streams, _, plans = run
    for plan in plans:
        assert plan.planned_N.min() >= 0
        assert math.fsum(plan.planned_N) == pytest.approx(1, abs=1e-9)
        assert not plan.planned_N[streams.samples_N == 0].any()
        differs = np.abs(plan.planned_N - plan.asked_N) > 1e-6
        assert set(np.flatnonzero(differs).tolist()) <= set(plan.reasons)
        assert all(plan.planned_N[i] != plan.asked_N[i] for i in plan.reasons)


@PROVEN
@given(run=runs(), data=st.data())
def test_plan_follows_from_the_stored_state_alone(run: tuple, data: st.DataObject) -> None:
    streams, chosen, plans = run
    at = data.draw(st.integers(0, len(plans) - 1))
    before = plans[at - 1].state_after if at else MixerState.start(len(streams))
    stored = json.dumps(before.to_json())
    asked = np.array(json.loads(json.dumps(plans[at].asked_N.tolist())))
    again = plan_step(asked, MixerState.from_json(json.loads(stored)), streams=streams, settings=chosen)
    assert np.array_equal(again.ids, plans[at].ids)
    assert json.dumps(again.state_after.to_json()) == json.dumps(plans[at].state_after.to_json())


@PROVEN
@given(run=runs())
def test_passes_count_what_was_drawn(run: tuple) -> None:
    streams, chosen, plans = run
    drawn = sum(plan.counts_N for plan in plans)
    assert plans[-1].passes_N == pytest.approx(drawn / np.maximum(streams.samples_N, 1))
    assert plans[-1].passes_N.max() <= chosen.passes


def long_streams(samples: int = 10_000, domains: int = 4) -> StreamSizes:
    return streams_of([[samples]] * domains, domains // 2)


def run_of(asked: list[float], steps: int, streams: StreamSizes, chosen: PlanSettings) -> list[StepPlan]:
    state, plans = MixerState.start(len(streams)), []
    for _ in range(steps):
        plans.append(plan_step(np.array(asked), state, streams=streams, settings=chosen))
        state = plans[-1].state_after
    return plans


def test_domain_worth_a_fifth_of_a_sample_is_served_every_fifth_step() -> None:
    chosen = PlanSettings(step_samples=10, batch_size=2)
    plans = run_of([0.02, 0.48, 0.25, 0.25], 20, long_streams(), chosen)
    served = [int(plan.counts_N[0]) for plan in plans]
    assert sum(served) == 4
    assert {b - a for a, b in zip(*[np.flatnonzero(served)[i:] for i in (0, 1)], strict=False)} == {5}


def test_whole_quotas_are_served_exactly() -> None:
    plans = run_of([0.1, 0.2, 0.3, 0.4], 5, long_streams(), PlanSettings(step_samples=100, batch_size=10))
    assert [plan.counts_N.tolist() for plan in plans] == [[10, 20, 30, 40]] * 5


def test_stop_ends_when_the_target_is_covered_and_fills_the_step_from_the_source() -> None:
    streams = streams_of([[100], [15], [5]], 1)
    plans = run_of([0.2, 0.4, 0.4], 3, streams, PlanSettings(step_samples=10, batch_size=5))
    assert [plan.counts_N.tolist() for plan in plans] == [[2, 4, 4], [2, 7, 1], [6, 4, 0]]
    assert [plan.last for plan in plans] == [False, False, True]
    assert plans[1].reasons == {
        1: "replaces domains without samples",
        2: "has no samples left after this step",
    }
    assert plans[2].unserved_samples == 90


def test_redistribute_goes_on_and_reports_what_fills_no_batch() -> None:
    streams = streams_of([[17], [6]], 1)
    chosen = PlanSettings(step_samples=8, batch_size=4, exhaustion="redistribute")
    plans = run_of([0.5, 0.5], 3, streams, chosen)
    assert [plan.counts_N.tolist() for plan in plans] == [[4, 4], [6, 2], [4, 0]]
    assert [plan.last for plan in plans] == [False, False, True]
    assert plans[2].unserved_samples == 3


def test_the_end_of_a_run_says_why_and_what_it_leaves() -> None:
    streams = streams_of([[117], [6]], 1)
    chosen = PlanSettings(step_samples=8, batch_size=4)
    plans = run_of([0.5, 0.5], 2, streams, chosen)
    told = [ending(p.state_after, steps=1, streams=streams, settings=chosen) for p in plans]
    assert told[0] == "the only step is done; not drawn: 113 source samples and 2 target samples"
    told = [ending(p.state_after, steps=9, streams=streams, settings=chosen) for p in plans]
    assert plans[1].last
    assert (
        told[1] == "the run has drawn all target samples; not drawn: 107 source samples and 0 target samples"
    )
    rest = PlanSettings(step_samples=40, batch_size=40, exhaustion="redistribute")
    plan = run_of([0.5, 0.5], 3, streams, rest)[-1]
    told = [ending(plan.state_after, steps=9, streams=streams, settings=rest)]
    assert len(told) == 1 and "too few for a batch of 40; not drawn: 3 source samples and 0 target" in told[0]
    used_up = run_of([0.5, 0.5], 1, streams_of([[5], [3]], 1), chosen)[0]
    told = [ending(used_up.state_after, steps=9, streams=streams_of([[5], [3]], 1), settings=chosen)]
    assert told == ["the run has drawn every sample"]


def test_repeat_starts_another_order_each_pass_within_a_step() -> None:
    streams = streams_of([[3], [50]], 1)
    chosen = PlanSettings(step_samples=20, batch_size=10, exhaustion="repeat", max_passes=3)
    plan = plan_step(np.array([0.5, 0.5]), MixerState.start(2), streams=streams, settings=chosen)
    own = plan.ids[plan.ids < 3]
    assert plan.counts_N.tolist() == [9, 11]
    assert [sorted(own[k : k + 3].tolist()) for k in (0, 3, 6)] == [[0, 1, 2]] * 3
    assert plan.reasons == {0: "has no samples left after this step", 1: "replaces domains without samples"}
    assert plan.passes_N.tolist() == [3.0, 0.22]


def test_data_without_a_target_is_used_up_under_stop() -> None:
    streams = streams_of([[10], [10]], 2)
    plans = run_of([0.5, 0.5], 5, streams, PlanSettings(step_samples=4, batch_size=4))
    assert [plan.last for plan in plans] == [False] * 4 + [True]


def test_step_10_000_costs_what_step_2_costs() -> None:
    streams = long_streams(samples=2_000_000)
    chosen = PlanSettings(step_samples=640, batch_size=64, exhaustion="redistribute")
    far = MixerState(
        step=9_999,
        carry_N=np.zeros(4),
        cursor_N=np.full(4, 1_599_840),
        pass_N=np.zeros(4, dtype=np.int64),
    )
    asked = np.array([0.1, 0.2, 0.3, 0.4])
    early = plan_step(asked, MixerState.start(4), streams=streams, settings=chosen).state_after

    def seconds(state: MixerState) -> float:
        started = time.perf_counter()
        plan_step(asked, state, streams=streams, settings=chosen)
        return time.perf_counter() - started

    pairs = [(seconds(early), seconds(far)) for _ in range(15)]
    assert min(far_s for _, far_s in pairs) < 3 * min(early_s for early_s, _ in pairs)
    assert len(json.dumps(far.to_json())) < 2 * len(json.dumps(early.to_json()))


def test_step_that_is_no_multiple_of_the_batch_names_the_two_nearest() -> None:
    with pytest.raises(InputError, match=r"samples-per-step is 1000.*batch of 64.*960 and 1024"):
        check_settings(PlanSettings(step_samples=1000, batch_size=64))
    with pytest.raises(InputError, match=r"nearest valid: 64$"):
        check_settings(PlanSettings(step_samples=10, batch_size=64))


def test_batch_that_the_ranks_cannot_share_names_the_two_nearest() -> None:
    with pytest.raises(InputError, match=r"batch-size is 64.*6 ranks.*60 and 66"):
        check_settings(PlanSettings(step_samples=640, batch_size=64), world_size=6)


def test_data_smaller_than_a_batch_is_refused_at_the_start() -> None:
    streams = streams_of([[3], [4]], 1)
    with pytest.raises(InputError, match="have 7 samples, fewer than one batch of 8"):
        check_settings(PlanSettings(step_samples=8, batch_size=8), streams=streams)
    check_settings(
        PlanSettings(step_samples=8, batch_size=8, exhaustion="repeat", max_passes=2), streams=streams
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"shuffle_block": 0}, "shuffle_block is 0"),
        ({"exhaustion": "wrap"}, "exhaustion is 'wrap', expected one of stop, repeat, redistribute"),
        ({"seed": 2**63}, "seed is 9223372036854775808, expected a number of at most 64 bits"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PlanSettings(**{"step_samples": 8, "batch_size": 4, **changes})


def test_state_of_other_streams_is_refused() -> None:
    chosen = PlanSettings(step_samples=8, batch_size=4)
    with pytest.raises(InputError, match="state has 3 domains, but the streams have 4"):
        plan_step(np.full(4, 0.25), MixerState.start(3), streams=long_streams(), settings=chosen)
    state = plan_step(
        np.full(4, 0.25), MixerState.start(4), streams=long_streams(), settings=chosen
    ).state_after
    with pytest.raises(InputError, match="used more samples than a domain"):
        plan_step(np.full(4, 0.25), state, streams=long_streams(samples=2), settings=chosen)


def test_damaged_state_is_refused() -> None:
    with pytest.raises(InputError, match=r"mixer state is damaged.*'carry'"):
        MixerState.from_json({"step": 1})
    with pytest.raises(InputError, match=r"damaged \(cursor has the shape \(2,\), expected \(1\)\)"):
        MixerState.from_json({"step": 1, "carry": [0.0], "cursor": [0, 0], "pass": [0, 0]})
