"""Which checkpoints and models a run keeps, and what they hold."""

import dataclasses

import torch
from tests.training.run.runs import events, with_training

from dmix.training.model.estimate.memory import disk_of_run
from dmix.training.model.estimate.shapes import shape_of
from dmix.training.run.resuming.checkpoint_files import checkpoints
from dmix.training.run.run import train


def test_checkpoints_are_kept_as_many_as_asked_for(job, tmp_path):
    train(with_training(job, checkpoint_steps=1, checkpoints_kept=2), folder=tmp_path / "run")
    names = [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")]
    assert names == ["step4-ba16.pt", "step5-ba20.pt"]


def test_a_run_may_keep_its_model_alone(job, whole_run, tmp_path):
    alone = dataclasses.replace(
        with_training(job, keep="model", checkpoint_steps=0), steps=2, result=tmp_path / "model"
    )
    train(alone, folder=tmp_path)
    assert not (tmp_path / "checkpoints").exists() and not (tmp_path / "model" / "optimizer.pt").exists()
    weights = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    assert "model.safetensors" in weights
    again = train(alone, folder=tmp_path, resume=True)  # trains nothing, although no checkpoint says so
    assert again.finished and len(events(tmp_path, "run_started")) == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == weights


def test_the_disk_that_a_run_takes_is_foretold(job, tmp_path):
    shape = shape_of(job.model, job.manifest)
    kept = dataclasses.replace(job, steps=3, result=tmp_path / "model")
    train(kept, folder=tmp_path)
    found = [
        path.stat().st_size
        for path in (*(tmp_path / "checkpoints").iterdir(), *(tmp_path / "model").iterdir())
        if path.suffix in (".pt", ".safetensors")
    ]
    planned = disk_of_run(shape, job.training, steps=3, batches=12)
    assert planned.kept < sum(found) < planned.kept + len(found) * 50_000  # names, settings, state of the run


def test_a_checkpoint_knows_nothing_of_those_before_it(job, tmp_path):
    train(with_training(job, checkpoint_steps=1), folder=tmp_path / "run")
    newest = torch.load(checkpoints(tmp_path / "run" / "checkpoints")[-1], weights_only=False)
    assert "MixtureCallback" in str(newest["state"]["callbacks"])
    assert ".pt" not in str(newest["state"]["callbacks"])
