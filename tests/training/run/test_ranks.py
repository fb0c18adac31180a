"""Several ranks are one run: the first decides and writes, all of them take their slices."""

import dataclasses
import multiprocessing
import os
import re
import signal
import socket
import threading
import time

import numpy as np
import pytest
from composer.utils import dist

from dmix.mixing.controllers import Proposal
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.training.run import ranks
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.assembly.trainer import make_optimizer
from dmix.training.run.ranks import failing_together, is_first_rank, on_first_rank, prepare_ranks
from dmix.training.run.resuming.checkpoint_files import checkpoints
from dmix.training.run.run import train
from dmix.warehouse_schema.errors import InputError, InterruptedRunError, TrainingError
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


@pytest.fixture
def impatient(monkeypatch):
    """Ranks look at each other five times a second, and give one that hangs a second to end by itself."""
    monkeypatch.setattr(ranks, "_POLL_SECONDS", 0.2)
    monkeypatch.setattr(ranks, "GRACE_SECONDS", 1.0)
    monkeypatch.setattr(ranks, "SILENT_LOOKS", 15)


def ranks_that_end(work, *, world=2, awaited=(0, 1), then=lambda rank: None):
    """Exit codes of forked ranks that all call `work`; an exception is code 9 and a line on `errors`.

    What a process does at its end, as Python does at exit, is `then`.
    """
    context = multiprocessing.get_context("fork")
    errors = context.SimpleQueue()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def be(rank):
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
        names |= {"NODE_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()})
        prepare_ranks()
        try:
            with failing_together():
                work(rank)
        except Exception as error:
            then(rank)
            errors.put((rank, f"{type(error).__name__}: {error}"))
            os._exit(9)
        then(rank)

    processes = [context.Process(target=be, args=(rank,)) for rank in range(world)]
    ends = time.monotonic() + 60
    for process in processes:
        process.start()
    try:
        for rank in awaited:
            processes[rank].join(max(0.0, ends - time.monotonic()))
        said = {}
        while not errors.empty():
            said.update([errors.get()])
        return [process.exitcode for process in processes], said
    finally:
        for process in processes:
            process.kill()


def test_a_slip_on_the_first_rank_ends_the_others_with_its_words():
    def work(rank):
        on_first_rank(lambda: {}["weights"])

    codes, said = ranks_that_end(work)
    assert codes == [9, 9]
    assert said == {0: "KeyError: 'weights'", 1: "TrainingError: rank 0 failed: KeyError: 'weights'"}


@pytest.mark.parametrize("failing", [0, 1])
def test_a_rank_that_fails_alone_ends_those_that_wait_for_it(failing, impatient):
    def work(rank):
        if rank == failing:
            try:
                raise MemoryError("no room")
            finally:
                time.sleep(0.2)
        time.sleep(1000)  # as inside of a collective that nobody breaks

    began = time.monotonic()
    codes, said = ranks_that_end(work)
    assert time.monotonic() - began < 40
    assert codes[failing] == 9 and codes[1 - failing] == 1
    assert said == {failing: "MemoryError: no room"}


def test_a_rank_that_was_killed_ends_its_neighbours(impatient):
    def work(rank):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(1000)

    codes, _ = ranks_that_end(work)
    assert codes == [1, -signal.SIGKILL]


def test_a_collective_that_broke_is_explained_by_the_rank_that_failed():
    def work(rank):
        if rank == 1:
            raise ValueError("bad batch")
        time.sleep(2)
        raise RuntimeError("Connection closed by peer")

    _, said = ranks_that_end(work)
    assert said[1] == "ValueError: bad batch"
    assert said[0].startswith(f"{TrainingError.__name__}: rank 1 failed: ValueError: bad batch")


def test_ranks_that_end_well_or_refuse_together_are_left_alone():
    def work(rank):
        with failing_together():
            dist.barrier()
        with pytest.raises(InputError), failing_together():
            on_first_rank(lambda: (_ for _ in ()).throw(InputError("no")))
        time.sleep(rank * 2.5)

    assert ranks_that_end(work) == ([0, 0], {})


@pytest.mark.parametrize("slow", [0, 1])
@pytest.mark.parametrize("interrupted", [True, False])
def test_no_process_ends_while_another_rank_works(impatient, tmp_path, slow, interrupted):
    """A launcher ends all when one process ends with 130, also one that still writes its checkpoint."""

    def work(rank):
        if rank == slow:
            time.sleep(2)  # as while a disk syncs, longer than a failing rank gets
            (tmp_path / "saved").touch()
        if interrupted:
            raise InterruptedRunError("stopped")

    def then(rank):
        if not (tmp_path / "saved").exists():
            os._exit(7)

    codes, said = ranks_that_end(work, then=then)
    assert codes == ([9, 9] if interrupted else [0, 0])
    assert said == (dict.fromkeys((0, 1), "InterruptedRunError: stopped") if interrupted else {})


@pytest.mark.parametrize("failing", [0, 1])
def test_a_rank_that_is_done_learns_of_the_failure_of_another(impatient, failing):
    def work(rank):
        if rank == failing:
            time.sleep(1)
            raise ValueError("bad batch")

    codes, said = ranks_that_end(work)
    assert codes == [9, 9]
    assert said[1 - failing].startswith(f"TrainingError: rank {failing} failed: ValueError: bad batch; rank")


def test_a_rank_that_is_done_does_not_wait_for_one_that_was_killed(impatient):
    def work(rank):
        if rank == 0:
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGKILL)

    codes, said = ranks_that_end(work)
    assert codes == [-signal.SIGKILL, 9]
    assert said[1].startswith("RankLostError: ")


