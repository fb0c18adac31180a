"""A run that was stopped, killed or damaged ends as one that was not."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from tests.training.run.runs import Steady, StopAfter, Swinging, chains, events, with_training

from dmix.training.run.checkpoints import load_checkpoint
from dmix.training.run.resuming.checkpoint_files import checkpoints, fingerprint
from dmix.training.run.run import train
from dmix.warehouse_schema.errors import (
    InputError,
    InterruptedRunError,
    VerificationError,
)


@pytest.mark.parametrize("checkpoint_batches", [0, 3])
def test_a_run_that_was_asked_to_stop_goes_on_as_if_it_had_not(job, whole_run, tmp_path, checkpoint_batches):
    folder, whole = whole_run
    cut = with_training(job, checkpoint_batches=checkpoint_batches)
    with pytest.raises(InterruptedRunError, match=r"dmix train .*--run cut --resume$") as stopped:
        train(cut, folder=tmp_path / "cut", progress=StopAfter(2))
    assert stopped.value.exit_code == 130
    assert events(tmp_path / "cut", "run_stopped")[-1]["step"] == 2 and not events(
        tmp_path / "cut", "run_failed"
    )
    again = dataclasses.replace(cut, controller=Swinging())
    resumed = train(again, folder=tmp_path / "cut", resume=True)
    assert chains(tmp_path / "cut") == chains(folder)
    np.testing.assert_array_equal(resumed.feedback_TD, whole.feedback_TD)
    np.testing.assert_array_equal(resumed.planned_TN, whole.planned_TN)
    started = events(tmp_path / "cut", "run_started")
    assert [event["attempt"] for event in started] == [1, 2]
    # the signal came at the end of step 2, so one batch of step 3 was trained and saved
    assert started[1]["resumed_from_step"] == 2 and started[1]["resumed_from_batch"] == 9
    # the decision of step 3 was not asked for again
    assert again.controller.asked == [4, 5]


def test_a_run_killed_before_its_first_checkpoint_replays_its_decisions(job, whole_run, tmp_path):
    _, whole = whole_run
    without = with_training(job, checkpoint_steps=0)

    def die(line):
        if line.startswith("step 2/"):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(without, folder=tmp_path / "cut", progress=die)
    assert events(tmp_path / "cut", "run_failed")[0]["detail"] == "power cut"
    again = dataclasses.replace(without, controller=Swinging())
    resumed = train(again, folder=tmp_path / "cut", resume=True)
    assert again.controller.asked == [3, 4, 5]
    assert resumed.chain == whole.chain and resumed.finished
    replayed = [e["replayed"] for e in events(tmp_path / "cut", "decision") if e["attempt"] == 2]
    assert replayed == [True, True, False, False, False]


def test_a_checkpoint_that_was_cut_short_is_passed_over(job, whole_run, tmp_path):
    _, whole = whole_run
    with pytest.raises(InterruptedRunError):
        train(job, folder=tmp_path / "cut", progress=StopAfter(4))
    newest = checkpoints(tmp_path / "cut" / "checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    resumed = train(job, folder=tmp_path / "cut", resume=True)
    assert resumed.chain == whole.chain
    assert events(tmp_path / "cut", "run_started")[1]["resumed_from_step"] == 4


def test_dropout_goes_on_where_a_checkpoint_within_a_step_left_it(job, tmp_path):
    model = dataclasses.replace(
        job.model, config={**job.model.config, "attention_dropout": 0.3}, architecture="llama"
    )
    cut = dataclasses.replace(with_training(job, checkpoint_batches=3), model=model, steps=4)
    whole = train(dataclasses.replace(cut, controller=Swinging()), folder=tmp_path / "whole")
    with pytest.raises(InterruptedRunError):
        train(cut, folder=tmp_path / "cut", progress=StopAfter(2))
    resumed = train(dataclasses.replace(cut, controller=Swinging()), folder=tmp_path / "cut", resume=True)
    assert events(tmp_path / "cut", "run_started")[1]["resumed_from_batch"] == 9
    np.testing.assert_array_equal(resumed.feedback_TD, whole.feedback_TD)
    assert resumed.loss == whole.loss
    # the dropout does something
    plain = train(dataclasses.replace(cut, model=job.model, controller=Swinging()), folder=tmp_path / "plain")
    assert plain.loss != whole.loss


def test_a_controller_sees_the_start_and_its_last_steps_also_after_a_resume(job, tmp_path, monkeypatch):
    monkeypatch.setattr("dmix.mixing.controllers.interface.CONTEXT", 2)

    class Watching(Swinging):
        seen = {}

        def propose(self, history):
            self.seen.setdefault(history.step, []).append(
                [history.mixtures_TN, history.feedback_TD, history.losses_TN, history.counts_TN]
            )
            assert [len(rows) for rows in self.seen[history.step][-1]] == [min(history.step, 3)] * 4
            return super().propose(history)

    train(dataclasses.replace(job, controller=Watching()), folder=tmp_path / "whole")
    with pytest.raises(InterruptedRunError):
        train(dataclasses.replace(job, controller=Watching()), folder=tmp_path / "cut", progress=StopAfter(4))
    train(dataclasses.replace(job, controller=Watching()), folder=tmp_path / "cut", resume=True)
    assert list(Watching.seen) == [1, 2, 3, 4, 5]
    for first, second in Watching.seen.values():
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, other)
    assert chains(tmp_path / "cut") == chains(tmp_path / "whole")


def test_resuming_a_finished_run_changes_nothing(job, whole_run):
    folder, first = whole_run
    again = train(job, folder=folder, resume=True)
    assert again.finished and again.chain == first.chain and again.steps == 5
    assert job.controller.asked == []


def test_a_damaged_checkpoint_is_named_and_the_run_ends_as_if_it_were_whole(job, whole_run, tmp_path):
    _, whole = whole_run
    with pytest.raises(InterruptedRunError):
        train(with_training(job, checkpoint_steps=1), folder=tmp_path, progress=StopAfter(3))
    newest = checkpoints(tmp_path / "checkpoints")[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = bytes(4096)
    newest.write_bytes(content)
    lines = []
    resumed = train(
        with_training(job, checkpoint_steps=1), folder=tmp_path, resume=True, progress=lines.append
    )
    assert lines[0] == f"checkpoint {newest.name} is damaged"
    assert resumed.chain == whole.chain
    np.testing.assert_array_equal(resumed.feedback_TD, whole.feedback_TD)
    noted = [event["detail"] for event in events(tmp_path, "note") if event["kind"] == "checkpoint"]
    assert noted == lines[:2]
    assert not list((tmp_path / "checkpoints").glob("*.aside"))


def test_a_checkpoint_without_a_fingerprint_is_known_by_the_samples_that_it_saw(job, tmp_path):
    jobs = {}
    for name, seed in (("one", 0), ("two", 1)):
        plan, folder = dataclasses.replace(job.plan, seed=seed), tmp_path / name
        jobs[name] = dataclasses.replace(job, plan=plan, controller=Steady(), steps=4)
        train(jobs[name], folder=folder)
        (folder / "checkpoints" / "step4-ba16.pt").unlink()
        lines = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if b"checkpoint_saved" not in line]
        (folder / "events.jsonl").write_bytes(b"".join(kept))  # as a run of an earlier version
    own, other = (tmp_path / name / "checkpoints" / "step2-ba8.pt" for name in ("one", "two"))
    shutil.copyfile(other, own)
    with pytest.raises(
        VerificationError, match=r"after step 2 was trained on other samples than events\.jsonl"
    ):
        train(jobs["one"], folder=tmp_path / "one", resume=True)
    assert train(jobs["two"], folder=tmp_path / "two", resume=True).steps == 4


@pytest.mark.parametrize("where", ["model", "moments"])
def test_a_received_checkpoint_with_an_absurd_weight_is_not_resumed(job, tmp_path, where):
    steady = dataclasses.replace(job, controller=Steady())
    with pytest.raises(InterruptedRunError):
        train(steady, folder=tmp_path, progress=StopAfter(2))
    newest = checkpoints(tmp_path / "checkpoints")[-1]
    written, content = fingerprint(newest), load_checkpoint(newest)
    if where == "model":
        content["state"]["model"]["network.model.layers.0.self_attn.q_proj.weight"].view(-1)[3] = 1e38
    else:
        moments = content["state"]["optimizers"]["DecoupledAdamW"]["state"]
        moments["network.model.norm.weight"]["exp_avg"][3] = 1e38
    torch.save(content, newest)
    log = tmp_path / "events.jsonl"
    log.write_text(log.read_text().replace(written, fingerprint(newest)))
    with pytest.raises(InputError, match=rf"{newest.name} .*(magnitude 1e.38|moment)"):
        train(steady, folder=tmp_path, resume=True)
