"""The agent that comes with dmix, in real small runs over 2, 35 and 52 domains."""

import numpy as np
import pytest
import yaml
from tests.training.conftest import publish_dataset

from dmix.cli.main import run
from dmix.mixing.space.domains import DomainSpace
from dmix.training.model.settings import TrainingSettings
from dmix.training.run.config import make_config
from dmix.training.run.launch import start_run
from dmix.training.run.request import RunRequest
from dmix.warehouse_schema.files.events import read_events
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import read_dataset_manifest
from dmix.warehouse_schema.taxonomy import Taxonomy

NAME = "dmix-base-1"


def sizes(source, target):
    """Samples of each domain, from 8 to 32."""
    counts = {("source", label): 8 + 3 * (number % 9) for number, label in enumerate(source)}
    return counts | {("target", label): 8 + 2 * (number % 5) for number, label in enumerate(target)}


def labels(number):
    return tuple(f"topic-{place:02d}" for place in range(number))


SPACES = {
    2: (labels(1), {("source", "topic-00"): 150, ("target", "topic-00"): 60}),
    35: (labels(35), sizes(labels(35)[:25], labels(35)[25:])),
    52: (labels(26), sizes(labels(26), labels(26))),
}


@pytest.fixture(scope="module")
def warehouses(tmp_path_factory):
    """One for each number of active domains."""
    found = {}
    for number, (names, samples) in SPACES.items():
        found[number] = Warehouse.at(tmp_path_factory.mktemp("shipped") / str(number))
        publish_dataset(found[number], samples=samples, taxonomy=Taxonomy("topics", names))
    return found


@pytest.fixture(scope="module")
def model_file(tmp_path_factory, tiny_model):
    path = tmp_path_factory.mktemp("model") / "model.yaml"
    path.write_text(yaml.safe_dump({"architecture": "llama", "config": tiny_model.config}))
    return path


def steered(warehouse, model_file, environment_file, run_id):
    """The mixtures that the agent asked for in a run of three steps, with the fall-backs of the run."""
    config = make_config(
        warehouse,
        RunRequest(steps=3, samples_per_step=64, exhaustion="repeat"),
        model=str(model_file),
        controller=f"agent:{NAME}",
        training=TrainingSettings(batch_size=16, learning_rate=3e-3),
        environment=environment_file,
        run_id=run_id,
    )
    summary = start_run(warehouse, config, progress=lambda line: None)
    assert summary.finished and np.isfinite(summary.feedback_TD).all()
    events = list(read_events(warehouse.run(run_id) / "events.jsonl"))
    asked_TN = np.array([event["asked_N"] for event in events if event["event"] == "decision"])
    return asked_TN, [event for event in events if event.get("kind") == "fallback"]


@pytest.mark.parametrize("number", SPACES)
def test_it_steers_a_run_over_any_number_of_domains(number, warehouses, model_file, environment_file):
    warehouse = warehouses[number]
    asked_TN, fallbacks = steered(warehouse, model_file, environment_file, "first")
    space = DomainSpace.of_dataset(read_dataset_manifest(warehouse))
    assert asked_TN.shape == (3, len(space)) and not fallbacks
    assert asked_TN.sum(1) == pytest.approx(1)
    assert (asked_TN[:, space.active_N] > 0).all() and (asked_TN[:, ~space.active_N] == 0).all()
    again_TN, _ = steered(warehouse, model_file, environment_file, "second")
    np.testing.assert_array_equal(again_TN, asked_TN)


def test_a_dry_run_finds_it_by_name(tiny_warehouse, model_file, environment_file, capsys):
    arguments = ("--model", str(model_file), "--environment", str(environment_file), "--steps", "2")
    code = run(
        ["train", *arguments, "--agent", NAME, "--warehouse", str(tiny_warehouse.root), "--dry-run", "--json"]
    )
    assert code == 0, capsys.readouterr().err
    assert '"steps": 2' in capsys.readouterr().out
