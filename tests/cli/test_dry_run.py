"""No `--dry-run` changes a byte of a warehouse: all commands that have the flag, all controllers."""

import hashlib
import json
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import torch
import yaml
from tests.etl import conftest as _etl
from tests.manifests import trajectory_set
from tests.training import conftest as _training

from dmix.cli.main import dmix, run
from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.agent.store import publish_agent
from dmix.mixing.controllers.registry import CONTROLLERS
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.feedback import write_feedback
from dmix.mixing.trajectories.objectives import load_environment, write_environment
from dmix.mixing.trajectories.store import Trajectory, publish_set, write_trajectory
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.files.layout import Warehouse

QUALITY = Path(__file__).parents[2] / "benchmarks" / "quality"
STEPS = 4
CONTROLLER_SPECS = {
    "natural": "natural",
    "naive": "naive",
    "stratified": "stratified",
    "static:FILE": "static:{here}/half.yaml",
    "plan[:NAME]": "plan:counted",
    "effect[:NAME]": "effect:counted",
    "mixmin[:NAME]": "mixmin:counted",
    "skill-it[:NAME]": "skill-it:counted",
    "source-share:SHARE": "source-share:0.05",
    "linear:FROM-TO": "linear:0.2-0.8",
    "cosine:FROM-TO": "cosine:0.2-0.8",
    "three-stage[:FROM-TO]": "three-stage",
    "odm": "odm",
    "ado": "ado",
    "aioli": "aioli",
    "sheared[:FILE]": "sheared",
    "agent:NAME": "agent:steersman",
    "untrained[:SEED]": "untrained",
    "replay:SET/TRAJECTORY": "replay:farm/static-0001",
    "best-of:SET": "best-of:farm",
    "regmix:SET": "regmix:farm",
    "regmix-d:SET": "regmix-d:farm",
    "regmix-kl:SET": "regmix-kl:farm",
    "schedule:SET": "schedule:farm",
    "decision-transformer:SET[:QUANTILE]": "decision-transformer:farm:0.9",
    "python:MODULE:CLASS": "python:{here}/own.py:Own",
}
TRAIN = "train --model {here}/model.yaml --training {here}/training.yaml --dataset tiny"
SIZES = "--steps 4 --samples-per-step 24 --exhaustion repeat"
COMMANDS = {
    "etl classify": "etl classify --source {here}/raw.jsonl --classifier column:topic --taxonomy from-data",
    "etl shard": "etl shard --corpus main-source --corpus main-target --seq-len 16",
    "etl distil": "etl distil --name fast --corpus main-source --corpus main-target",
    "etl duplicates": "etl duplicates --corpus main-source",
    "etl contamination": "etl contamination --corpus main-source --environment {environment}",
    "etl synthesize": "etl synthesize --model {writer} --out {here}/written --tokens 200 --bandwidth 10",
    "etl start-state": "etl start-state --from model --model {writer}",
    "etl gc": "etl gc",
    "mix sample": "mix sample --set other --dataset tiny --steps 4 --samples-per-step 16 --batch-size 8",
    "mix collect": "mix collect --set new --environment {environment} --proxy {here}/proxy.yaml",
    "mix probe": "mix probe --environment {environment} --dataset tiny --name other",
    "mix plan": "mix plan --probe counted --dataset tiny --out {here}/mixture.yaml",
    "agent sft": "agent sft --set farm --agent next",
    "agent clone": "agent clone --set farm --agent next",
    "agent rl": "agent rl --set farm --agent next --from steersman",
    "agent evaluate": "agent evaluate --set farm --agent steersman",
    "train": f"{TRAIN} --controller natural --environment {{environment}} {SIZES}",
    "train base": "train base --model {here}/model.yaml --tokens 500 --name small --dataset tiny",
    "eval": "eval --model {writer} --items {here}/items.jsonl",
    "init": "init --data {here}/text {here}/project",
    "bench quality": "bench quality --setting {quality}/origin.yaml --data {here} --work {here}/work"
    " --results {here}/results",
    "bench regmix": "bench regmix --data {here}/tables --regressor exponential --out {here}",
    "catalog rebuild": "catalog rebuild",
    "catalog export": "catalog export --out {here}/exported",
}
# what a flag makes of a command, beside its usual way
OTHER_WAYS = {
    "classify and shard": "etl classify --source {here}/raw.jsonl --classifier column:topic"
    " --taxonomy from-data --seq-len 16",
    "start state of a dataset": "etl start-state --dataset tiny",
    "probes for another trainer": "mix probe --environment {environment} --dataset tiny --export {here}/new",
    "scores of another trainer": "mix probe --environment {environment} --dataset tiny"
    " --scores {here}/probes/scores.csv",
    "gradients": "mix probe --environment {environment} --dataset tiny --estimator gradient"
    " --model {here}/model.yaml",
    "probes": "mix probe --environment {environment} --dataset tiny --estimator probe"
    " --model {here}/model.yaml",
    "checked plan": "mix plan --probe counted --dataset tiny --check --model {here}/model.yaml"
    " --out {here}/mixture.yaml",
    "with the default": f"{TRAIN} --agent dmix-base --environment {{environment}} {SIZES}",
}
# without them they work on the warehouse of the environment
WITHOUT_WAREHOUSE = {"init", "bench quality", "bench regmix", "etl synthesize"}


