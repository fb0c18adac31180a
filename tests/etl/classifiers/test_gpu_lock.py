import itertools
import multiprocessing
import os
import signal
import tempfile
import time

import pytest
import torch
from tests.etl.classifiers.turn_taker import work

from dmix.etl.classifiers import gpu_lock
from dmix.etl.classifiers.gpu_lock import model_at_work, turn

SPAWN = multiprocessing.get_context("spawn")


def spans_of(folder, names, processes):
    spans = SPAWN.Queue()
    started = [SPAWN.Process(target=work, args=(folder, names, 0.1, spans)) for _ in range(processes)]
    for process in started:
        process.start()
    found = sorted((spans.get(timeout=60) for _ in started), key=lambda span: span[1])
    for process in started:
        process.join()
    return found


def test_processes_at_one_gpu_follow_each_other(tmp_path):
    spans = spans_of(tmp_path, ["a"], 3)
    assert all(before[2] <= after[1] for before, after in itertools.pairwise(spans))


def test_who_finds_one_taken_gets_another(tmp_path):
    with turn(["a", "b"], folder=tmp_path) as first, turn(["a", "b"], folder=tmp_path) as second:
        assert {first, second} == {0, 1}


def test_turn_of_a_process_that_was_killed_is_free(tmp_path):
    spans = SPAWN.Queue()
    holder = SPAWN.Process(target=work, args=(tmp_path, ["a"], 600, spans))
    holder.start()
    lock = tmp_path / f"dmix-{os.getuid()}-turn-a.lock"
    deadline = time.monotonic() + 60
    while not lock.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with turn(["a"], folder=tmp_path) as index:
        assert index == 0


def test_turn_ends_with_its_block_also_by_an_error(tmp_path):
    with pytest.raises(KeyError), turn(["a"], folder=tmp_path):
        raise KeyError
    with turn(["a"], folder=tmp_path) as index:
        assert index == 0


def test_without_a_gpu_a_model_stays_where_it_is():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    model = torch.nn.Linear(1, 1)
    with model_at_work(model) as device:
        assert device.type == next(model.parameters()).device.type == "cpu"


class Moved:
    """Notes where it was brought."""

    def __init__(self):
        self.places = []

    def to(self, device):
        self.places.append(str(device))


def test_a_model_leaves_its_gpu_at_the_end_also_by_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_lock, "_gpu_names", lambda: ["a"])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = Moved()
    with pytest.raises(KeyError), model_at_work(model) as device:
        assert model.places == [str(device)] == ["cuda:0"]
        raise KeyError
    assert model.places == ["cuda:0", "cpu"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_model_is_on_the_gpu_for_its_turn_alone(tmp_path):
    model = torch.nn.Linear(1000, 1000)
    with model_at_work(model) as device:
        assert next(model.parameters()).device == device
        assert torch.cuda.memory_allocated(device) >= 4_000_000
    assert next(model.parameters()).device.type == "cpu"
    assert torch.cuda.memory_allocated() < 4_000_000
