"""The rows that a run leaves, and what its controller sees."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.units import run_unit
from dmix.training.comparison.units.units import Unit
from dmix.warehouse_schema.files.layout import publish_bytes, publish_json

UNIT = Unit(
    setting="s",
    stage="paper",
    part="paper",
    kind="open_loop",
    controller="c",
    spec="natural",
    seed=1,
    base=0,
    inputs="x",
)
SUMMARY = SimpleNamespace(
    steps=2,
    samples_N=np.array([3, 1, 4, 0]),
    target_N=np.array([False, False, True, True]),
    planned_TN=np.array([[0.5, 0.25, 0.25, 0.0], [0.0, 0.0, 0.5, 0.5]]),
    feedback_TD=np.array([[-3.0, -4.0], [-2.0, -4.5], [-1.0, -5.0]]),
)


@pytest.fixture
def paths(tmp_path):
    paths = StudyPaths.of("s", work=tmp_path / "work", results=tmp_path / "results")
    publish_bytes(paths.environment("feedback"), environment())
    return paths


def environment(**more):
    objective = {"name": "o", "role": "general", "kind": "qa", "path": "o.jsonl"}
    return yaml.safe_dump({"objectives": [objective], **more}).encode()


def test_a_run_follows_the_farm_but_for_the_stage_of_the_paper():
    assert run_unit.set_of(UNIT) == "paper"
    assert run_unit.set_of(replace(UNIT, part="draw")) == "farm"


def test_facts_count_samples_and_tokens_of_each_field():
    facts = run_unit._facts(SUMMARY, SimpleNamespace(seq_len=10), 4)
    assert facts == {
        "steps": 2,
        "step_samples": 4,
        "seq_len": 10,
        "source_samples": 4,
        "target_samples": 4,
        "source_tokens": 40,
        "target_tokens": 40,
        "base_scores": [-3.0, -4.0],
    }


def test_a_row_for_each_step_has_the_scores_after_it():
    first, second = run_unit._steps(SUMMARY)
    assert (first["step"], first["scores"], first["target_share"]) == (1, [-2.0, -4.5], 0.25)
    assert (second["step"], second["scores"], second["target_share"]) == (2, [-1.0, -5.0], 1.0)


def test_the_environment_has_no_scales_before_the_farm_publishes_them(paths):
    assert run_unit.feedback_environment(paths).scales == {}
    published = paths.warehouse.feedback("farm") / "environment.yaml"
    publish_bytes(published, environment(scales={"o": 0.5}))
    assert run_unit.feedback_environment(paths).scales == {"o": 0.5}
    assert run_unit.feedback_environment(paths, set_name="paper").scales == {}


def test_scales_of_a_world_come_before_those_of_a_farm(paths):
    published = paths.warehouse.feedback("farm") / "environment.yaml"
    publish_bytes(published, environment(scales={"o": 0.5}))
    publish_json(paths.scales, {"o": 2.0})
    assert run_unit.feedback_environment(paths).scales == {"o": 2.0}


def test_provenance_names_the_agent_where_there_is_one(paths):
    publish_json(paths.warehouse.agent("a") / "config.json", {})
    for folder in (paths.warehouse.model("base-0"), paths.warehouse.agent("a")):
        publish_bytes(folder / "model.safetensors", str(folder).encode())
    manifest = SimpleNamespace(dataset="d")
    plain = run_unit._provenance(UNIT, paths.warehouse, manifest)
    assert plain["dataset"] == "d" and set(plain) == {"dataset", "base"}
    guided = run_unit._provenance(replace(UNIT, spec="agent:a"), paths.warehouse, manifest)
    assert guided["base"] == plain["base"] != guided["agent"]
