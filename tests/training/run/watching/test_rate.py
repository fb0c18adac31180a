"""The speed of a run is kept as that of idle cores, without its first batches."""

import pytest
import torch

from dmix.training.run.watching import rate
from dmix.training.run.watching.rate import RateMeter


@pytest.fixture
def clock(monkeypatch):
    """Batches of two seconds, for which the process gets a part of its cores."""
    now = {"wall": 0.0, "processor": 0.0}
    monkeypatch.setattr(rate.time, "perf_counter", lambda: now["wall"])
    monkeypatch.setattr(rate.time, "process_time", lambda: now["processor"])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    return now


def kept(clock, *, batches, share=1.0, on_gpu=False, seconds=2.0):
    found = []
    meter = RateMeter(
        operations_per_token=6e6,
        tokens=100,
        bf16=False,
        on_gpu=on_gpu,
        keep=lambda operations, speed, *, bf16: found.append((operations, speed, bf16)),
    )
    for _ in range(batches):
        meter.before_train_batch(None, None)
        clock["wall"] += seconds
        clock["processor"] += seconds * share
        meter.batch_end(None, None)
        clock["wall"] += 100  # scores and checkpoints
    meter.fit_end(None, None)
    return found


def test_batches_count_and_what_lies_between_them_does_not(clock):
    assert kept(clock, batches=6) == [(6e6, 50.0, False)]


def test_the_share_of_other_processes_is_taken_out(clock):
    assert kept(clock, batches=6, share=0.25) == [(6e6, pytest.approx(200.0), False)]
    assert kept(clock, batches=6, share=0.25, on_gpu=True) == [(6e6, 50.0, False)]
    assert kept(clock, batches=6, share=0.05) == []


def test_short_runs_say_nothing(clock):
    assert kept(clock, batches=2) == kept(clock, batches=5, seconds=0.1) == []
