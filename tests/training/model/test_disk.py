import shutil
from types import SimpleNamespace

import pytest

from dmix.training.model.disk import check_room
from dmix.training.model.memory import RunDisk
from dmix.warehouse_schema.errors import InputError

MB = 1_000_000
NEED = RunDisk(
    checkpoint=12 * MB, checkpoints=2, most_checkpoints=36 * MB, result=4 * MB, peak=36 * MB, kept=28 * MB
)


@pytest.fixture
def free(monkeypatch):
    """Says how much of the disk is free."""

    def say(size_bytes):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=size_bytes))

    return say


def test_a_disk_with_just_enough_room_is_taken(tmp_path, free):
    free(36 * MB)
    check_room(NEED, checkpoints=tmp_path / "a/b", result=tmp_path / "a/model", what="run r")


def test_a_disk_without_room_is_refused_with_need_free_space_folder_and_fix(tmp_path, free):
    free(30 * MB)
    with pytest.raises(InputError) as refused:
        check_room(NEED, checkpoints=tmp_path / "a/b", result=tmp_path / "a/model", what="run r")
    for fact in ("run r", "36.0 MB", "30.0 MB", str(tmp_path), "checkpoints_kept", "keep: model"):
        assert fact in refused.value.message


def test_what_an_earlier_attempt_wrote_takes_no_further_room(tmp_path, free):
    free(30 * MB)
    with open(tmp_path / "step1-ba10.pt.aside", "wb") as file:
        file.truncate(12 * MB)
    check_room(NEED, checkpoints=tmp_path, result=tmp_path, what="run r")


def test_a_model_on_another_disk_needs_its_own_room_alone(tmp_path, monkeypatch):
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    rooms = {tmp_path: 36 * MB, elsewhere: 3 * MB}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=rooms[folder]))
    monkeypatch.setattr("dmix.training.model.disk._device", str)
    with pytest.raises(InputError, match=r"other has 3\.0 MB free"):
        check_room(NEED, checkpoints=tmp_path, result=elsewhere, what="run r")
