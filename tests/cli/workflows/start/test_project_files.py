"""The files of a project, from sizes and text that are known."""

import pytest
import yaml

from dmix.cli.workflows.start.project_files import (
    Checkpoint,
    FieldText,
    Sizes,
    more_text,
    project_files,
    time_of_run,
    training_text,
)
from dmix.etl.templates.settings import TextSettings


def text(**changes):
    values = {
        "inputs": ("/data/a b.jsonl",),
        "size_bytes": 4_000_000,
        "feedback": 8,
        "judging": 8,
        "copied": False,
        "whole": 0,
        "rejected": {},
    }
    return FieldText(**values | changes)


def fields(source=None, target=None):
    return {"source": source or text(), "target": target or text()}


SIZES = Sizes(
    seq_len=128, batch_size=8, samples_per_step=16, steps=4, tokens_per_second=1000.0, scored_tokens=3000
)
SCRATCH = Checkpoint(name=None, parameters=None, max_positions=None)
GIVEN = Checkpoint(name="org/a model", parameters=10, max_positions=1024, bf16=("AMX",))


def script(checkpoint=SCRATCH, *, of=None, reading=None, sizes=SIZES):
    return project_files(of or fields(), sizes, checkpoint, reading=reading or TextSettings())["run.sh"][1]


def test_minutes_hold_training_and_scoring():
    assert SIZES.tokens == 4 * 16 * 128
    # five times 3000 tokens at three times the speed of training
    assert SIZES.scoring_minutes == pytest.approx(5 * 3000 / 3 / 1000 / 60)
    assert SIZES.minutes == pytest.approx(SIZES.tokens / 1000 / 60 + SIZES.scoring_minutes)
    assert "of which scoring takes" in time_of_run(SIZES)


def test_without_a_speed_no_time_is_told():
    unknown = Sizes(seq_len=8, batch_size=8, samples_per_step=8, steps=4, tokens_per_second=None)
    assert (unknown.minutes, unknown.scoring_minutes, time_of_run(unknown)) == (None, None, "")
    assert "time unknown" in script(sizes=unknown)


def test_a_small_model_is_trained_on_the_source_first():
    files = project_files(fields(), SIZES, SCRATCH, reading=TextSettings())
    assert {"model.yaml", "base-training.yaml"} <= set(files)
    # half of the smaller of the source (a million tokens) and a run
    assert f"--tokens {SIZES.tokens // 2} --name base" in files["run.sh"][1]
    assert "--model base " in files["run.sh"][1]


def test_a_checkpoint_needs_no_base_model_and_is_quoted():
    files = project_files(fields(), SIZES, GIVEN, reading=TextSettings())
    assert "model.yaml" not in files and "dmix train base" not in files["run.sh"][1]
    assert "--model 'org/a model'" in files["run.sh"][1] and "--tokenizer 'org/a model'" in files["run.sh"][1]
    assert yaml.safe_load(files["training.yaml"][1])["precision"] == "bf16"


@pytest.mark.parametrize(("large", "kept"), [(True, 1), (False, 2)])
def test_a_training_file_says_its_rate_and_what_is_kept(large, kept):
    found = yaml.safe_load(training_text(16, "2.0e-5", why="w", large=large))
    assert (found["batch_size"], found["learning_rate"], found["checkpoints_kept"]) == (16, 2e-5, kept)
    assert "precision" not in found


def test_inputs_are_quoted_in_one_command_unless_one_field_was_copied():
    reading = TextSettings(text_column="body")
    (command,) = [line for line in script(reading=reading).splitlines() if "etl classify" in line]
    assert "--source '/data/a b.jsonl' --target '/data/a b.jsonl'" in command and "body" in command
    copied = script(of=fields(source=text(copied=True)), reading=reading).splitlines()
    first, second = [line for line in copied if "etl classify" in line]
    assert "--source" in first and "body" not in first and "--target" in second and "body" in second


def test_text_in_other_columns_is_proposed_in_one_flag():
    assert more_text(fields(), TextSettings()) == ""
    both = fields(target=text(other_columns=(("body",), ("content",), ("messages",), ("other",))))
    assert more_text(both, TextSettings()).endswith("with --template chat,first:text,body,content")
    assert more_text(both, TextSettings(template="chat")).endswith("with --template chat,first:body,content")
    assert more_text(both, TextSettings(template="{a}")) == ""
    assert more_text(fields(target=text(other_columns=(("other",),))), TextSettings()) == ""


@pytest.mark.parametrize(
    ("checkpoint", "notes"),
    [(SCRATCH, 0), (GIVEN, 1), (Checkpoint(name="m", parameters=1, max_positions=None, warning="w"), 1)],
)
def test_a_checkpoint_has_notes_for_people(checkpoint, notes):
    assert len(checkpoint.notes) == notes
