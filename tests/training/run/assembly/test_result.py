"""The trained model: whole or not there, and nothing of a killed attempt beside it."""

from dataclasses import replace

import pytest
import torch

from dmix.training.model.models import load_model
from dmix.training.run.assembly import result
from dmix.training.run.assembly.result import OPTIMIZER_FILE, keep_model, prepare_result
from dmix.training.run.assembly.trainer import make_optimizer


@pytest.fixture
def kept(whole_job, tmp_path):
    job = replace(whole_job, result=tmp_path / "model")
    model = load_model(job.model, job.manifest)
    return job, model, make_optimizer(model, job.training, None)


@pytest.mark.parametrize(("keep", "optimizer"), [("all", True), ("model", False)])
def test_the_optimiser_is_kept_where_all_is(kept, keep, optimizer):
    job, model, state = kept
    job = replace(job, training=replace(job.training, keep=keep))
    keep_model(job, model, state)
    assert (job.result / OPTIMIZER_FILE).is_file() == optimizer
    again = load_model(str(job.result), job.manifest)
    for before, after in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(before, after)


def test_a_model_that_cannot_be_saved_leaves_nothing(kept, monkeypatch):
    job, model, state = kept

    def half(model, folder, **_):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError("full")

    monkeypatch.setattr(result, "save_model", half)
    with pytest.raises(OSError, match="full"):
        keep_model(job, model, state)
    assert not list(job.result.parent.iterdir())


def test_other_ranks_write_nothing(kept, monkeypatch):
    monkeypatch.setattr(result, "is_first_rank", lambda: False)
    keep_model(*kept)
    assert not kept[0].result.exists()


def test_what_a_killed_attempt_left_is_removed_and_other_files_stay(kept):
    job, model, _ = kept
    left, other = (job.result.parent / name for name in (".model.123", ".models.123"))
    for folder in (left, other):
        folder.mkdir()
    prepare_result(job, model, job.result)
    assert not left.exists() and other.exists() and not job.result.exists()
