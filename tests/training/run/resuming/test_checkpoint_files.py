import os
import zipfile

import pytest
import torch

from dmix.training.run.resuming.checkpoint_files import (
    SAVED,
    Restart,
    checkpoints,
    choose_checkpoint,
    fingerprint,
    forget_set_aside,
    is_whole,
    latest_checkpoint,
    steps_done_at,
)
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.events import EventLog


def write(folder, name, *, whole=True):
    torch.save({"data": name.ljust(1000, "x")}, folder / name)
    if not whole:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])


def test_the_newest_is_found_by_batch_and_then_by_step(tmp_path):
    for name in ("step9-ba90.pt", "step10-ba100.pt", "step9-ba100.pt", "other.pt"):
        write(tmp_path, name)
    names = [path.name for path in checkpoints(tmp_path)]
    assert names == ["step9-ba90.pt", "step9-ba100.pt", "step10-ba100.pt"]
    assert latest_checkpoint(tmp_path).name == "step10-ba100.pt"


def test_a_file_that_was_cut_short_is_no_checkpoint(tmp_path):
    write(tmp_path, "step1-ba3.pt")
    write(tmp_path, "step2-ba6.pt", whole=False)
    (tmp_path / "step3-ba9.pt").touch()
    assert latest_checkpoint(tmp_path).name == "step1-ba3.pt"


@pytest.mark.parametrize(("before", "behind"), [(b"xx", b""), (b"", b"xx"), (b"", bytes(100))])
def test_bytes_around_a_checkpoint_damage_it(tmp_path, before, behind):
    write(tmp_path, "step1-ba3.pt")
    path = tmp_path / "step1-ba3.pt"
    assert is_whole(path)
    path.write_bytes(before + path.read_bytes() + behind)
    assert not is_whole(path)


def test_an_absent_or_empty_folder_has_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None and latest_checkpoint(tmp_path / "absent") is None


def put_zeros(path):
    content = bytearray(path.read_bytes())
    content[200:700] = bytes(500)
    path.write_bytes(content)


@pytest.fixture
def run(tmp_path):
    """Folder and events of a run of three steps with a checkpoint each."""
    log = EventLog(tmp_path / "events.jsonl", run_id="r", attempt=1)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in (1, 2, 3):
        log.write("decision", step=step, asked_N=[1.0], planned_N=[1.0], decided_to=step, remarks=[])
        log.write("step_done", step=step, delivered_samples_N=[8], delivered_tokens_N=[64], seconds=1.0)
        write(folder, f"step{step}-ba{step * 4}.pt")
    return folder, log.path


def names(folder):
    return [path.name for path in checkpoints(folder)]


def test_a_run_goes_on_from_the_newest_and_without_any_from_the_beginning(run, tmp_path):
    folder, events = run
    assert choose_checkpoint(folder, events) == Restart(folder / "step3-ba12.pt")
    assert choose_checkpoint(tmp_path / "absent", events) == Restart()


def flip_a_disk_number(path):
    """A bit of the last record that torch reads, and Python's `zipfile` does not."""
    content = bytearray(path.read_bytes())
    assert content[-98:-94] == b"PK\6\6"
    content[-98 + 16] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [put_zeros, flip_a_disk_number])
def test_damage_in_a_checkpoint_is_noticed_and_the_one_before_is_taken(run, damage):
    folder, events = run
    damage(folder / "step3-ba12.pt")
    restart = choose_checkpoint(folder, events)
    assert restart.checkpoint == folder / "step2-ba8.pt"
    assert restart.notes == ("checkpoint step3-ba12.pt is damaged", "resuming from step2-ba8.pt")
    assert names(folder) == ["step1-ba4.pt", "step2-ba8.pt"]
    assert (folder / "step3-ba12.pt.aside").is_file()
    forget_set_aside(folder)
    assert not (folder / "step3-ba12.pt.aside").exists()


def test_a_checkpoint_ahead_of_the_events_is_not_taken(run):
    folder, events = run
    lines = events.read_bytes().splitlines(keepends=True)
    events.write_bytes(b"".join(lines[:2]))
    restart = choose_checkpoint(folder, events)
    assert restart.checkpoint == folder / "step1-ba4.pt"
    assert "step3-ba12.pt has step 3, but events.jsonl does not" in restart.notes[0]
    events.write_bytes(b"")
    assert choose_checkpoint(folder, events).checkpoint is None


@pytest.mark.parametrize("way", ["of another run", "exchanged"])
def test_a_file_that_the_run_did_not_write_is_named_and_the_one_before_is_taken(run, way):
    folder, events = run
    log = EventLog(events, run_id="r", attempt=1)
    for path in checkpoints(folder):
        log.write(SAVED, step=steps_done_at(path), file=path.name, fingerprint=fingerprint(path))
    last, other = folder / "step3-ba12.pt", folder / "step2-ba8.pt"
    if way == "exchanged":
        content = other.read_bytes()
        other.write_bytes(last.read_bytes())
        last.write_bytes(content)
    else:
        torch.save({"data": "of another run"}, last)
    restart = choose_checkpoint(folder, events)
    assert restart.checkpoint == folder / ("step1-ba4.pt" if way == "exchanged" else "step2-ba8.pt")
    assert restart.notes[0] == "checkpoint step3-ba12.pt differs from the checkpoint that this run wrote"


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_no_checkpoint_and_is_set_aside(run, kind):
    folder, events = run
    last = folder / "step3-ba12.pt"
    last.unlink()
    last.mkdir() if kind == "folder" else os.mkfifo(last)
    assert choose_checkpoint(folder, events).checkpoint == folder / "step2-ba8.pt"
    forget_set_aside(folder)
    assert not last.with_name("step3-ba12.pt.aside").exists()


def test_going_back_takes_the_one_before(run):
    folder, events = run
    restart = choose_checkpoint(folder, events, back=True)
    assert restart.checkpoint == folder / "step2-ba8.pt"
    assert "skipping checkpoint step3-ba12.pt" in restart.notes[0] and names(folder) == [
        "step1-ba4.pt",
        "step2-ba8.pt",
    ]
    choose_checkpoint(folder, events, back=True)
    with pytest.raises(InputError, match=r"no complete checkpoint before step1-ba4\.pt"):
        choose_checkpoint(folder, events, back=True)
    assert names(folder) == ["step1-ba4.pt"]


@pytest.mark.parametrize("how", ["packed", "overlapping"])
def test_a_checkpoint_that_holds_more_than_its_size_is_damaged(how, tmp_path):
    path = tmp_path / "step1-ba2.pt"
    packing = zipfile.ZIP_DEFLATED if how == "packed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
        if how == "overlapping":
            again = archive.getinfo("archive/data.pkl")
            archive.filelist += [again, again]
    assert not is_whole(path)
