"""Microbatches fit the memory of the device."""

import dataclasses

import pytest
import torch
from tests.training.run.runs import StopAfter, chains, events, with_training

from dmix.training.model.language_model import LanguageModel
from dmix.training.run.assembly import trainer as trainer_module
from dmix.training.run.run import train
from dmix.warehouse_schema.errors import (
    InterruptedRunError,
    TrainingError,
)


class FullAbove:
    """A model's forward pass on a GPU that holds so many samples and no more."""

    def __init__(self, samples):
        self.samples, self.forward, self.sizes = samples, LanguageModel.forward, []

    def __call__(self, batch):
        self.sizes.append(len(batch["input_ids"]))
        if self.sizes[-1] > self.samples:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.forward(self.model, batch)

    def patch(self, monkeypatch):
        def forward(model, batch):
            self.model = model
            return self(batch)

        monkeypatch.setattr(LanguageModel, "forward", forward)
        monkeypatch.setattr(trainer_module, "halves_when_memory_runs_out", lambda settings: True)
        return self


def found_sizes(folder):
    return [event["value"] for event in events(folder, "note") if event["kind"] == "microbatch_size"]


def test_microbatches_are_halved_until_they_fit_and_stay_so_after_a_resume(
    job, whole_run, tmp_path, monkeypatch
):
    gpu = FullAbove(3).patch(monkeypatch)
    found = with_training(job, microbatch_size="auto")
    with pytest.raises(InterruptedRunError):
        train(found, folder=tmp_path, progress=StopAfter(2))
    assert gpu.sizes[:4] == [8, 4, 2, 2] and found_sizes(tmp_path) == [2]
    gpu.sizes.clear()
    train(found, folder=tmp_path, resume=True)
    assert set(gpu.sizes) == {2} and found_sizes(tmp_path) == [2, 2]
    assert chains(tmp_path) == chains(whole_run[0])  # no sample twice, none missing
    expected, got = (events(folder, "feedback")[-1]["scores"] for folder in (whole_run[0], tmp_path))
    assert got == pytest.approx(expected, abs=1e-3)


def test_a_gpu_without_room_for_one_sample_ends_the_run_with_advice(job, tmp_path, monkeypatch):
    FullAbove(0).patch(monkeypatch)
    with pytest.raises(TrainingError, match="memory ran out"):
        train(with_training(job, microbatch_size="auto"), folder=tmp_path)


def test_on_a_cpu_the_estimate_says_how_many_samples_fit(job, whole_run, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "room_of_a_rank", lambda ranks: 0)
    found = dataclasses.replace(with_training(job, microbatch_size="auto"), steps=1)
    said = []
    train(found, folder=tmp_path, progress=said.append)
    assert "microbatch_size auto: 1 sample per forward pass on a rank" in said
    assert found_sizes(tmp_path) == [1]
    assert chains(tmp_path)[1] == chains(whole_run[0])[1]
