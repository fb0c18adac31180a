"""Which device a worker process takes: the first GPU that no other worker of the machine holds."""

import os

import pytest
import torch

from dmix.etl.synthetic import generation_tasks
from dmix.etl.synthetic.generation_tasks import gpu_lock, own_device


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with as many GPUs as a test says; gives the list of devices that were set."""
    chosen = []
    monkeypatch.setattr(generation_tasks, "_held_gpus", [])
    monkeypatch.setattr(generation_tasks, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)

    def with_gpus(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        return chosen

    yield with_gpus
    for lock in generation_tasks._held_gpus:
        lock.release()


def test_without_a_gpu_it_is_the_cpu(machine):
    chosen = machine(0)
    assert own_device() == "cpu"
    assert chosen == []


def test_the_first_free_gpu_is_taken_and_held(machine, held_elsewhere):
    chosen = machine(3)
    with held_elsewhere(gpu_lock(0)):
        assert own_device() == "cuda:1"
        assert chosen == [1]
        # a process that asks again holds what it has, and gets the next one
        assert own_device() == "cuda:2"


def test_once_all_are_taken_one_is_shared(machine, held_elsewhere):
    machine(2)
    with held_elsewhere(gpu_lock(0)), held_elsewhere(gpu_lock(1)):
        assert own_device() == f"cuda:{os.getpid() % 2}"
        assert generation_tasks._held_gpus == []


def test_a_gpu_is_free_again_when_its_process_has_ended(machine, held_elsewhere):
    machine(2)
    with held_elsewhere(gpu_lock(0)):
        pass
    assert own_device() == "cuda:0"