def commands_with_dry_run(command=dmix, path=()):
    """The words of all commands that have `--dry-run`."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands_with_dry_run(command.get_command(context, name), (*path, name))
    if any(parameter.name == "dry_run" for parameter in command.params):
        yield " ".join(path)


def content(folder):
    """Size and hash of every file and the names of all folders below a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
    }


def add_set(warehouse, name, *, scored):
    """A set over the tiny dataset: eight static runs and four that change, with scores or without."""
    samples = [_training.SAMPLES.get((f, d), 0) for f in ("source", "target") for d in "ABC"]
    space = DomainSpace(("A", "B", "C"), np.array(samples))
    publish_set(
        warehouse,
        trajectory_set(
            space.names,
            samples,
            steps=STEPS,
            set_name=name,
            dataset="tiny",
            step_samples=16,
            run_step_samples=24,
        ),
    )
    rng = np.random.default_rng(0)
    for number in range(12):
        kind = "static" if number < 8 else ("inductive", "segments")[number % 2]
        shares = rng.dirichlet(np.ones(4), 1 if kind == "static" else STEPS)
        mixtures = np.zeros((STEPS + 1, 6))
        mixtures[0] = space.start_N
        mixtures[1:, [0, 1, 3, 4]] = shares
        one = Trajectory(
            trajectory_id=f"{kind}-{number:04d}",
            kind=kind,
            top_k=1 if kind == "inductive" else None,
            mixtures_TN=mixtures,
        )
        write_trajectory(warehouse.trajectories(name), one)
        if scored:
            scores = -3 + np.cumsum(mixtures[:, :2] - mixtures[:, 3:5], axis=0)
            write_feedback(
                warehouse,
                set_name=name,
                trajectory_id=one.trajectory_id,
                objectives=("general", "target"),
                scores_TD=scores,
            )
    return space


def fill_scores(path):
    """A score for each row of an exported table."""
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *(f"{row}{-2 - place / 100}" for place, row in enumerate(rows))]))


