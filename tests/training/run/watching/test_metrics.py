"""Metrics by name, worked by hand, and how a run hands them to Composer's loggers."""

import math

import numpy as np
import pytest
from composer.loggers import InMemoryLogger

from dmix.mixing.controllers.fixed import natural
from dmix.mixing.delivery.digest import StepDigest
from dmix.mixing.delivery.ledger import StepLedger
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.mixing.space.domains import DomainSpace
from dmix.training.model.settings import TrainingSettings
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.run import train
from dmix.training.run.watching.metrics import score_metrics, step_metrics
from dmix.warehouse_schema.files.events import read_events
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


class Told:
    """A monitor that keeps what it hears."""

    def __init__(self):
        self.batches, self.steps = [], []

    def batch(self, report):
        self.batches.append(report)

    def step(self, report):
        self.steps.append(report)


def test_metrics_of_a_step_worked_by_hand():
    space = DomainSpace(("A", "B"), np.array([10, 0, 5, 5]))
    consumed = StepLedger(StepDigest(), np.array([3, 0, 1, 0]), np.array([6.0, 0.0, 4.0, 0.0]))
    planned = np.array([0.7, 0.0, 0.2, 0.1])
    assert step_metrics(space, step=2, planned_N=planned, consumed=consumed, seq_len=16) == {
        "step": 2,
        **{"mixture/source/A": 0.7, "samples/source/A": 3, "tokens/source/A": 48, "loss/source/A": 2.0},
        **{"mixture/target/A": 0.2, "samples/target/A": 1, "tokens/target/A": 16, "loss/target/A": 4.0},
        **{"mixture/target/B": 0.1, "samples/target/B": 0, "tokens/target/B": 0},
    }


def test_missing_scores_are_left_out():
    assert score_metrics({"general": -2.0, "target": math.nan}, utility=math.nan) == {"score/general": -2.0}
    assert score_metrics({}, utility=None) == {}
    assert score_metrics({"general": -2.0}, utility=0.5) == {"score/general": -2.0, "utility": 0.5}


def test_a_run_sends_composers_loggers_what_its_events_say(
    tiny_warehouse, tiny_model, environment, tmp_path, monkeypatch
):
    memory = InMemoryLogger()
    monkeypatch.setattr("dmix.training.run.assembly.trainer.make_loggers", lambda *_, **__: [memory])
    job = TrainingJob(
        run_id="logged",
        kind="baseline",
        streams=tiny_warehouse.stream("tiny"),
        manifest=read_dataset_manifest(tiny_warehouse),
        model=tiny_model,
        controller=natural(),
        plan=PlanSettings(step_samples=32, batch_size=8, exhaustion="redistribute"),
        steps=2,
        training=TrainingSettings(batch_size=8, reset_at_documents=True),
        environment=environment,
    )
    told = Told()
    train(job, folder=tmp_path, monitor=told)
    done = [event for event in read_events(tmp_path / "events.jsonl") if event["event"] == "step_done"]
    for index, name in ((0, "source/A"), (1, "source/B"), (3, "target/A"), (4, "target/B")):
        sent = [value for _, value in memory.data[f"samples/{name}"]]
        assert sent == [event["delivered_samples_N"][index] for event in done]
        losses = [value for _, value in memory.data[f"loss/{name}"]]
        expected = [e["loss_sum_N"][index] / e["loss_tokens_N"][index] for e in done]
        assert losses == pytest.approx(expected)
    assert [value for _, value in memory.data["step"]] == [1, 2]
    assert {"score/general", "score/target", "utility"} < set(memory.data)
    assert not any("/C" in name for name in memory.data)
    # what a display is told: batches within steps, and tokens of all steps so far
    assert [(at.step, at.batch, at.batches) for at in told.batches] == [
        (step, batch, 4) for step in (1, 2) for batch in (1, 2, 3, 4)
    ]
    tokens = np.cumsum([event["delivered_tokens_N"] for event in done], axis=0)
    assert [at.source_tokens for at in told.steps] == tokens[:, :3].sum(axis=1).tolist()
    assert [at.target_tokens for at in told.steps] == tokens[:, 3:].sum(axis=1).tolist()
    before, last = told.batches[5], told.steps[-1]
    assert before.source_tokens == tokens[0, :3].sum()
    assert before.step_tokens == 2 * 8 * job.manifest.seq_len
    assert last.scores["general"] == memory.data["score/general"][-1][1]
    assert last.first_scores.keys() == last.scores.keys()
    assert (told.batches[-1].seconds_left, last.seconds_left) == (0, 0)
