"""Several ranks are one run: the first decides and writes, all of them take their slices."""

import dataclasses
import os
import signal

import numpy as np
import pytest
from composer.utils import dist

from dmix.mixing.controllers import Proposal
from dmix.mixing.delivery.plan import PlanSettings
from dmix.training.run.ranks import is_first_rank, on_first_rank
from dmix.training.run.run import TrainingJob, train
from dmix.warehouse_schema.errors import InputError, InterruptedRunError
from dmix.warehouse_schema.files.events import read_events
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


class Noting:
    """Moves to the target field with the score, and notes where it is asked."""

    name = "noting"

    def __init__(self, file):
        self.file = file

    def propose(self, history):
        with self.file.open("a") as file:
            file.write(f"{os.environ.get('RANK', 'alone')} {history.step}\n")
        share = 0.3 + 0.1 * history.step + 0.001 * history.feedback_TD[-1, 0]
        return Proposal(history.space.expand(np.array([1 - share, share])))


@pytest.fixture
def make_job(tiny_warehouse, tiny_model, fast_training, environment):
    def make(file):
        return TrainingJob(
            run_id="r",
            kind="baseline",
            streams=tiny_warehouse.stream("tiny"),
            manifest=read_dataset_manifest(tiny_warehouse),
            model=tiny_model,
            controller=Noting(file),
            plan=PlanSettings(step_samples=32, batch_size=8, exhaustion="redistribute"),
            steps=4,
            training=fast_training,
            environment=environment,
        )

    return make


def steps_of(folder):
    return [event for event in read_events(folder / "events.jsonl") if event["event"] == "step_done"]


def test_two_ranks_ask_the_controller_once_and_count_what_both_consumed(make_job, on_real_ranks, tmp_path):
    job = make_job(tmp_path / "asked")
    on_real_ranks(2, lambda: train(job, folder=tmp_path / "two").steps)
    assert (tmp_path / "asked").read_text().splitlines() == [f"0 {step}" for step in (1, 2, 3, 4)]
    # one rank with the same decisions: the same samples, tokens and losses by domain
    decided = [
        e["asked_N"] for e in read_events(tmp_path / "two" / "events.jsonl") if e["event"] == "decision"
    ]

    class Scripted:
        name = "scripted"

        def propose(self, history):
            return Proposal(np.array(decided[history.step - 1]))

    train(dataclasses.replace(job, controller=Scripted()), folder=tmp_path / "one")
    for two, one in zip(steps_of(tmp_path / "two"), steps_of(tmp_path / "one"), strict=True):
        assert two["chain"] == one["chain"]
        assert two["delivered_samples_N"] == one["delivered_samples_N"]
        assert two["delivered_tokens_N"] == one["delivered_tokens_N"]
        assert two["loss_tokens_N"] == one["loss_tokens_N"]
        np.testing.assert_allclose(two["loss_sum_N"], one["loss_sum_N"], rtol=1e-3)


class MostlySmall:
    """Half of each step from the smallest domain, so that every step goes past the end of a pass."""

    name = "small"

    def propose(self, history):
        small_N = np.zeros(len(history.space))
        small_N[history.space.names.index(("target", "B"))] = 1
        return Proposal(0.5 * small_N + 0.5 * history.space.natural_N)


def test_a_run_goes_on_within_a_step_past_a_pass_on_other_ranks_and_workers(
    make_job, on_real_ranks, tmp_path
):
    plan = PlanSettings(step_samples=32, batch_size=8, exhaustion="repeat", max_passes=20)
    job = dataclasses.replace(make_job(tmp_path / "asked"), plan=plan, controller=MostlySmall())
    train(job, folder=tmp_path / "whole")

    def stop_after_two(line):
        if line.startswith("step 2/"):
            os.kill(os.getpid(), signal.SIGTERM)

    def with_workers(number):
        return dataclasses.replace(job, training=dataclasses.replace(job.training, loader_workers=number))

    with pytest.raises(InterruptedRunError):
        train(with_workers(2), folder=tmp_path / "cut", progress=stop_after_two)
    on_real_ranks(2, lambda: train(with_workers(1), folder=tmp_path / "cut", resume=True).steps)
    starts = [e for e in read_events(tmp_path / "cut" / "events.jsonl") if e["event"] == "run_started"]
    assert [(e["world_size"], e["resumed_from_batch"]) for e in starts] == [(1, 0), (2, 9)]
    assert [e["chain"] for e in steps_of(tmp_path / "cut")] == [
        e["chain"] for e in steps_of(tmp_path / "whole")
    ]
    passes = [max(e["passes_N"]) for e in steps_of(tmp_path / "cut")]
    assert passes[1] > 2 and passes[2] > 3


def test_an_error_of_the_first_rank_is_raised_on_every_rank(on_real_ranks):
    def refuse():
        raise InputError(f"rank {dist.get_global_rank()} says no")

    def work():
        assert on_first_rank(dist.get_global_rank) == 0
        try:
            on_first_rank(refuse)
        except InputError as error:
            return is_first_rank(), str(error)

    assert on_real_ranks(2, work) == [(True, "rank 0 says no"), (False, "rank 0 says no")]
