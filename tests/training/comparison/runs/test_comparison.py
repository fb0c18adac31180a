"""The whole learning chain at toy size: text, base model, farm, agents, runs under them, tables and pages."""

import dataclasses
import json
import shutil
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest

from dmix.cli.workflows.data.comparison import prepare_comparison
from dmix.mixing.trajectories.feedback import read_feedback
from dmix.mixing.trajectories.objectives import load_environment
from dmix.training.comparison.data.settings import LAYERS, load_setting
from dmix.training.comparison.data.study_paths import FARM
from dmix.training.comparison.pages.page import write_page
from dmix.training.comparison.runs.comparison import Request, reports, run_comparison, study_of
from dmix.training.comparison.runs.headroom import farm_draws, headroom_draws, restore_feedback
from dmix.training.comparison.runs.trials import finalists, screening_runs
from dmix.training.comparison.units.queue import missing_units
from dmix.warehouse_schema.errors import InputError

# Seventeen runs and three agents: a minute on an idle core, many where cores are shared.
pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]
PREPARE = partial(prepare_comparison, master=None)


@pytest.fixture(scope="module")
def finished(toy_data, toy_setting, tmp_path_factory):
    """The smoke tier, run to its end: the study, the request and the lines of progress."""
    folder = tmp_path_factory.mktemp("smoke")
    loaded, lines = load_setting(str(toy_setting)), []
    request = Request(
        tier="smoke",
        stages=("headroom", "farm", "screening"),
        data=toy_data,
        work=folder / "work",
        results=folder / "results",
        workers=1,
    )
    run_comparison(loaded, request, prepare=PREPARE, progress=lines.append)
    return study_of(loaded, request, lines.append), request, lines


def table(study, name):
    return pq.read_table(study.paths.table(name)).to_pandas()


def test_every_planned_run_is_done(finished):
    study, _, lines = finished
    found = {report.stage: (report.planned, report.done, report.failed) for report in reports(study)}
    assert found == {
        "headroom": (8, 8, 0),
        "farm": (4, 4, 0),
        "screening": (5, 5, 0),
        "paper": (7, 0, 0),
        "confirmation": (2, 0, 0),
    }, "\n".join(lines)


def test_every_run_trains_the_same_number_of_samples_and_all_steps(finished):
    runs = table(finished[0], "runs")
    assert set(runs.steps) == {3}
    assert set(runs.source_samples + runs.target_samples) == {3 * 16}
    assert set(runs.status) == {"done"}


def test_rows_of_the_tables_belong_together(finished):
    runs, steps, items = (table(finished[0], name) for name in ("runs", "steps", "items"))
    assert len(steps) == 3 * len(runs)
    # four items of two objectives in each layer, and of a third one in the confirmation layer
    assert items.groupby(["unit_id", "layer"]).size().unstack().drop_duplicates().to_dict("records") == [
        {"confirmation": 12, "development": 8, "feedback": 8}
    ]
    assert np.allclose([sum(mixture) for mixture in steps.mixture], 1)
    last = steps[steps.step == 3].set_index("unit_id").utility
    assert np.allclose(last.loc[runs.unit_id], runs.utility_feedback, atol=1e-6)


def test_the_farm_is_an_ordinary_set_whose_feedback_agents_learnt_from(finished):
    study = finished[0]
    scores = read_feedback(study.paths.warehouse, FARM)
    assert len(scores) == 8
    assert all(rows.shape == (4, 2) for rows in scores.values())
    published = load_environment(study.paths.warehouse.feedback(FARM) / "environment.yaml")
    facts = json.loads(study.paths.facts.read_text())
    assert facts["scales"] == "published"
    assert {o["name"]: o["scale"] for o in facts["objectives"]} | published.scales == {
        o["name"]: o["scale"] for o in facts["objectives"]
    }
    assert (study.paths.warehouse.agent("rl-0") / "model.safetensors").is_file()


def test_the_headroom_study_is_on_one_seed_and_its_best_are_judged_on_fresh_ones(finished):
    runs = table(finished[0], "runs")
    seeds = runs[runs.stage == "headroom"].groupby("part").seed.unique()
    assert len(seeds["draw"]) == 1
    assert seeds["draw"][0] not in seeds["rerun"]
    assert set(seeds["rerun"]) <= set(seeds["noise"])


def test_finalists_are_the_agent_and_another_controller(finished):
    pair = finalists(finished[0], agent="rl")
    assert pair.agent == "rl"
    assert pair.rival in {"natural", "best-static", "clone", "sft"}
    with pytest.raises(
        InputError, match="agent is 'gpt', expected an agent of the screening: natural, best-static, clone"
    ):
        finalists(finished[0], agent="gpt")


def test_controllers_that_learnt_elsewhere_are_no_finalists(finished):
    beside = ("best-static", "clone", "sft")
    tier = dataclasses.replace(finished[0].tier, controllers=("natural", "rl"), beside=beside)
    study = dataclasses.replace(finished[0], tier=tier)
    assert finalists(study, agent="rl").rival == "natural"
    assert screening_runs(study) == screening_runs(finished[0])


def test_nothing_is_run_again(finished):
    study = finished[0]
    assert missing_units(headroom_draws(study) + farm_draws(study), study.paths) == []


def test_feedback_comes_back_from_the_results_on_a_new_machine(finished):
    study = finished[0]
    folder, units = study.paths.warehouse.feedback(FARM), study.paths.units
    before = read_feedback(study.paths.warehouse, FARM)
    kept = {path: shutil.copytree(path, path.with_name(f"{path.name}-kept")) for path in (folder, units)}
    try:
        shutil.rmtree(units)
        for path in folder.glob("*.parquet"):
            path.unlink()
        restore_feedback(study)
        after = read_feedback(study.paths.warehouse, FARM)
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[name], after[name]) for name in before)
    finally:
        for path, copy in kept.items():
            shutil.rmtree(path, ignore_errors=True)
            copy.rename(path)


def test_a_fresh_work_folder_takes_every_run_and_model_from_the_results(finished, tmp_path):
    study, request, _ = finished
    results = shutil.copytree(request.results, tmp_path / "results")
    lines = []
    fresh = dataclasses.replace(request, work=tmp_path / "work", results=results)
    found = run_comparison(study.loaded, fresh, prepare=PREPARE, progress=lines.append)
    assert [(r.planned, r.done) for r in found][:3] == [(8, 8), (4, 4), (5, 5)]
    paths = study_of(study.loaded, fresh, lines.append).paths
    assert not list(paths.units.glob("*.parquet")), "\n".join(lines)
    assert not list((paths.warehouse.root / "agents").glob("*"))
    weights = [p.warehouse.model("base-0") / "model.safetensors" for p in (paths, study.paths)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert (paths.warehouse.feedback(FARM) / "environment.yaml").is_file()


def test_where_a_run_came_from_is_on_record(finished):
    found = [json.loads(text) for text in table(finished[0], "runs").provenance]
    assert all(set(row) >= {"dataset", "base"} for row in found)
    assert sum("agent" in row for row in found) == 3


def test_layers_of_items_are_disjoint(finished):
    items = table(finished[0], "items")
    essays = items[items.objective == "essays"]
    by_layer = [set(essays[essays.layer == layer].item_id) for layer in LAYERS]
    assert [len(ids) for ids in by_layer] == [4, 4, 4]
    assert len(set.union(*by_layer)) == 12


def test_the_pages_can_be_written(finished, tmp_path):
    write_page(finished[1].results, tmp_path)
    assert "natural" in (tmp_path / "toy.md").read_text()