def test_a_rank_that_is_stopped_ends_the_others(impatient, capfd):
    def work(rank):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        dist.barrier()

    codes, _ = ranks_that_end(work, awaited=[0])
    assert codes == [1, None]
    assert "rank 1 has not answered for 3 s (rank_timeout); rank 0 also ends" in capfd.readouterr().err


@pytest.mark.parametrize("hanging", [0, 1])
def test_a_rank_whose_training_hangs_ends_all_and_the_others_say_why(impatient, capfd, hanging):
    def work(rank):
        with failing_together(patience_seconds=2):
            if rank == hanging:
                threading.Event().wait()
            dist.barrier()

    codes, said = ranks_that_end(work)
    assert codes[hanging] == 1 and f"rank {hanging} ends\n" in capfd.readouterr().err
    assert codes[1 - hanging] == 9
    words = rf"RankLostError: rank {hanging} has done nothing for 2 s \(threading\.py, line \d+\); if"
    assert re.match(words, said[1 - hanging])


def test_ranks_that_only_take_long_are_left_alone(impatient):
    def work(rank):
        until = time.monotonic() + 4
        while rank == 0 and time.monotonic() < until:
            sum(range(1000))
        dist.barrier()

    assert ranks_that_end(work) == ([0, 0], {})


def test_a_rank_that_is_killed_in_training_is_named_by_message_and_event(make_job, tmp_path):
    plan = PlanSettings(step_samples=32, batch_size=8, exhaustion="repeat", max_passes=1000)
    job = dataclasses.replace(make_job(tmp_path / "asked"), plan=plan, steps=1000)
    events = tmp_path / "run" / "events.jsonl"

    def die_in_step_2():
        while not events.is_file() or '"step_done"' not in events.read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)

    def work(rank):
        if rank == 1:
            threading.Thread(target=die_in_step_2, daemon=True).start()
        train(job, folder=tmp_path / "run")

    codes, said = ranks_that_end(work)
    assert codes == [9, -signal.SIGKILL]
    assert said[0].startswith("RankLostError: rank 1 was killed; rank 0 also ends; the run has no checkpoint")
    last = list(read_events(events))[-1]
    assert (last["event"], last["rank_lost"]) == ("run_failed", True)
    assert last["detail"] == "rank 1 was killed; rank 0 also ends"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("poisoned", [0, 1])
def test_a_rank_whose_moments_alone_are_not_finite_ends_all_with_its_words(
    make_job, tmp_path, monkeypatch, poisoned
):
    """Both ranks say it, and which checkpoint is whole, and one event does; nothing waits for a barrier."""
    job = make_job(tmp_path / "asked")
    job = dataclasses.replace(job, training=dataclasses.replace(job.training, checkpoint_steps=1), steps=2)

    def making(*arguments):
        optimizer, batches = make_optimizer(*arguments), []

        def poison(*_):
            batches.append(0)
            if len(batches) == 8:  # the last one of step 2
                next(iter(optimizer.state.values()))["exp_avg"].fill_(np.inf)

        optimizer.register_step_post_hook(poison)
        return optimizer

    def work(rank):
        if rank == poisoned:
            monkeypatch.setattr("dmix.training.run.assembly.trainer.make_optimizer", making)
        train(job, folder=tmp_path / "run")

    codes, said = ranks_that_end(work)
    assert codes == [9, 9]
    for words in said.values():
        assert "the optimiser's state is not finite" in words
        assert "step1-ba4.pt (after step 1) is complete" in words
    assert said[1 - poisoned].startswith(f"TrainingError: rank {poisoned} failed: ")
    last = list(read_events(tmp_path / "run" / "events.jsonl"))[-1]
    assert last["event"] == "run_failed" and "not finite" in last["detail"]
    assert [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")] == ["step1-ba4.pt"]
