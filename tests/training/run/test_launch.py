import shutil
from types import SimpleNamespace

import pytest

from dmix.training.model.settings import TrainingSettings
from dmix.training.run.config import config_to_yaml
from dmix.training.run.launch import resume_run, start_run
from dmix.training.run.request import RunRequest
from dmix.training.run.run import run_lock
from dmix.warehouse_schema.errors import InputError, LockHeldError
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.files.layout import publish_bytes


def test_a_run_needs_none_of_its_files_to_be_resumed(configure, tiny_warehouse, model_file):
    config = configure(run_id="kept", request=RunRequest(steps=2, samples_per_step=16))
    lines = []
    first = start_run(tiny_warehouse, config, progress=lines.append)
    assert lines[0].startswith("run kept: 2 steps of 16 samples") and lines[-1].startswith("step 2/2")
    assert (tiny_warehouse.run("kept") / "model" / "model.safetensors").is_file()
    model_file.unlink()
    again = resume_run(tiny_warehouse, "kept", progress=lines.append)
    assert again.chain == first.chain
    with pytest.raises(InputError, match=r"run kept already exists .*--resume"):
        start_run(tiny_warehouse, config, progress=lines.append)


def test_a_batch_that_the_ranks_cannot_share_leaves_no_folder(configure, tiny_warehouse, monkeypatch):
    monkeypatch.setattr("dmix.training.run.launch.prepare_ranks", lambda: None)
    monkeypatch.setattr("composer.utils.dist.get_world_size", lambda: 3)
    with pytest.raises(InputError, match=r"batch-size is 8.*3 ranks.*6 and 9"):
        start_run(tiny_warehouse, configure(run_id="three"), progress=print)
    assert not tiny_warehouse.run("three").exists()


def test_a_start_of_a_run_that_another_process_starts_changes_nothing(configure, tiny_warehouse, monkeypatch):
    monkeypatch.setattr("dmix.training.run.run.LOCK_SECONDS", 0.1)
    folder = tiny_warehouse.run("contested")
    with run_lock(folder, "contested"):
        (folder / "config.yaml").write_text("of the first\n")
        with pytest.raises(LockHeldError, match="run contested"):
            start_run(tiny_warehouse, configure(run_id="contested"), progress=print)
        assert (folder / "config.yaml").read_text() == "of the first\n"
        assert not (folder / "events.jsonl").exists()


def test_a_run_that_would_fill_the_disk_leaves_nothing(configure, tiny_warehouse, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    with pytest.raises(InputError, match=r"run too-large needs .* 100\.0 kB free"):
        start_run(tiny_warehouse, configure(run_id="too-large"), progress=lambda line: None)
    assert not tiny_warehouse.run("too-large").exists()


def test_a_run_goes_by_the_name_of_its_folder(configure, tiny_warehouse):
    short = TrainingSettings(batch_size=8, keep="model", checkpoint_steps=1)
    config = configure(run_id="named", request=RunRequest(steps=2, samples_per_step=16), training=short)
    publish_bytes(
        tiny_warehouse.run("named") / "config.yaml", config_to_yaml(config, tiny_warehouse).encode()
    )
    log = EventLog(tiny_warehouse.run("named") / "events.jsonl", run_id="named")
    log.write("run_started", config={}, space=[], kind="baseline", controller="natural")
    shutil.copytree(tiny_warehouse.run("named"), tiny_warehouse.run("renamed"))
    summary = resume_run(tiny_warehouse, "renamed", accept_changes=True, progress=print)
    assert (summary.run_id, summary.steps) == ("renamed", 2)
    assert (tiny_warehouse.run("renamed") / "model" / "model.safetensors").is_file()
    assert sorted(path.name for path in tiny_warehouse.run("named").iterdir()) == [
        "config.yaml",
        "events.jsonl",
    ]
    tiny_warehouse.run("renamed").rename(tiny_warehouse.run("renamed-again"))
    finished = resume_run(tiny_warehouse, "renamed-again", progress=print)
    assert (finished.run_id, finished.chain) == ("renamed-again", summary.chain)
