"""Configurations of runs: what is resolved, refused, and read back from a file."""

import dataclasses
import re

import pytest
import yaml

from dmix.mixing.trajectories.objectives import load_environment, write_environment
from dmix.training.model.settings import TrainingSettings
from dmix.training.run.config import (
    _in_this_warehouse,
    _kind_and_path,
    config_to_yaml,
    describe,
    is_agent,
    model_file_content,
    new_run_id,
    read_config,
)
from dmix.training.run.request import RunRequest
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes, publish_json
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


def test_auto_covers_the_dataset_in_the_steps_asked_for(configure, tiny_warehouse):
    config = configure()
    # 216 samples in 5 steps: 44 a step, in batches of 8
    assert (config.step_samples, config.batch_size, config.steps) == (48, 8, 5)
    line = describe(config, read_dataset_manifest(tiny_warehouse))
    assert "5 steps of 48 samples in batches of 8, at most 3,840 tokens" in line
    assert "1.11 passes through the target" in line


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


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("steps", "step_samples", "batch_size", "max_passes", "shuffle_block")
     for value in (-8, 0, True, "x", 1e30)]
    + [("seed", -1), ("gradients_every", -1), ("exhaustion", "never"), ("step_samples", 9)],
)  # fmt: skip
def test_a_number_that_no_flag_takes_is_refused_in_a_stored_configuration(
    configure, tiny_warehouse, name, value
):
    stored = yaml.safe_load(config_to_yaml(configure(run_id="received"), tiny_warehouse))
    text = yaml.safe_dump({**stored, name: value})
    publish_bytes(tiny_warehouse.run("received") / "config.yaml", text.encode())
    with pytest.raises(InputError, match=f"config.yaml.*({name}|{name.replace('_', '-')}|samples-per-step)"):
        read_config(tiny_warehouse, "received")


def test_an_unknown_run_is_named_with_known_ones(tiny_warehouse):
    with pytest.raises(NotFoundError, match="run 'absent' is not in"):
        read_config(tiny_warehouse, "absent")


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


@pytest.mark.parametrize(
    ("request_", "training", "named"),
    [
        (RunRequest(gradients_every=2), {}, "--agent effect"),
        (RunRequest(gradients_every=2), {"sharding": "full"}, "--agent effect"),
    ],
)
def test_gradients_are_for_the_effect_agent(configure, request_, training, named):
    with pytest.raises(InputError, match=named):
        configure(request=request_, training=TrainingSettings(batch_size=8, **training))


def test_gradients_need_whole_weights(configure):
    training = TrainingSettings(batch_size=8, sharding="full")
    with pytest.raises(InputError, match="sharding: none"):
        configure(controller="effect", request=RunRequest(gradients_every=2), training=training)


@pytest.mark.parametrize(
    ("spec", "agent"),
    [("agent:dmix-base", True), ("effect", True), ("effect:c", True), ("natural", False), ("", False)],
)
def test_agents_are_the_controllers_that_decide_by_feedback(spec, agent):
    assert is_agent(spec) == agent


@pytest.mark.parametrize("asked", ["0", "-8", "8.0", "eight"])
def test_samples_per_step_are_a_whole_number(configure, asked):
    with pytest.raises(InputError, match=f"--samples-per-step is '{asked}'"):
        configure(request=RunRequest(samples_per_step=asked))


def test_the_seed_of_the_dataset_is_that_of_a_run_which_gives_none(configure):
    assert configure().seed == 0
    assert configure(request=RunRequest(seed=0)).seed == 0
    assert configure(request=RunRequest(seed=7)).seed == 7


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("natural", ("", "natural")),
        ("agent:mine", ("", "agent:mine")),
        ("/models/a", ("", "/models/a")),
        ("static:/m.yaml", ("static:", "/m.yaml")),
        ("warehouse:models/a", ("", "warehouse:models/a")),
        ("static:warehouse:m.yaml", ("static:", "warehouse:m.yaml")),
        ("mix:/a:/b\nc", ("mix:", "/a:/b\nc")),
    ],
)
def test_paths_are_told_from_what_stands_before_them(value, parts):
    assert _kind_and_path(value) == parts


