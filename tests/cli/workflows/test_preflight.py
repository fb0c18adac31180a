"""Refusals that need no heavy library do not wait for one."""

import json
import shutil
import subprocess
import sys

import pytest

from dmix.cli.workflows.preflight import controller_spec
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

HEAVY = {"torch", "pyspark", "composer", "transformers", "streaming", "d3rlpy"}
CASES = [
    (["train", "--controller", "natural"], "--model is missing"),
    (["train", "--model", "m.yaml"], "neither; give exactly one"),
    (["train", "--model", "m.yaml", "--agent", "a"], "give the environment file with --environment"),
    (["train", "--resume"], "--resume needs a run"),
    (["train", "--model", "m.yaml", "--controller", "natural"], "no dataset"),
    (["train", "base", "--model", "m.yaml", "--tokens", "9", "--name", "b"], "no dataset"),
    (["train", "base", "--model", "m.yaml", "--tokens", "0", "--name", "b"], "0 is not in the range"),
    (["mix", "collect", "--set", "none", "--environment", "e.yaml"], "set 'none'"),
    (["agent", "sft", "--set", "none", "--agent", "a"], "set 'none'"),
    (["agent", "rl", "--set", "none", "--agent", "a"], "set 'none'"),
    (["agent", "clone", "--set", "none", "--agent", "a"], "set 'none'"),
    (["agent", "evaluate", "--set", "none", "--agent", "a"], "set 'none'"),
    (["etl", "classify"], "there is no input"),
    (["etl", "start-state", "--from", "model", "--model", "./none"], "model ./none is not a folder"),
    (["eval", "--run", "r"], "no task to evaluate on"),
    (["eval", "--run", "r", "--task", "piqa"], "run 'r' is not in"),
    (["eval", "--model", "./none", "--task", "piqa"], "model ./none does not exist"),
    (["train", "--run", "r", "--resume"], "run 'r' is not in"),
    (["bench", "quality", "--data", "{here}", "--setting", "nope"], "setting 'nope' does not exist"),
]
# Spark's Python side is imported, no session is started
BEFORE_SPARK = [
    (["etl", "classify", "--source", "none/*.txt"], "no file matches none/*.txt"),
    (["etl", "classify", "--source", "{here}", "--classifier", "colour"], "classifier 'colour' is unknown"),
    (["etl", "shard"], "has 0 corpora"),
    (["etl", "distil", "--name", "fast"], "has 0 corpora"),
]


def refusals(cases, folder):
    """(exit code, what was said) of each case, and the modules that were imported for all of them."""
    given = [[part.format(here=folder) for part in arguments] for arguments, _ in cases]
    code = (
        "import contextlib, io, json, os, sys\n"
        f"os.environ['DMIX_WAREHOUSE'] = {str(folder)!r}\n"
        "from dmix.cli.main import run\n"
        "found = []\n"
        f"for arguments in {given!r}:\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as said:\n"
        "        found.append([run(arguments), said.getvalue()])\n"
        "print(json.dumps([found, list(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, modules = json.loads(done.stdout)
    for (arguments, message), (exit_code, said) in zip(cases, found, strict=True):
        assert exit_code == 2 and message in said, (arguments, said)
    return set(modules)


def test_refusals_come_before_heavy_imports(tmp_path):
    assert HEAVY & refusals(CASES, tmp_path) == set()


def test_inputs_and_classifiers_are_refused_before_spark_starts(tmp_path):
    (tmp_path / "a.txt").write_text("a text")
    assert HEAVY & refusals(BEFORE_SPARK, tmp_path) <= {"pyspark"}


def test_names_of_a_warehouse_are_refused_before_heavy_imports(tiny_warehouse, environment_file, tmp_path):
    (tmp_path / "model.yaml").write_text("architecture: llama\n")
    (tmp_path / "training.yaml").write_text("batch_size: 0\n")
    common = ["train", "--model", str(tmp_path / "model.yaml")]
    cases = [
        (["train", "--model", "none.yaml", "--controller", "natural"], "model none.yaml does not exist"),
        (
            [*common, "--agent", "none", "--environment", str(environment_file)],
            "agent 'none' does not exist",
        ),
        (
            [*common, "--controller", "natural", "--training", str(tmp_path / "training.yaml")],
            "batch_size is 0",
        ),
        ([*common, "--controller", "natural", "--run", "a/b"], "a/b"),
        ([*common, "--controller", "natrual"], "did you mean 'natural'"),
        ([*common, "--controller", "static:none.yaml"], "none.yaml"),
        ([*common, "--controller", "source-share:2"], "source-share:2"),
        ([*common, "--controller", "regmix:none"], "set 'none'"),
        ([*common, "--controller", "replay:none/random-0"], "set 'none'"),
        ([*common, "--controller", "natural", "--shadow", "schedule:none"], "set 'none'"),
        ([*common, "--controller", "natural", "--guard", "none:0.9"], "set 'none'"),
        ([*common, "--controller", "natural", "--samples-per-step", "few"], "--samples-per-step is 'few'"),
        ([*common, "--controller", "natural", "--samples-per-step", "33"], "33"),
        ([*common, "--controller", "natural", "--environment", "none.yaml"], "none.yaml"),
    ]
    assert HEAVY & refusals(cases, tiny_warehouse.root) == set()


def test_a_step_without_a_model_is_refused_before_heavy_imports(tiny_warehouse, tmp_path):
    items = tmp_path / "items.jsonl"
    items.write_text('{"id": "1", "question": "a", "choices": ["b", "c"], "label": 0}\n')
    config = {
        "run_id": "early", "kind": "baseline", "dataset": "d", "model": "m", "controller": "natural",
        "steps": 2, "step_samples": 8, "batch_size": 8, "exhaustion": "stop", "max_passes": 1, "seed": 0,
        "training": {},
    }  # fmt: skip
    folder = tiny_warehouse.run("early")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(json.dumps(config))
    common = ["eval", "--run", "early", "--items", str(items), "--dry-run"]
    cases = [
        ([*common, "--step", "99"], "run early has no model of step 99 (available: 0)"),
        ([*common, "--step", "last"], "--step is 'last', expected 0 or more, or all"),
    ]
    try:
        assert HEAVY & refusals(cases, tiny_warehouse.root) == set()
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("agent", "controller", "spec"),
    [
        ("mine", None, "agent:mine"),
        ("dmix-base", None, "plan"),
        ("dmix-base-1", None, "agent:dmix-base-1"),
        ("effect", None, "effect"),
        ("effect:math", None, "effect:math"),
        (None, "odm", "odm"),
    ],
)
def test_an_agent_is_a_controller_and_the_effect_agent_has_its_own_name(agent, controller, spec, tmp_path):
    assert controller_spec(Warehouse.at(tmp_path), agent, controller) == spec


@pytest.mark.parametrize(
    ("agent", "controller", "said"), [("a", "b", "both"), (None, None, "--agent or --controller")]
)
def test_exactly_one_of_agent_and_controller_is_given(agent, controller, said, tmp_path):
    with pytest.raises(InputError, match=said):
        controller_spec(Warehouse.at(tmp_path), agent, controller)
