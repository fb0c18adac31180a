import dataclasses
import gc
import os
import re
import shutil
import signal
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dmix.mixing.controllers import Proposal
from dmix.mixing.controllers.fixed import natural
from dmix.mixing.delivery.dataset import MixedDataset
from dmix.mixing.delivery.plan import PlanSettings
from dmix.training.model.estimate.memory import disk_of_run
from dmix.training.model.estimate.shapes import shape_of
from dmix.training.model.language_model import LanguageModel
from dmix.training.model.models import load_model
from dmix.training.run.assembly import trainer as trainer_module
from dmix.training.run.assembly.job import TrainingJob, open_streams
from dmix.training.run.checkpoint_files import checkpoints
from dmix.training.run.run import train
from dmix.warehouse_schema.errors import (
    InputError,
    InterruptedRunError,
    LockHeldError,
    NotFoundError,
    TrainingError,
    VerificationError,
)
from dmix.warehouse_schema.files.events import read_events
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


class Swinging:
    """Another mixture at each step, decided by the scores it sees; counts how often it is asked."""

    name = "swinging"

    def __init__(self):
        self.asked = []

    def propose(self, history):
        self.asked.append(history.step)
        share = 0.2 + 0.6 * (history.step % 2) + 0.001 * history.feedback_TD[-1, 0]
        return Proposal(history.space.expand(np.array([1 - share, share])))


