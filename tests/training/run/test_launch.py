import dataclasses
import shutil
from types import SimpleNamespace

import pytest
import yaml

from dmix.mixing.trajectories.objectives import load_environment, write_environment
from dmix.training.model.settings import TrainingSettings
from dmix.training.run.config import config_to_yaml, describe, make_config, read_config
from dmix.training.run.launch import resume_run, start_run
from dmix.training.run.request import RunRequest, new_run_folder
from dmix.training.run.run import run_lock
from dmix.warehouse_schema.errors import InputError, LockHeldError, NotFoundError
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes, publish_json
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


@pytest.fixture
def model_file(tmp_path, tiny_model):
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump({"architecture": "llama", "config": tiny_model.config}))
    return path


@pytest.fixture
def configure(tiny_warehouse, model_file, environment_file):
    def make(*, request=None, **values):
        values = {
            "model": str(model_file),
            "controller": "natural",
            "training": TrainingSettings(batch_size=8),
            "environment": environment_file,
            **values,
        }
        return make_config(tiny_warehouse, request or RunRequest(steps=5), **values)

    return make


def test_auto_covers_the_dataset_in_the_steps_asked_for(configure, tiny_warehouse):
    config = configure()
    # 216 samples in 5 steps: 44 a step, in batches of 8
    assert (config.step_samples, config.batch_size, config.steps) == (48, 8, 5)
    line = describe(config, read_dataset_manifest(tiny_warehouse))
    assert "5 steps of 48 samples in batches of 8, at most 3,840 tokens" in line
    assert "111% passes through the target" in line


def test_the_batch_size_of_the_request_wins_over_the_training_file(configure):
    config = configure(request=RunRequest(batch_size=4, samples_per_step="12"))
    assert (config.batch_size, config.training.batch_size, config.step_samples) == (4, 4, 12)


def test_a_configuration_survives_its_file(configure, tiny_warehouse):
    training = TrainingSettings(batch_size=8, loggers=("wandb",), streams_url="s3://b", cache_folder="c")
    config = configure(run_id="survives", training=training, request=RunRequest(shuffle_block=3))
    assert config.plan.shuffle_block == 3
    publish_bytes(
        tiny_warehouse.run("survives") / "config.yaml", config_to_yaml(config, tiny_warehouse).encode()
    )
    assert read_config(tiny_warehouse, "survives") == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"request": RunRequest(samples_per_step=20)}, "nearest valid: 16 and 24"),
        ({"request": RunRequest(samples_per_step="many")}, "expected auto or a number"),
        ({"controller": "nature"}, "did you mean 'natural'"),
        ({"controller": "agent:none", "environment": None}, "give the environment file"),
        ({"controller": "agent:none"}, "none"),
        ({"run_id": "a/b"}, "cannot be a folder"),
        ({"dataset": "other"}, "'other' is not in"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(configure, tiny_warehouse, values, message):
    before = sorted((tiny_warehouse.root / "runs").glob("*"))
    with pytest.raises(InputError, match=message):
        configure(**values)
    assert sorted((tiny_warehouse.root / "runs").glob("*")) == before


def test_an_agent_brings_the_scales_of_its_farm_unless_the_file_has_its_own(
    tiny_warehouse, environment_file, configure, monkeypatch
):
    environment = load_environment(environment_file)
    scaled = type(environment)(
        objectives=environment.objectives, folder=environment.folder, scales={"general": 0.5, "target": 0.25}
    )
    write_environment(tiny_warehouse.feedback("farm-of-agent") / "environment.yaml", scaled)
    publish_json(tiny_warehouse.agent("steersman") / "config.json", {"set_name": "farm-of-agent"})
    monkeypatch.setattr("dmix.training.run.watching.steering.check_controller", lambda *_, **__: None)
    config = configure(controller="agent:steersman")
    assert config.kind == "guided"
    assert config.environment["scales"] == {"general": 0.5, "target": 0.25}
    own = environment_file.with_name("own.yaml")
    own.write_text(environment_file.read_text() + "scales: {target: 2}\n")
    config = configure(controller="agent:steersman", environment=own)
    assert config.environment["scales"] == {"general": 0.5, "target": 2.0}


def test_a_static_mixture_is_found_from_any_folder(configure, tmp_path, monkeypatch):
    (tmp_path / "half.yaml").write_text("source: 1\ntarget/A: 1\n")
    monkeypatch.chdir(tmp_path)
    assert configure(controller="static:half.yaml").controller == f"static:{tmp_path / 'half.yaml'}"


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


@pytest.mark.parametrize("form", ["written now", "with absolute paths"])
@pytest.mark.parametrize("original", ["kept", "moved"])
def test_the_run_of_a_copied_warehouse_names_what_lies_in_the_copy(
    configure, tiny_warehouse, tmp_path, form, original
):
    first, second = Warehouse.at(tmp_path / "first"), Warehouse.at(tmp_path / "second")
    config = dataclasses.replace(
        configure(run_id="copied"),
        model=str(first.root / "models" / "small"),
        controller=f"static:{first.root / 'mixtures' / 'half.yaml'}",
        shadow="static:/elsewhere/half.yaml",
    )
    for warehouse in (first, second):
        (warehouse.root / "models" / "small").mkdir(parents=True)
        (warehouse.root / "mixtures").mkdir()
        (warehouse.root / "mixtures" / "half.yaml").touch()
        text = config_to_yaml(config, first if form == "written now" else Warehouse.at("/other"))
        publish_bytes(warehouse.run("copied") / "config.yaml", text.encode())
    assert (str(first.root) in text) == (form == "with absolute paths")
    assert read_config(first, "copied") == config
    if original == "moved":
        first.root.rename(tmp_path / "gone")
    found = read_config(second, "copied")
    assert found.model == str(second.root / "models" / "small")
    assert found.controller == f"static:{second.root / 'mixtures' / 'half.yaml'}"
    assert found.shadow == config.shadow


def test_an_unknown_run_is_named_with_known_ones(tiny_warehouse):
    with pytest.raises(NotFoundError, match="run 'absent' is not in"):
        read_config(tiny_warehouse, "absent")


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


@pytest.mark.parametrize(("run_id", "name"), [("base-a", "a"), ("base-b", "b"), ("other", "")])
def test_a_renamed_run_of_a_base_model_makes_no_model_of_the_old_name(
    configure, tiny_warehouse, run_id, name
):
    config = dataclasses.replace(configure(run_id="base-a"), kind="base", name="a")
    publish_bytes(tiny_warehouse.run(run_id) / "config.yaml", config_to_yaml(config, tiny_warehouse).encode())
    found = read_config(tiny_warehouse, run_id)
    assert (found.run_id, found.name) == (run_id, name)
    own = tiny_warehouse.run(run_id) / "model"
    assert found.result(tiny_warehouse) == (tiny_warehouse.model(name) if name else own)


def test_a_second_start_of_a_base_model_is_told_to_run_the_command_again(tiny_warehouse):
    publish_bytes(tiny_warehouse.run("base-a") / "events.jsonl", b"")
    with pytest.raises(InputError, match="run the same command again, or choose another --name"):
        new_run_folder(tiny_warehouse, "base-a", of_base_model=True)
    with pytest.raises(InputError, match=r"--resume\. Otherwise, choose another --run"):
        new_run_folder(tiny_warehouse, "base-a")
