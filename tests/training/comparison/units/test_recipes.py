"""Recipes: the same on every machine, and what published rounds are restored by."""

from dataclasses import replace
from pathlib import Path

import pytest

from dmix.training.comparison.data.settings import load_setting
from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.data.tiers import TIERS
from dmix.training.comparison.units.recipes import controller_recipe, current_rows, study_inputs
from dmix.training.comparison.units.store import read_runs, read_tables
from dmix.warehouse_schema.errors import NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, read_json

ROOT = Path(__file__).parents[4]
ROUNDS = sorted((ROOT / "benchmarks" / "results" / "quality").glob("*/*/recipes.json"))
SMALL = TIERS["small"]


def test_the_recipe_follows_the_bytes_of_the_data_and_not_where_they_are(toy_data, toy_setting, tmp_path):
    loaded = load_setting(str(toy_setting))
    copy = tmp_path / "copy"
    for file in sorted(toy_data.rglob("*.jsonl")):
        target = copy / file.relative_to(toy_data)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    assert study_inputs(loaded, copy) == study_inputs(loaded, toy_data)
    changed = tmp_path / "changed"
    copy.rename(changed)
    (changed / "items" / "problems.jsonl").write_text('{"id": "q", "question": "a", "answer": "b"}\n')
    assert study_inputs(loaded, changed) != study_inputs(loaded, toy_data)


def test_data_that_are_not_there_are_named(toy_setting, tmp_path):
    with pytest.raises(NotFoundError, match="no file matches"):
        study_inputs(load_setting(str(toy_setting)), tmp_path)


def test_a_trained_agent_is_its_settings_and_its_farm(toy_setting, tmp_path):
    def recipe(spec, tier=SMALL):
        given = {"loaded": load_setting(str(toy_setting)), "warehouse": Warehouse.at(tmp_path)}
        return controller_recipe(spec, tier=tier, **given)

    other_training = replace(SMALL, rl=replace(SMALL.rl, steps=SMALL.rl.steps + 1))
    other_farm = replace(SMALL, candidates=SMALL.candidates + 1)
    assert recipe("agent:rl-0") == recipe("agent:rl-0")
    assert recipe("agent:rl-0") != recipe("agent:rl-1")
    assert recipe("agent:rl-0") != recipe("agent:rl-0", other_training)
    assert recipe("agent:sft-0") == recipe("agent:sft-0", other_training)
    assert recipe("agent:sft-0") != recipe("agent:sft-0", other_farm)
    assert recipe("natural") == "" == recipe("natural", other_farm)
    with pytest.raises(NotFoundError):
        recipe("agent:somebody")


@pytest.mark.parametrize("recipes", ROUNDS, ids=lambda path: f"{path.parts[-3]}-{path.parts[-2]}")
def test_every_published_run_is_one_that_would_be_asked_for_today(recipes, tmp_path):
    name = recipes.parent.name
    paths = StudyPaths(tmp_path, recipes.parent)
    facts = read_json(paths.facts)
    done = [row for row in read_runs(paths) if row["status"] == "done"]
    found = current_rows(
        done,
        loaded=load_setting(str(ROOT / "benchmarks" / "quality" / f"{name}.yaml")),
        tier=TIERS[facts["tier"]],
        inputs=read_json(recipes)["inputs"],
        paths=paths,
    )
    assert len(found) == len(done) == len({row["unit_id"] for row in found})
    steps = {row["unit_id"] for row in read_tables(paths)["steps"]}
    assert steps == {row["unit_id"] for row in found}
    if facts["promised"] or "hypothesis" in facts:
        stages = [row["stage"] for row in found]
        assert all(stages.count(stage) >= planned for stage, planned in facts["planned"].items())


def test_there_are_published_rounds():
    assert {path.parent.parent.name for path in ROUNDS} == {"small", "first-round"}