class Steady:
    name = "steady"

    def propose(self, history):
        return Proposal(history.space.natural_N)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, whole_job):
    """Folder and summary of the unbroken run that others are compared with."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(whole_job, folder=folder)


@pytest.fixture
def job(whole_job):
    return dataclasses.replace(whole_job, controller=Swinging())


@pytest.fixture(scope="module")
def whole_job(tiny_warehouse, tiny_model, fast_training, environment):
    return TrainingJob(
        run_id="r",
        kind="baseline",
        streams=tiny_warehouse.stream("tiny"),
        manifest=read_dataset_manifest(tiny_warehouse),
        model=tiny_model,
        controller=Swinging(),
        plan=PlanSettings(step_samples=32, batch_size=8, exhaustion="redistribute"),
        steps=5,
        training=fast_training,
        environment=environment,
    )


def events(folder, kind):
    return [event for event in read_events(folder / "events.jsonl") if event["event"] == kind]


def chains(folder):
    return {event["step"]: event["chain"] for event in events(folder, "step_done")}


def with_training(job, **values):
    return dataclasses.replace(
        job, controller=Swinging(), training=dataclasses.replace(job.training, **values)
    )


class StopAfter:
    """A progress function that sends this process a signal when it hears of a step."""

    def __init__(self, step, number=signal.SIGTERM):
        self.step, self.number = step, number

    def __call__(self, line):
        if line.startswith(f"step {self.step}/"):
            os.kill(os.getpid(), self.number)


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


@pytest.mark.parametrize("checkpoint_batches", [0, 3])
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
    train(found, folder=tmp_path)
    assert found_sizes(tmp_path) == [1]
    assert chains(tmp_path)[1] == chains(whole_run[0])[1]


@pytest.mark.parametrize("checkpoint_batches", [0, 3])
def test_a_run_that_was_asked_to_stop_goes_on_as_if_it_had_not(job, whole_run, tmp_path, checkpoint_batches):
    folder, whole = whole_run
    cut = with_training(job, checkpoint_batches=checkpoint_batches)
    with pytest.raises(InterruptedRunError, match=r"dmix train .*--run cut --resume$") as stopped:
        train(cut, folder=tmp_path / "cut", progress=StopAfter(2))
    assert stopped.value.exit_code == 130
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


def test_resuming_a_finished_run_changes_nothing(job, whole_run):
    folder, first = whole_run
    again = train(job, folder=folder, resume=True)
    assert again.finished and again.chain == first.chain and again.steps == 5
    assert job.controller.asked == []


def test_a_run_ends_early_when_the_target_is_covered(job, tmp_path):
    plan = dataclasses.replace(job.plan, exhaustion="stop")
    summary = train(
        dataclasses.replace(job, plan=plan, steps=50, controller=natural()), folder=tmp_path / "run"
    )
    # 216 samples in steps of 32: six full steps, and what is left of a seventh in whole batches
    assert summary.finished and summary.steps == 7
    assert summary.samples_N.sum() == 216
    assert summary.ending == "the run has drawn every sample"


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
    with pytest.raises(NotFoundError, match="cannot load a model"):
        train(dataclasses.replace(job, model=str(tmp_path)), folder=tmp_path / "run")
    assert train(dataclasses.replace(job, steps=1), folder=tmp_path / "run").finished


def test_one_run_has_one_writer(job, tmp_path, monkeypatch):
    monkeypatch.setattr("dmix.training.run.run.LOCK_SECONDS", 0.1)
    with (
        held_lock(tmp_path / "run" / ".lock", what="run r"),
        pytest.raises(LockHeldError, match="run r is being"),
    ):
        train(job, folder=tmp_path / "run")


def test_a_run_is_neither_overwritten_nor_resumed_from_nothing(job, tmp_path):
    with pytest.raises(NotFoundError, match="has not started yet"):
        train(job, folder=tmp_path / "run", resume=True)
    train(dataclasses.replace(job, steps=1), folder=tmp_path / "run")
    with pytest.raises(InputError, match=r"already exists; to resume this run, use dmix train .* --resume"):
        train(job, folder=tmp_path / "run")


def test_shards_of_a_remote_warehouse_are_downloaded_from_there(job, tiny_warehouse, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    copy = shutil.copytree(tiny_warehouse.stream("tiny"), tmp_path / "bucket" / "tiny")
    remote = dataclasses.replace(job, streams_url=str(copy))
    with open_streams(job) as here, open_streams(remote) as there:
        assert (there[0]["input_ids"] == here[0]["input_ids"]).all()
    cache = tmp_path / "temporary" / f"dmix-cache-{os.getuid()}" / job.manifest.dataset
    assert len(list(cache.rglob("*.mds"))) == 1


def test_a_remote_warehouse_takes_a_cache_limit_without_a_url_and_a_local_one_none(
    job, tiny_warehouse, tmp_path
):
    limited = with_training(job, cache_folder=str(tmp_path / "cache"), cache_limit="1mb")
    with pytest.raises(InputError, match="no effect on local streams"):
        train(limited, folder=tmp_path / "run")
    copy = shutil.copytree(tiny_warehouse.stream("tiny"), tmp_path / "bucket" / "tiny")
    with open_streams(dataclasses.replace(limited, streams_url=str(copy))) as opened:
        assert len(opened) == 216


def test_proxies_beside_each_other_have_caches_of_their_own(job, tiny_warehouse, tmp_path):
    copy = shutil.copytree(tiny_warehouse.stream("tiny"), tmp_path / "bucket" / "tiny")
    cached = with_training(job, cache_folder=str(tmp_path / "cache"))
    proxy = dataclasses.replace(cached, streams_url=str(copy), keep_checkpoints=False)
    with open_streams(proxy) as one, open_streams(proxy) as other:
        assert (one[0]["input_ids"] == other[0]["input_ids"]).all()
    with open_streams(proxy) as again:
        assert (again[0]["input_ids"] == again[0]["labels"]).all()
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["tiny-0", "tiny-1"]


def test_a_run_over_a_remote_copy_takes_the_same_samples(job, whole_run, tiny_warehouse, tmp_path):
    _, whole = whole_run
    copy = shutil.copytree(tiny_warehouse.stream("tiny"), tmp_path / "bucket" / "tiny")
    shards = sum(path.stat().st_size for path in copy.rglob("*.mds"))
    remote = with_training(
        job,
        streams_url=f"{tmp_path}/bucket/",
        cache_folder=str(tmp_path / "cache"),
        cache_limit=f"{shards // 2}b",
        loader_workers=1,
    )
    summary = train(remote, folder=tmp_path / "run")
    assert summary.chain == whole.chain
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.mds"))
    assert 0 < kept < shards


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
