"""A run learns, records each step, and ends for a reason."""

import dataclasses
import gc
import os
import re
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.training.run.runs import StopAfter, events, with_training

from dmix.mixing.controllers.fixed import natural
from dmix.mixing.delivery.dataset import MixedDataset
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.training.model.estimate import speed
from dmix.training.model.estimate.shapes import shape_of
from dmix.training.model.models import load_model
from dmix.training.run.checkpoints import load_checkpoint
from dmix.training.run.resuming.checkpoint_files import checkpoints
from dmix.training.run.run import train
from dmix.warehouse_schema.errors import (
    InputError,
    InterruptedRunError,
    LockHeldError,
    NotFoundError,
    VerificationError,
)
from dmix.warehouse_schema.files.locks import held_lock


def test_a_run_learns_and_records_every_step(whole_run):
    folder, summary = whole_run
    assert (summary.steps, summary.finished) == (5, True)
    left = 216 - summary.samples_N.sum()
    source, target = (int(text) for text in re.findall(r"\d+", summary.ending)[-2:])
    assert summary.ending.startswith("all 5 steps are done; not drawn: ") and source + target == left
    assert summary.feedback_TD.shape == (6, 2)
    assert (summary.feedback_TD[-1] > summary.feedback_TD[0] + 0.5).all()
    steps, decisions = events(folder, "step_done"), events(folder, "decision")
    for step, decision in zip(steps, decisions, strict=True):
        assert sum(step["delivered_samples_N"]) == 32
        assert step["delivered_samples_N"] == decision["planned_samples_N"]
        assert step["delivered_tokens_N"] == [16 * n for n in step["delivered_samples_N"]]
        assert step["loss_tokens_N"] == [15 * n for n in step["delivered_samples_N"]]
        loss = sum(step["loss_sum_N"]) / sum(step["loss_tokens_N"])
        assert step["loss"] == pytest.approx(loss, rel=1e-6)
    feedback = events(folder, "feedback")
    assert [event["step"] for event in feedback] == [0, 1, 2, 3, 4, 5]
    assert decisions[3]["scores"] == feedback[3]["scores"]


def test_the_same_run_again_gives_the_same_samples_and_scores(job, whole_run, tmp_path):
    _, first = whole_run
    second = train(job, folder=tmp_path / "b")
    assert first.chain == second.chain
    np.testing.assert_array_equal(first.feedback_TD, second.feedback_TD)


def test_microbatches_and_loader_workers_change_no_sample(job, whole_run, tmp_path):
    _, first = whole_run
    other = with_training(job, microbatch_size=3, loader_workers=2)
    second = train(other, folder=tmp_path / "b")
    assert first.chain == second.chain
    np.testing.assert_allclose(first.feedback_TD, second.feedback_TD, atol=1e-3)
    np.testing.assert_allclose(first.loss, second.loss, atol=1e-3)


def test_a_run_leaves_neither_its_model_nor_a_descriptor(job, tmp_path, monkeypatch):
    models = []

    def loading(*arguments, **options):
        model = load_model(*arguments, **options)
        models.append(weakref.ref(model))
        return model

    def descriptors():
        gc.collect()
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    monkeypatch.setattr("dmix.training.run.run.load_model", loading)
    short = dataclasses.replace(with_training(job, loader_workers=1, checkpoint_steps=1), steps=1)
    train(short, folder=tmp_path / "first")  # opens what stays open for good
    before = descriptors()
    train(short, folder=tmp_path / "second")
    assert descriptors() <= before  # others of this process may have closed some
    assert [model() for model in models] == [None, None]


def test_a_run_ends_early_when_the_target_is_covered(job, tmp_path):
    plan = dataclasses.replace(job.plan, exhaustion="stop")
    summary = train(
        dataclasses.replace(job, plan=plan, steps=50, controller=natural()), folder=tmp_path / "run"
    )
    # 216 samples in steps of 32: six full steps, and what is left of a seventh in whole batches
    assert summary.finished and summary.steps == 7
    assert summary.samples_N.sum() == 216
    assert summary.ending == "the run has drawn every sample"


def test_a_run_holds_as_much_after_sixty_steps_as_after_thirty(job, tmp_path, monkeypatch):
    monkeypatch.setattr("dmix.mixing.controllers.interface.CONTEXT", 5)
    held = {}

    def count(line):
        if not line.startswith("step "):
            return
        step = int(line.removeprefix("step ").partition("/")[0])
        if step in (30, 60):
            gc.collect()
            held[step] = len(gc.get_objects())

    plan = PlanSettings(step_samples=8, batch_size=8, exhaustion="repeat", max_passes=10)
    long = with_training(dataclasses.replace(job, plan=plan, steps=61), checkpoint_steps=1)
    train(dataclasses.replace(long, controller=natural()), folder=tmp_path / "run", progress=count)
    assert held[60] - held[30] < 30  # less than an object per step


