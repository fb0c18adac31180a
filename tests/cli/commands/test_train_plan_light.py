"""`dmix train --dry-run` builds no model and imports no library that builds one, and refuses what it did."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file
from tests.training.conftest import byte_tokenizer

from dmix.cli.main import run
from dmix.training.model.estimate.machine import fingerprint, speed_file
from dmix.training.model.models import load_model
from dmix.training.model.saving import save_model
from dmix.training.run.config import check_model_tokenizer
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_json
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

HEAVY = {"composer", "torch", "transformers", "pyspark", "streaming"}
SIZES = ["--controller", "natural", "--steps", "2", "--samples-per-step", "16", "--dry-run"]


@pytest.fixture
def manifest(tiny_warehouse):
    return read_dataset_manifest(tiny_warehouse)


@pytest.fixture
def checkpoint(tiny_model, manifest, tiny_warehouse, tmp_path):
    folder = tmp_path / "checkpoint"
    model = load_model(tiny_model, manifest)
    save_model(model, folder, streams=tiny_warehouse.stream("tiny"), manifest=manifest)
    return folder


@pytest.fixture
def files(tiny_model, environment_file, tiny_warehouse, tmp_path):
    """Arguments of a dry run but the model."""
    (tmp_path / "training.yaml").write_text("{batch_size: 8}")
    (tmp_path / "model.yaml").write_text(
        yaml.safe_dump({"architecture": "llama", "config": tiny_model.config})
    )
    return ["--training", str(tmp_path / "training.yaml"), "--warehouse", str(tiny_warehouse.root)]


def imported(arguments, *, before=""):
    """The heavy modules of a process that ran a command, after some lines of Python."""
    code = (
        f"{before}\n"
        "import sys, dmix.cli.main as m\n"
        f"code = m.run({arguments!r})\n"
        f"print('found', code, sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_a_dry_run_needs_no_torch(files, checkpoint, environment_file, tmp_path):
    of_run = ["train", *files, *SIZES, "--environment", str(environment_file), "--allow-unscreened"]
    assert imported([*of_run, "--model", str(checkpoint)]) == "found 0 []"
    of_base = ["train", "base", *files, "--tokens", "500", "--name", "b", "--dry-run"]
    assert imported([*of_base, "--model", str(tmp_path / "model.yaml")]) == "found 0 []"


def test_a_dry_run_needs_no_torch_where_a_gpu_is_in_sight(
    files, checkpoint, environment_file, tmp_path, monkeypatch
):
    for name in ("nvidiactl", "nvidia0"):
        (tmp_path / "dev" / name).mkdir(parents=True)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho GPU-1, [N/A], 70000, 80000\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    publish_json(speed_file(), {fingerprint(): {"gpu": 1e12}})
    seen = f"import pathlib, dmix.warehouse_schema.gpus as g\ng.ROOT = pathlib.Path({str(tmp_path)!r})\n"
    cuda = "g._uses_cuda = lambda: True"
    of_run = ["train", *files, *SIZES, "--environment", str(environment_file), "--allow-unscreened"]
    assert imported([*of_run, "--model", str(checkpoint)], before=seen + cuda) == "found 0 []"


def test_dry_runs_of_effects_need_no_torch(files, checkpoint, environment_file, tiny_warehouse, tmp_path):
    place = ["--warehouse", str(tiny_warehouse.root)]
    probe = ["mix", "probe", "--environment", str(environment_file), "--allow-unscreened", *place]
    assert run([*probe, "--name", "counted-light"]) == 0
    of_model = ["--training", str(tmp_path / "training.yaml"), "--model", str(checkpoint), "--dry-run"]
    for estimator in ("gradient", "probe"):
        assert imported([*probe, "--estimator", estimator, *of_model]) == "found 0 []"
    check = ["mix", "plan", "--probe", "counted-light", "--check", "--second-round", *place]
    assert imported([*check, "--out", str(tmp_path / "mixture.yaml"), *of_model]) == "found 0 []"


@pytest.fixture
def older_effects(environment_file, tiny_warehouse, tmp_path):
    """An environment file with a limit that the effects `then` were measured without."""
    place = ["--warehouse", str(tiny_warehouse.root), "--allow-unscreened"]
    assert run(["mix", "probe", "--environment", str(environment_file), "--name", "then", *place]) == 0
    content = yaml.safe_load(environment_file.read_text()) | {"folder": str(environment_file.parent)}
    content["objectives"][0]["limit"] = 1
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "changed.yaml"


def test_effects_by_name_are_for_the_objectives_of_the_run(
    files, older_effects, environment_file, tmp_path, capsys
):
    model = ["--model", str(tmp_path / "model.yaml"), "--allow-unscreened"]
    of_run = ["train", *files, *model, "--steps", "2", "--samples-per-step", "16", "--dry-run"]
    of_plan = ["mix", "plan", "--probe", "then", *files[2:], "--dry-run"]
    steered = [
        *(["--controller", f"{kind}:then"] for kind in ("plan", "effect", "mixmin", "skill-it")),
        ["--agent", "effect:then"],
        ["--controller", "natural", "--shadow", "effect:then"],
    ]
    lines = [[*of_run, *words] for words in steered] + [[*of_plan, "--out", str(tmp_path / "mixture.yaml")]]
    for line in lines:
        assert run([*line, "--environment", str(environment_file)]) == 0
        capsys.readouterr()
        assert run([*line, "--environment", str(older_effects)]) == 2
        said = capsys.readouterr().err
        assert "general has limit 1 (before: none)" in said and "dmix mix probe --environment" in said


def test_a_plan_is_refused_where_the_items_of_its_effects_changed(tiny_warehouse, tmp_path, capsys):
    # a copy, since other tests keep effects of this name
    place = ["--warehouse", str(shutil.copytree(tiny_warehouse.root, tmp_path / "copy"))]
    items = tmp_path / "items.jsonl"
    items.write_text('{"id": "1", "text": "abcdabcd"}\n')
    own = {"objectives": [{"name": "x", "role": "target", "kind": "continuation", "path": str(items)}]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    measured = ["mix", "probe", "--environment", str(tmp_path / "own.yaml"), "--name", "changed", *place]
    assert run([*measured, "--allow-unscreened"]) == 0
    line = ["mix", "plan", "--probe", "changed", "--out", str(tmp_path / "mixture.yaml"), "--dry-run", *place]
    assert run(line) == 0
    items.write_text('{"id": "1", "text": "dcbadcba"}\n')
    capsys.readouterr()
    assert run(line) == 2
    assert "x has other items" in capsys.readouterr().err
    items.unlink()  # a plan needs none
    assert run(line) == 0


@pytest.mark.parametrize("estimator", ["gradient", "probe"])
def test_a_dry_run_of_effects_says_how_it_knows_the_time_and_refuses_damage(
    estimator, files, checkpoint, environment_file, capsys
):
    line = ["mix", "probe", "--environment", str(environment_file), "--allow-unscreened", *files]
    line += ["--estimator", estimator, "--model", str(checkpoint), "--dry-run"]
    assert run(line) == 0
    assert "half or twice" in capsys.readouterr().err
    damaged(checkpoint)
    assert run(line) == 4


def test_a_finished_run_is_shown_without_torch(files, tmp_path):
    line = ["train", *files, *SIZES[:-1], "--model", str(tmp_path / "model.yaml"), "--run", "finished-light"]
    assert run(line) == 0
    assert imported(line) == "found 0 []"


def test_a_dry_run_says_time_by_arithmetic_and_how_sure_it_is(files, checkpoint, capsys):
    assert run(["train", *files, *SIZES, "--model", str(checkpoint), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["hours"] > 0
    assert run(["train", *files, *SIZES, "--model", str(checkpoint)]) == 0
    assert "half or twice" in capsys.readouterr().err


def damaged(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def lacking(folder):
    (folder / "dmix.json").unlink()
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def not_finite(folder):
    (folder / "dmix.json").unlink()
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = np.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "refusal"),
    [(damaged, (4, "damaged")), (lacking, (2, "model.norm.weight")), (not_finite, (2, "not finite"))],
)
def test_a_dry_run_refuses_weights_that_cannot_be_trained(spoil, refusal, files, checkpoint, capsys):
    spoil(checkpoint)
    code, words = refusal
    assert run(["train", *files, *SIZES, "--model", str(checkpoint)]) == code
    assert words in capsys.readouterr().err


def test_a_dry_run_says_that_the_disk_is_full(files, checkpoint, capsys, monkeypatch):
    def refuse(*_, **__):
        raise InputError("there is no room")

    monkeypatch.setattr("dmix.training.model.estimate.memory.check_room", refuse)
    assert run(["train", *files, *SIZES, "--model", str(checkpoint)]) == 0
    assert "refuse to start this run: there is no room" in capsys.readouterr().err


def test_lora_and_other_formats_go_the_long_way(files, checkpoint, tmp_path, capsys):
    pytest.importorskip("peft")
    (tmp_path / "training.yaml").write_text("{batch_size: 8, lora: {rank: 2}}")
    assert run(["train", *files, *SIZES, "--model", str(checkpoint), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["memory_bytes"]["gradients"] < plan["memory_bytes"]["weights"]


@pytest.fixture
def no_transformers(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("asked transformers")

    monkeypatch.setattr("dmix.training.model.own_tokenizer.fitting_tokenizer", refuse)


def test_the_same_tokenizer_file_is_enough(checkpoint, manifest, tiny_warehouse, no_transformers):
    check_model_tokenizer(tiny_warehouse, manifest, str(checkpoint))


@pytest.mark.parametrize("part", ["model", "added", "class", "space", "none"])
def test_transformers_decides_about_other_tokenizers(
    part, checkpoint, manifest, tiny_warehouse, no_transformers
):
    file, settings_file = checkpoint / "tokenizer.json", checkpoint / "tokenizer_config.json"
    settings = json.loads(settings_file.read_text())
    if part == "model":
        tokenizer = byte_tokenizer()
        tokenizer.add_tokens(["ab"])
        tokenizer.save(str(file))
    elif part == "added":
        settings["added_tokens_decoder"]["7"] = {"content": "<|other|>"}
    elif part == "class":
        settings["tokenizer_class"] = "SomeTokenizer"
    elif part == "space":
        settings["add_prefix_space"] = True
    settings_file.write_text(json.dumps(settings))
    if part == "none":
        settings_file.unlink()
    with pytest.raises(AssertionError, match="asked transformers"):
        check_model_tokenizer(tiny_warehouse, manifest, str(checkpoint))