def test_a_path_that_is_elsewhere_and_there_stays_as_it_is(tmp_path):
    warehouse = Warehouse.at(tmp_path / "w")
    for root in (warehouse.root, tmp_path / "other"):
        (root / "models" / "a").mkdir(parents=True)
    value = str(tmp_path / "other" / "models" / "a")
    assert _in_this_warehouse(value, warehouse, "r") == value
    (tmp_path / "other" / "runs" / "r").mkdir(parents=True)  # so it is the original of this run
    assert _in_this_warehouse(value, warehouse, "r") == str(warehouse.root / "models" / "a")


def test_a_last_folder_alone_means_no_place_in_a_warehouse(tmp_path):
    warehouse = Warehouse.at(tmp_path / "w")
    (warehouse.root / "a").mkdir(parents=True)
    assert _in_this_warehouse("/gone/a", warehouse, "r") == "/gone/a"


def test_a_model_folder_of_the_warehouse_with_a_link_out_of_it_is_refused(configure, tiny_warehouse):
    folder = tiny_warehouse.model("linked")
    folder.mkdir(parents=True)
    (folder / "model.safetensors").symlink_to("/etc/hostname")
    config = dataclasses.replace(configure(run_id="of-a-link"), model=str(folder), model_file=None)
    text = config_to_yaml(config, tiny_warehouse)
    assert "model: warehouse:models/linked" in text
    publish_bytes(tiny_warehouse.run("of-a-link") / "config.yaml", text.encode())
    with pytest.raises(InputError, match="is a link"):
        read_config(tiny_warehouse, "of-a-link")


def test_the_line_of_a_run_names_guard_shadow_and_promise(configure, tiny_warehouse):
    manifest = read_dataset_manifest(tiny_warehouse)
    plain = describe(configure(), manifest)
    assert not any(word in plain for word in ("guard", "shadow", "predicts", "gradients"))
    promise = {"utility": 0.25, "utility_stderr": 0.1, "note": "counts alone"}
    told = describe(
        dataclasses.replace(configure(), guard="farm:0.99", shadow="odm", promise=promise, gradients_every=2),
        manifest,
    )
    assert "from the set farm:0.99" in told and "odm in shadow" in told
    assert "+0.250 in utility (standard error 0.100): counts alone" in told
    base = dataclasses.replace(configure(), kind="base")
    assert "passes through the source" in describe(base, manifest)


def test_a_run_too_short_to_read_most_target_domains_says_so(configure, tiny_warehouse):
    manifest = read_dataset_manifest(tiny_warehouse)
    assert "use fewer domains" not in describe(configure(), manifest)
    short = dataclasses.replace(configure(), steps=1, step_samples=1)
    told = describe(short, manifest)
    assert "with 1 sample in all" in told and "target domains less than one sample each" in told
    assert "use fewer domains" not in describe(dataclasses.replace(short, kind="base"), manifest)


def test_names_of_runs_sort_by_time_and_differ():
    names = {new_run_id() for _ in range(20)}
    assert len(names) == 20
    assert all(re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", name) for name in names)


def test_the_result_of_a_base_model_is_a_model_of_the_warehouse(configure, tiny_warehouse):
    config = configure(run_id="r")
    assert config.result(tiny_warehouse) == tiny_warehouse.run("r") / "model"
    named = dataclasses.replace(config, name="small")
    assert named.result(tiny_warehouse) == tiny_warehouse.model("small")


def test_only_model_files_are_kept_by_content(model_file, tmp_path):
    assert model_file_content(str(model_file))["architecture"] == "llama"
    assert model_file_content(str(tmp_path)) is None
