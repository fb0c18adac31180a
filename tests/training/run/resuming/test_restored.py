"""A state that somebody changed inside a checkpoint is refused by name, and one that a run saved is taken."""

import dataclasses
import json
import shutil

import pytest
import torch
from tests.training.run.runs import StopAfter, Swinging, chains, with_training

from dmix.mixing.delivery.streams import StreamSizes
from dmix.mixing.space.domains import DomainSpace
from dmix.training.run.checkpoints import load_checkpoint
from dmix.training.run.decisions import recorded_decisions
from dmix.training.run.resuming.checkpoint_files import SAVED, checkpoints, fingerprint
from dmix.training.run.resuming.restored import restored_state
from dmix.training.run.run import train
from dmix.warehouse_schema.errors import InputError, InterruptedRunError, VerificationError


@pytest.fixture(scope="module")
def cut(whole_job, tmp_path_factory):
    """A run that was stopped after one batch of step 3, and its newest two checkpoints' states."""
    folder = tmp_path_factory.mktemp("cut") / "run"
    with pytest.raises(InterruptedRunError):
        train(with_training(whole_job, checkpoint_steps=1), folder=folder, progress=StopAfter(2))
    return folder, [run_state(path) for path in checkpoints(folder / "checkpoints")[-2:]]


def run_state(path):
    return json.loads(load_checkpoint(path)["state"]["callbacks"]["MixtureCallback"]["run"])


def change(path, values, events_file):
    """Writes other values into the state of a checkpoint, and its new fingerprint into the events."""
    content = load_checkpoint(path)
    of_run = content["state"]["callbacks"]["MixtureCallback"]
    of_run["run"] = json.dumps({**json.loads(of_run["run"]), **values})
    before = fingerprint(path)
    torch.save(content, path)
    events_file.write_text(events_file.read_text().replace(before, fingerprint(path)))
    assert SAVED in events_file.read_text()


@pytest.fixture
def read(whole_job, cut):
    """The state of a run out of plain values."""

    def read_state(value, **changes):
        known = {
            "streams": StreamSizes.of_manifest(whole_job.manifest),
            "settings": whole_job.plan,
            "steps": 5,
            "objectives": len(whole_job.environment.names),
            "recorded": recorded_decisions(cut[0] / "events.jsonl", after=2),
        }
        return restored_state(json.dumps(value), **{**known, **changes})

    return read_state


def test_a_run_is_finished_by_its_steps_whatever_the_checkpoint_says(cut, read):
    between, within = cut[1]
    assert (between["asked"], within["asked"] is None) == (None, False)
    for value in (between, {**between, "finished": True}, {**within, "finished": True}):
        assert not read(value).finished
    assert read({**between, "finished": False}, steps=2).finished
    # a run that was given more steps goes on
    assert not read({**between, "finished": True}, steps=3).finished
    assert read(within).to_json() == json.dumps(within)


def mixer(**values):
    return lambda state: {"mixer": {**state["mixer"], **values}}


def rows(name, edit):
    return lambda state: {name: edit(state[name])}


def step_under_way(**values):
    return lambda state: {"consumed": {**state["consumed"], **values}}


