"""Proposals, losses, weights and scores that are not finite."""

import dataclasses

import numpy as np
import pytest
from tests.training.run.runs import Steady, Swinging, events, with_training

from dmix.mixing.controllers import Proposal
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.training.model.models import load_model
from dmix.training.run.assembly.trainer import make_optimizer
from dmix.training.run.resuming.checkpoint_files import checkpoints
from dmix.training.run.run import train
from dmix.warehouse_schema.errors import (
    TrainingError,
)


def test_a_proposal_that_is_not_finite_keeps_the_last_mixture_and_is_noted(job, tmp_path):
    class Broken:
        name = "broken"

        def propose(self, history):
            return Proposal(history.space.natural_N * (np.nan if history.step == 2 else 1))

    train(dataclasses.replace(job, controller=Broken(), steps=3), folder=tmp_path / "run")
    (note,) = events(tmp_path / "run", "note")
    assert (note["step"], note["kind"]) == (2, "fallback")
    first, second, _ = events(tmp_path / "run", "decision")
    assert second["asked_N"] == first["planned_N"]


def test_a_loss_that_is_not_finite_ends_the_run_with_a_reason(job, tmp_path):
    broken = with_training(job, learning_rate=1e30, gradient_clip=None)
    with pytest.raises(TrainingError, match=r"loss is not finite in batch [23] of step 1"):
        train(broken, folder=tmp_path / "run")
    assert events(tmp_path / "run", "note")[0]["kind"] == "non_finite_loss"
    assert "not finite" in events(tmp_path / "run", "run_failed")[0]["detail"]


def test_weights_that_are_not_finite_end_a_run_and_are_never_kept(job, tmp_path):
    class Poisons(Swinging):
        def propose(self, history):
            if history.step == 3:
                for network in networks:
                    network.model.norm.weight.data.fill_(float("inf"))
            return super().propose(history)

    networks = []

    def loading(*arguments, **options):
        model = load_model(*arguments, **options)
        networks.append(model.network)
        return model

    short = dataclasses.replace(with_training(job, checkpoint_steps=1), controller=Poisons())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dmix.training.run.run.load_model", loading)
        with pytest.raises(
            TrainingError, match=r"not finite .*step 3.*step2-ba8\.pt .after step 2. is complete"
        ):
            train(short, folder=tmp_path)
    assert [path.name for path in checkpoints(tmp_path / "checkpoints")] == ["step1-ba4.pt", "step2-ba8.pt"]
    assert events(tmp_path, "run_failed")[0]["step"] == 3
    assert not events(tmp_path, "run_done")


def test_weights_that_the_last_batch_broke_end_the_run_too(job, tmp_path):
    broken = dataclasses.replace(
        with_training(job, learning_rate=1e30, gradient_clip=None, schedule="constant"),
        plan=PlanSettings(step_samples=8, batch_size=8, exhaustion="redistribute"),
        steps=1,
    )
    with pytest.raises(TrainingError, match=r"no score is finite.*the run has no checkpoint yet"):
        train(broken, folder=tmp_path)
    assert not checkpoints(tmp_path / "checkpoints")


def test_a_run_ends_when_no_score_is_finite_and_goes_on_when_one_is(job, tmp_path, monkeypatch):
    scores = iter([[-3.0, -3.0], [np.nan, -2.0], [np.nan, np.nan]])
    monkeypatch.setattr(
        "dmix.training.scoring.environment.Scorer.scores", lambda *_, **__: np.array(next(scores))
    )
    steady = dataclasses.replace(job, controller=Steady())
    with pytest.raises(TrainingError, match="no score is finite after step 2"):
        train(steady, folder=tmp_path)
    assert [event["step"] for event in events(tmp_path, "step_done")] == [1, 2]


@pytest.mark.parametrize("scored", [True, False])
def test_a_model_that_is_not_finite_is_not_kept_where_no_checkpoint_is(job, tmp_path, monkeypatch, scored):
    def poisoned(*arguments):
        optimizer = make_optimizer(*arguments)
        (weight, *_) = optimizer.param_groups[0]["params"]
        optimizer.register_step_post_hook(lambda *_: weight.data.fill_(np.nan))
        return optimizer

    monkeypatch.setattr("dmix.training.run.assembly.trainer.make_optimizer", poisoned)
    broken = dataclasses.replace(
        with_training(job, keep="model", checkpoint_steps=0),
        environment=job.environment if scored else None,
        controller=Steady(),
        plan=PlanSettings(step_samples=8, batch_size=8, exhaustion="redistribute"),
        steps=1,
        result=tmp_path / "model",
    )
    with pytest.raises(TrainingError, match="no score is finite" if scored else "weights are not finite"):
        train(broken, folder=tmp_path)
    assert not (tmp_path / "model").exists()
    assert events(tmp_path, "run_failed") and not events(tmp_path, "run_done")