@pytest.fixture(scope="module")
def world(tmp_path_factory, environment_file, tiny_model, writer):
    """Folder `here` of the user's files with a warehouse that holds something of every kind."""
    here = tmp_path_factory.mktemp("dry")
    warehouse = Warehouse.at(here / "warehouse")
    _training.publish_dataset(warehouse)
    for field in ("source", "target"):
        documents = [(("News", "Games")[i % 2], _etl.words(i, 40)) for i in range(20)]
        _etl.write_corpus(warehouse, f"main-{field}", field, [documents])
    add_set(warehouse, "new", scored=False)
    space = add_set(warehouse, "farm", scored=True)
    write_environment(warehouse.feedback("farm") / "environment.yaml", load_environment(environment_file))
    torch.manual_seed(0)
    config = MixingAgentConfig(
        labels=space.labels,
        objectives=["general", "target"],
        scales=[1.0, 1.0],
        hidden_size=16,
        heads=2,
        feedforward=32,
        set_name="farm",
    )
    publish_agent(warehouse, agent=MixingAgent(config), name="steersman", stage="sft", notes=[])
    probe = ["mix", "probe", "--environment", str(environment_file), "--dataset", "tiny"]
    assert run([*probe, "--name", "counted", "--warehouse", str(warehouse.root)]) == 0
    assert run([*probe, "--export", str(here / "probes"), "--warehouse", str(warehouse.root)]) == 0
    fill_scores(here / "probes" / "scores.csv")
    sync(warehouse)
    for field in ("source", "target"):
        (here / "text" / field).mkdir(parents=True)
        records = "".join(json.dumps({"text": _etl.words(i, 200)}) + "\n" for i in range(60))
        (here / "text" / field / "a.jsonl").write_text(records)
    (here / "raw.jsonl").write_text('{"text": "one", "topic": "News"}\n')
    (here / "items.jsonl").write_text(
        json.dumps({"id": "1", "question": "what", "choices": ["the law", "the land"], "label": 0}) + "\n"
    )
    (here / "half.yaml").write_text("source: 1\ntarget: 1\n")
    (here / "own.py").write_text(
        "from dmix.mixing.controllers import Proposal\n\n\n"
        "class Own:\n    def propose(self, history):\n"
        "        return Proposal(history.space.natural_N.copy())\n"
    )
    (here / "model.yaml").write_text(yaml.safe_dump({"architecture": "llama", "config": tiny_model.config}))
    (here / "training.yaml").write_text("{batch_size: 8, learning_rate: 3e-3}")
    (here / "proxy.yaml").write_text(
        yaml.safe_dump({"config": tiny_model.config, "training": {"batch_size": 8}})
    )
    (here / "tables").mkdir()
    for kind, rows in (("train", 12), ("test", 6)):
        mixtures = np.random.default_rng(rows).dirichlet(np.ones(3), rows)
        for part, columns, values in (("mixture", "a,b,c", mixtures), ("pile_loss", "x", mixtures[:, :1])):
            lines = [f"index,{columns}", *(f"{i}," + ",".join(map(str, row)) for i, row in enumerate(values))]
            (here / "tables" / f"{kind}_{part}_1m.csv").write_text("\n".join(lines))
    return {"here": here, "environment": environment_file, "writer": writer, "quality": QUALITY}


@pytest.fixture
def dry_run(world, capsys, monkeypatch):
    """Runs a line with `--dry-run` and compares everything on disk with what was there before."""
    monkeypatch.chdir(world["here"])
    monkeypatch.delenv("DMIX_MASTER", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # own.py is loaded from there

    def call(line, *, warehouse=True):
        arguments = line.format(**world).split()
        arguments += ["--warehouse", "warehouse"] if warehouse else []
        before = content(world["here"])
        code = run([*arguments, "--dry-run"])
        said = capsys.readouterr().err
        assert code == 0, said
        assert content(world["here"]) == before

    return call


def test_the_tables_name_every_command_and_every_controller():
    assert sorted(COMMANDS) == sorted(commands_with_dry_run())
    assert sorted(CONTROLLER_SPECS) == sorted(CONTROLLERS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_dry_run_of_a_command_changes_no_byte(name, dry_run):
    dry_run(COMMANDS[name], warehouse=name not in WITHOUT_WAREHOUSE)


@pytest.mark.parametrize("name", OTHER_WAYS)
def test_no_flag_makes_a_dry_run_write(name, dry_run):
    dry_run(OTHER_WAYS[name])


@pytest.mark.parametrize("kind", CONTROLLERS)
def test_a_dry_run_with_a_controller_fits_nothing_and_changes_no_byte(kind, dry_run, monkeypatch):
    def refuse(self, *, progress):
        raise AssertionError("a dry run fitted a controller")

    monkeypatch.setattr("dmix.mixing.regression.fits.PlannedFit.prepare", refuse)
    spec = CONTROLLER_SPECS[kind]
    dry_run(f"{TRAIN} --controller {spec} --shadow {spec} --environment {{environment}} {SIZES}")


def test_a_run_with_a_fitted_controller_fits_and_its_dry_resume_does_not(world, dry_run, capsys):
    line = f"{TRAIN} --controller regmix:farm --steps 2 --samples-per-step 24 --run fitted"
    line += " --warehouse warehouse"
    assert run(line.format(**world).split()) == 0
    assert "regmix: fitting gaussian-process" in capsys.readouterr().err
    fits = world["here"] / "warehouse" / "trajectories" / "farm" / "fits"
    assert len(list(fits.iterdir())) == 1
    dry_run("train --run fitted --resume")
