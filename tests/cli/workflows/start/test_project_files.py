"""The files of a project, from sizes and text that are known."""

import pytest
import yaml
from tests.cli.workflows.start.projects import GIVEN, SCRATCH, SIZES, fields

from dmix.cli.workflows.start.project_files import Checkpoint, project_files, training_text
from dmix.etl.templates.settings import TextSettings


def test_a_small_model_is_trained_on_the_source_first():
    files = project_files(fields(), SIZES, SCRATCH, reading=TextSettings())
    assert {"model.yaml", "base-training.yaml"} <= set(files)
    # half of the smaller of the source (a million tokens) and a run
    assert f"--tokens {SIZES.tokens // 2} --name base" in files["run.sh"][1]
    assert "--model base " in files["run.sh"][1]


def test_a_checkpoint_needs_no_base_model():
    files = project_files(fields(), SIZES, GIVEN, reading=TextSettings())
    assert "model.yaml" not in files and "dmix train base" not in files["run.sh"][1]
    assert yaml.safe_load(files["training.yaml"][1])["precision"] == "bf16"


@pytest.mark.parametrize(("large", "kept"), [(True, 1), (False, 2)])
def test_a_training_file_says_its_rate_and_what_is_kept(large, kept):
    found = yaml.safe_load(training_text(16, "2.0e-5", why="w", large=large))
    assert (found["batch_size"], found["learning_rate"], found["checkpoints_kept"]) == (16, 2e-5, kept)
    assert "precision" not in found


@pytest.mark.parametrize(
    ("checkpoint", "notes"),
    [(SCRATCH, 0), (GIVEN, 1), (Checkpoint(name="m", parameters=1, max_positions=None, warning="w"), 1)],
)
def test_a_checkpoint_has_notes_for_people(checkpoint, notes):
    assert len(checkpoint.notes) == notes
