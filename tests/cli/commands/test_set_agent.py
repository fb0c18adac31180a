"""The set agent as a user has it: trained on sets of other labels, steering a real run."""

import json

import numpy as np
import pytest
import yaml

from dmix.cli.main import run
from dmix.mixing.trajectories.sampling import sample_trajectories
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.warehouse_schema.files.events import read_events

TINY = ("--hidden-size", "16", "--heads", "2", "--feedforward", "32", "--epochs", "2")


@pytest.fixture(scope="module")
def warehouse(tiny_warehouse, make_manifest):
    """Beside the dataset of labels A, B and C: sets of two and of four other labels."""
    for name, samples in (("two", (30, 20, 40, 10)), ("four", (30, 20, 0, 40, 10, 25, 60, 5))):
        sample_trajectories(
            tiny_warehouse,
            manifest=make_manifest(samples),
            set_name=name,
            settings=SampleSettings(
                top_k=(1,), paths=3, random_paths=0, candidates=100, steps=4, batch_size=8
            ),
            processes=1,
        )
    return tiny_warehouse


@pytest.fixture
def dmix(warehouse, capsys):
    """Runs a command on the warehouse: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = run([*arguments, "--warehouse", str(warehouse.root)])
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


def sft(*arguments):
    return ("agent", "sft", *arguments, *TINY)


def test_sft_takes_several_sets_and_says_how_each_did(dmix, warehouse):
    code, out, err = dmix(
        *sft("--set", "two", "--set", "four", "--agent", "both", "--architecture", "set", "--json")
    )
    assert code == 0, err
    report = json.loads(out)
    assert report["set"] == "two, four"
    assert (report["trajectories"], len(report["set_losses"])) == (6, 2)
    config = json.loads((warehouse.agent("both") / "config.json").read_text())
    assert config["model_type"] == "dmix-set-agent"
    assert [space["active"] for space in config["spaces"]] == [4, 7]


def test_a_settings_file_names_one_set_or_several(dmix, tmp_path):
    for number, value in enumerate(("two", ["two", "four"])):
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump({"set": value, "agent": "none", "architecture": "set"}))
        code, out, err = dmix("agent", "sft", "--config", str(file), "--dry-run", "--json")
        assert code == 0, err
        assert json.loads(out)["trajectories"] == 3 * (number + 1)


def test_an_agent_of_other_labels_steers_a_run(dmix, warehouse, environment_file, tiny_model, tmp_path):
    model, training = tmp_path / "model.yaml", tmp_path / "training.yaml"
    model.write_text(yaml.safe_dump({"architecture": "llama", "config": tiny_model.config}))
    training.write_text("{batch_size: 8, learning_rate: 3e-3, checkpoint_steps: 0}")
    steered = (
        *("train", "--model", str(model), "--training", str(training), "--steps", "3"),
        *("--environment", str(environment_file), "--samples-per-step", "16", "--exhaustion", "repeat"),
    )
    for name, architecture in (("any", "set"), ("fixed", "paper")):
        code, _, err = dmix(*sft("--set", "two", "--agent", name, "--architecture", architecture))
        assert code == 0, err
    code, _, err = dmix(*steered, "--agent", "fixed", "--run", "refused")
    assert code == 2
    assert "'fixed' has 2 labels" in err and "--architecture set" in err
    code, _, err = dmix(*steered, "--agent", "any", "--run", "steered")
    assert code == 0, err
    events = list(read_events(warehouse.run("steered") / "events.jsonl"))
    asked = np.array([event["asked_N"] for event in events if event["event"] == "decision"])
    assert asked.shape == (3, 6)
    assert asked.sum(1) == pytest.approx(np.ones(3))
    # label C has no samples in either field
    assert (asked[:, [2, 5]] == 0).all() and (asked[:, [0, 1, 3, 4]] > 0).all()
    assert not [event for event in events if event["event"] == "note" and event["kind"] == "fallback"]
