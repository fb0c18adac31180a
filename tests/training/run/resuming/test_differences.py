"""What a resume may change, and content that differs from the last attempt."""

from dataclasses import replace

import pytest
from tests.manifests import dataset_manifest

from dmix.training.model.settings import ModelSettings, TrainingSettings
from dmix.training.run.config import RunConfig
from dmix.training.run.resuming.differences import (
    STARTING_MODEL,
    changed_config,
    changed_content,
    content_of,
    model_of,
    recorded_content,
)
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.changes import SAMPLES
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.files.manifests import StreamFile

CONFIG = RunConfig(
    run_id="r",
    kind="baseline",
    dataset="d",
    model="model.yaml",
    model_file={"architecture": "llama", "config": {"hidden_size": 16}},
    controller="natural",
    steps=5,
    step_samples=32,
    batch_size=8,
    exhaustion="stop",
    max_passes=1,
    seed=0,
    training=TrainingSettings(batch_size=8, checkpoint_steps=2),
)
CONTENT = {"the items of objective a": "1" * 64, "the items of objective b": "2" * 64}


@pytest.fixture
def log(tmp_path):
    """Events of a run that has done two steps of five."""
    log = EventLog(tmp_path / "events.jsonl", run_id="r", attempt=1)
    started = {"kind": "baseline", "controller": "natural", "space": [["source", "a"]]}
    log.write("run_started", config={}, content=CONTENT, **started)
    for step in (1, 2):
        counts = {"delivered_samples_N": [32], "planned_samples_N": [32]}
        log.write(
            "decision", step=step, asked_N=[1.0], planned_N=[1.0], decided_to=step, remarks=[], **counts
        )
        log.write("step_done", step=step, loss=3.0, delivered_tokens_N=[512], seconds=1.0, **counts)
    return log


def test_nothing_changes_without_changes(tmp_path):
    assert changed_config(CONFIG, {}, tmp_path / "none") == (CONFIG, ())


def test_steps_and_training_change_with_a_sentence_each(log):
    found, notes = changed_config(CONFIG, {"steps": 9, "checkpoint_steps": 1}, log.path)
    assert (found.steps, found.training.checkpoint_steps) == (9, 1)
    *changes, comparison = notes
    assert changes == ["steps changed from 5 to 9", "checkpoint_steps changed from 2 to 1"]
    assert "do not compare" in comparison
    assert changed_config(CONFIG, {"checkpoint_steps": 1}, log.path)[1] == (changes[1],)
    assert found.training.batch_size == CONFIG.training.batch_size


def test_steps_that_are_done_already_are_refused(log):
    with pytest.raises(InputError, match=r"--steps is 2, .*started with 5 steps .*done 2"):
        changed_config(CONFIG, {"steps": 2}, log.path)
    log.write("run_done", step=2, detail="")
    with pytest.raises(InputError, match=r"--steps is 9, .*ended after 2"):
        changed_config(CONFIG, {"steps": 9}, log.path)


def test_content_of_the_last_attempt_counts(log, tmp_path):
    assert recorded_content(log.path) == CONTENT
    later = EventLog(log.path, run_id="r", attempt=2)
    later.write("run_started", config={}, space=[["source", "a"]], content={})
    assert recorded_content(log.path) == {}


def test_changed_items_need_consent_and_new_names_are_fine(log):
    now = {**CONTENT, "the items of objective b": "3" * 64, "the code of controller x": "4" * 64}
    with pytest.raises(InputError, match=r"run r: the items of objective b changed .*--accept-changes"):
        changed_content("r", now, log.path, accept=False)
    [change] = changed_content("r", now, log.path, accept=True)
    assert change.digests == f"the items of objective b changed from {'2' * 12} to {'3' * 12}"
    assert changed_content("r", CONTENT, log.path, accept=False) == ()


def test_a_model_file_is_the_model_and_part_of_the_content():
    model = model_of(CONFIG)
    assert isinstance(model, ModelSettings) and model.config == {"hidden_size": 16}
    content = content_of(CONFIG, dataset_manifest([3, 4]))
    assert set(content) == {STARTING_MODEL, SAMPLES} and len(content[STARTING_MODEL]) == 64


@pytest.mark.parametrize(
    "change",
    [
        lambda m: replace(m, seq_len=m.seq_len * 2),
        lambda m: replace(m, tokenizer=replace(m.tokenizer, eot_id=1)),
        lambda m: replace(m, tokenizer=replace(m.tokenizer, sha256="0" * 64)),
        lambda m: replace(m, streams=m.streams[::-1]),
        lambda m: replace(m, taxonomy=replace(m.taxonomy, labels=("other",))),
        lambda m: replace(m, streams=(replace(m.streams[0], samples=4), *m.streams[1:])),
        lambda m: replace(m, streams=(replace(m.streams[0], files=m.streams[0].files[::-1]), *m.streams[1:])),
    ],
)
def test_a_manifest_that_states_other_samples_is_another_content(change):
    files = [StreamFile(name=f"{n}.mds", size_bytes=9, sha256=str(n), samples=n) for n in (1, 2)]
    manifest = dataset_manifest([3, 4], files=[files, []])
    before = content_of(CONFIG, manifest)
    renamed = replace(manifest, name="other", created_at="later")
    assert content_of(CONFIG, renamed) == before != content_of(CONFIG, change(manifest))


@pytest.mark.parametrize("names", [["a"], ["b", "a"], ["a", "c"], []])
def test_other_objectives_in_the_configuration_are_refused_whatever_is_accepted(log, names):
    content = {f"the items of objective {name}": "1" * 64 for name in names}
    with pytest.raises(InputError, match=r"scored on the objectives a, b, but .*config\.yaml"):
        changed_content("r", content, log.path, accept=True)