def test_a_run_without_an_environment_has_no_scores(job, tmp_path):
    plain = dataclasses.replace(job, environment=None, controller=natural(), steps=2)
    summary = train(plain, folder=tmp_path / "run")
    assert summary.feedback_TD.shape == (3, 0) and not events(tmp_path / "run", "feedback")


def test_a_run_keeps_its_speed_for_later_estimates(job, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("dmix.training.run.watching.rate._LEAST_SECONDS", 0.0)
    monkeypatch.setattr("dmix.training.run.watching.rate._LEAST_SHARE", 0.0)
    plain = dataclasses.replace(job, environment=None, controller=natural(), steps=2)
    train(plain, folder=tmp_path / "run")
    shape = shape_of(job.model, job.manifest)
    operations = shape.operations_per_token(job.manifest.seq_len)
    monkeypatch.setattr(speed, "_matrix_operations_per_second", lambda *, bf16, kept: 0.0)
    assert speed.training_speed(operations) > 0


def test_samples_per_step_must_be_a_multiple_of_the_batch(job, tmp_path):
    plan = PlanSettings(step_samples=30, batch_size=8)
    with pytest.raises(InputError, match="24 and 32"):
        train(dataclasses.replace(job, plan=plan), folder=tmp_path / "run")


def test_samples_other_than_the_planned_ones_end_the_run(job, tmp_path, monkeypatch):
    read = MixedDataset.batch
    monkeypatch.setattr(MixedDataset, "batch", lambda self, ids: read(self, ids[::-1]))
    with pytest.raises(VerificationError, match="step 1 used 32 samples, but not the 32 planned"):
        train(job, folder=tmp_path / "run")
    assert not events(tmp_path / "run", "step_done")


def test_bf16_on_a_cpu_scores_nearly_as_fp32_and_keeps_the_weights_in_fp32(
    job, tmp_path, monkeypatch, caplog
):
    job = dataclasses.replace(job, result=tmp_path / "model")
    whole = train(job, folder=tmp_path / "fp32").feedback_TD
    monkeypatch.setattr("dmix.training.run.run.cpu_has_bf16", lambda: False)
    job = dataclasses.replace(job, result=tmp_path / "half")
    with caplog.at_level("WARNING"):
        half = train(with_training(job, precision="bf16"), folder=tmp_path / "bf16").feedback_TD
    assert "emulates bf16" in caplog.text
    assert not np.array_equal(half, whole)
    np.testing.assert_allclose(half, whole, atol=0.03)
    assert (half[-1] > half[0]).all()
    weights = load_file(tmp_path / "half" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_a_run_that_cannot_be_built_leaves_no_events_and_can_be_started_again(job, tmp_path):
    with pytest.raises(NotFoundError, match="is not a checkpoint: it has no config"):
        train(dataclasses.replace(job, model=str(tmp_path)), folder=tmp_path / "run")
    assert train(dataclasses.replace(job, steps=1), folder=tmp_path / "run").finished


def test_one_run_has_one_writer(job, tmp_path, monkeypatch):
    monkeypatch.setattr("dmix.training.run.run.LOCK_SECONDS", 0.1)
    with (
        held_lock(tmp_path / "run" / ".lock", what="run r"),
        pytest.raises(LockHeldError, match=rf"run r is locked by process {os.getpid()} "),
    ):
        train(job, folder=tmp_path / "run")


def test_a_run_is_neither_overwritten_nor_resumed_from_nothing(job, tmp_path):
    with pytest.raises(NotFoundError, match="has not started yet"):
        train(job, folder=tmp_path / "run", resume=True)
    train(dataclasses.replace(job, steps=1), folder=tmp_path / "run")
    with pytest.raises(InputError, match=r"already exists; to resume this run, use dmix train .* --resume"):
        train(job, folder=tmp_path / "run")


def test_a_checkpoint_names_no_code_that_composer_would_evaluate(job, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train(with_training(job, checkpoint_steps=1), folder=folder, progress=StopAfter(2))
    path = checkpoints(folder / "checkpoints")[-1]
    content = load_checkpoint(path)
    evil = {"repr": f"BlurPool(*[open({str(tmp_path / 'ran')!r}, 'w')][1:])"}
    for name in ("algorithms", "_algorithms"):
        content["state"][name] = [("BlurPool", evil)]
    torch.save(content, path)
    events_file = folder / "events.jsonl"
    kept = [line for line in events_file.read_text().splitlines() if '"checkpoint_saved"' not in line]
    events_file.write_text("\n".join(kept) + "\n")
    train(with_training(job, checkpoint_steps=1), folder=folder, resume=True)
    assert events(folder, "run_started")[-1]["resumed_from_step"] == 2
    assert not (tmp_path / "ran").exists()
