"""s_i of objectives, from runs or from published files."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from dmix.mixing.space.domains import DomainSpace
from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.runs.facts import find_scales, space_of_facts
from dmix.warehouse_schema.files.layout import publish_json

OBJECTIVES = [SimpleNamespace(name="essays", weight=None), SimpleNamespace(name="problems", weight=0.5)]
SETTING = SimpleNamespace(
    settings=SimpleNamespace(objectives=OBJECTIVES, in_layer=lambda layer: OBJECTIVES[:1])
)
NOTHING = {"runs": [], "steps": [], "items": []}


@pytest.fixture
def paths(tmp_path):
    return StudyPaths.of("toy", work=tmp_path / "work", results=tmp_path / "results")


def test_scales_are_one_before_the_first_run(paths):
    found = find_scales(paths, SETTING, NOTHING)
    assert found.scale == {"essays": 1.0, "problems": 1.0}
    assert found.weight == {"essays": 1.0, "problems": 0.5}
    assert not found.published


def test_scales_are_the_deviation_of_the_farm_s_scores_and_final_scores_for_the_rest(paths):
    runs = [
        {"unit_id": unit, "part": part, "status": "done", "base_scores": [base]}
        for unit, part, base in (("a", "draw", 1.0), ("b", "draw", 3.0), ("c", "screening", 90.0))
    ]
    steps = [{"unit_id": unit, "scores": [score]} for unit, score in (("a", 1.0), ("b", 3.0), ("c", 99.0))]
    items = [
        {"unit_id": unit, "objective": "problems", "score": score}
        for unit, score in (("a", 0.0), ("a", 2.0), ("b", 5.0), ("c", 99.0))
    ]
    found = find_scales(paths, SETTING, {"runs": runs, "steps": steps, "items": items})
    assert found.scale["essays"] == pytest.approx(1.0)  # of 1, 1, 3, 3
    assert found.scale["problems"] == pytest.approx(2.0)  # of the means 1 and 5
    assert all(map(math.isfinite, found.scale.values()))


def test_scales_of_a_world_are_those_of_its_file(paths):
    publish_json(paths.scales, {"essays": 0.25, "problems": 4.0})
    found = find_scales(paths, SETTING, NOTHING)
    assert found.scale == {"essays": 0.25, "problems": 4.0} and found.published


def test_domains_come_back_from_the_facts_of_a_setting():
    space = DomainSpace(("x", "y"), np.array([4, 0, 2, 1]))
    facts = {"space": [list(pair) for pair in space.names], "samples": space.samples_N.tolist()}
    found = space_of_facts(facts)
    assert found.names == space.names and found.samples_N.tolist() == [4, 0, 2, 1]