CHANGES = {
    "a step back": (mixer(step=1), "used 64 samples in 1 step of 32"),
    "step 0": (mixer(step=0), "used 64 samples in 0 steps"),
    "step -1": (mixer(step=-1), "step is -1, expected a whole number of 0 or more"),
    "step true": (mixer(step=True), "step is True"),
    "step 2.0": (mixer(step=2.0), r"step is 2\.0"),
    "cursors below 0": (lambda s: mixer(cursor=[-1] * len(s["mixer"]["cursor"]))(s), "cursor has a number"),
    "cursors that are no numbers": (mixer(cursor=["1"] * 52), "cursor (holds|has the shape)"),
    "nothing drawn": (
        lambda s: mixer(cursor=[0] * len(s["mixer"]["cursor"]))(s),
        "used 0 samples in 2 steps of 32",
    ),
    "many passes": (lambda s: mixer(**{"pass": [9] * len(s["mixer"]["pass"])})(s), "more samples than"),
    "a carry of NaN": (lambda s: mixer(carry=[float("nan")] * len(s["mixer"]["carry"]))(s), "not finite"),
    "a short mixture": (rows("mixtures", lambda m: [m[0][:-1], *m[1:]]), "rows of several lengths"),
    "short mixtures": (rows("mixtures", lambda m: [row[:-1] for row in m]), "mixtures has the shape"),
    "no mixtures": (lambda s: {"mixtures": []}, "mixtures has the shape"),
    "mixtures of 2": (rows("mixtures", lambda m: [[2 * w for w in row] for row in m]), "does not sum to 1"),
    "a mixture less": (rows("mixtures", lambda m: m[1:]), "shape"),
    "scores as text": (
        rows("feedback", lambda f: [["good" for _ in row] for row in f]),
        "scores holds other",
    ),
    "a score more": (rows("feedback", lambda f: [[*row, 1.0] for row in f]), "scores on 3 objectives"),
    "no scores": (lambda s: {"feedback": []}, "scores has the shape"),
    "flat losses": (rows("losses", lambda losses: losses[0]), "losses has the shape"),
    "losses of NaN": (rows("losses", lambda m: [[float("nan") for _ in r] for r in m]), "loss of a step"),
    "counts as fractions": (rows("counts", lambda m: [[0.5 for _ in r] for r in m]), "whole numbers"),
    "other counts": (rows("counts", lambda m: [[2 * n for n in r] for r in m]), "have .* samples, expected"),
    "earlier steps": (
        lambda s: {"forgotten": {"steps": 3, "scores": [3, 3], "squares": [1.0, 1.0]}},
        "rows of 5 steps",
    ),
    "no earlier steps": (
        lambda s: {"forgotten": {"steps": 0, "scores": [0, 0], "squares": [0.0, 0.0]}},
        "more scores than steps",
    ),
    "a short chain": (lambda s: {"chain": "ab"}, "chain is 'ab', expected 64"),
    "another mixture": (
        lambda s: {"asked": [1 / len(s["asked"])] * len(s["asked"])},
        "digest|domains|events",
    ),
    "a short mixture asked": (lambda s: {"asked": [1.0]}, "asked mixture has the shape"),
    "no mixture": (lambda s: {"asked": [0.0] * len(s["asked"])}, "mixture sums to 0"),
    "consumed losses of NaN": (
        lambda s: step_under_way(loss_sum_N=[float("nan")] * len(s["asked"]))(s),
        "not finite",
    ),
    "consumed nothing": (
        lambda s: step_under_way(samples_N=[0] * len(s["asked"]))(s),
        "digest",
    ),
    "consumed elsewhere": (
        lambda s: step_under_way(samples_N=s["consumed"]["samples_N"][::-1])(s),
        "samples of other domains than planned",
    ),
    "effects": (
        lambda s: {"effects": [{"step": 1, "effect": [[1.0]], "stderr": [[1.0]]}]},
        "effects are of other domains",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_state_that_no_run_saves_is_refused(cut, read, name):
    edit, said = CHANGES[name]
    state = cut[1][1]
    with pytest.raises((ValueError, VerificationError), match=said):
        read({**state, **edit(state)})


@pytest.mark.parametrize("value", [None, [], "run", 3, {}, {"mixer": {}}])
def test_a_state_without_its_parts_is_refused(read, value):
    with pytest.raises(ValueError, match="lacks"):
        read(value)


def test_each_part_is_needed(cut, read):
    for name in cut[1][0].keys() - {"effects"}:
        with pytest.raises(ValueError, match=f"lacks {name}"):
            read({key: value for key, value in cut[1][0].items() if key != name})


def test_a_received_checkpoint_that_says_finished_trains_to_the_end(whole_job, whole_run, cut, tmp_path):
    folder = shutil.copytree(cut[0], tmp_path / "run")
    newest = checkpoints(folder / "checkpoints")[-1]
    change(newest, {"finished": True}, folder / "events.jsonl")
    again = dataclasses.replace(whole_job, controller=Swinging())
    assert train(again, folder=folder, resume=True).steps == 5
    assert chains(folder) == chains(whole_run[0])


def test_a_received_checkpoint_with_another_place_is_named_with_what_to_do(whole_job, cut, tmp_path):
    folder = shutil.copytree(cut[0], tmp_path / "run")
    newest = checkpoints(folder / "checkpoints")[-1]
    # as if the step under way had not begun: every part fits the others, but not the place of the file
    values = {"asked": None, "consumed": cut[1][0]["consumed"]}
    change(newest, values, folder / "events.jsonl")
    with pytest.raises(
        InputError, match=r"step2-ba9\.pt cannot be read .*after 2 steps and 8 batches.*remove"
    ):
        train(dataclasses.replace(whole_job, controller=Swinging()), folder=folder, resume=True)
    size = len(DomainSpace.of_dataset(whole_job.manifest))
    change(newest, {"mixtures": [[1.0] * (size - 1)] * 3}, folder / "events.jsonl")
    with pytest.raises(InputError, match=r"step2-ba9\.pt cannot be read .*mixtures has the shape.*remove"):
        train(dataclasses.replace(whole_job, controller=Swinging()), folder=folder, resume=True)
