"""The stage `paper` at toy size: Algorithm 1 and SFT and CQL as the paper has them, proxies from scratch."""

from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest

from dmix.cli.workflows.data.comparison import prepare_comparison
from dmix.mixing.agent.store import load_agent
from dmix.mixing.trajectories.feedback import read_feedback
from dmix.mixing.trajectories.store import read_set, read_trajectories
from dmix.training.comparison.data.settings import load_setting
from dmix.training.comparison.data.study_paths import PAPER
from dmix.training.comparison.runs.comparison import Request, run_comparison, study_of
from dmix.training.comparison.runs.paper import paper_draws

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]


@pytest.fixture(scope="module")
def finished(toy_data, toy_setting, tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    loaded, lines = load_setting(str(toy_setting)), []
    request = Request(
        tier="smoke",
        stages=("paper",),
        data=toy_data,
        work=folder / "work",
        results=folder / "results",
        workers=1,
    )
    prepare = partial(prepare_comparison, master=None)
    reports = run_comparison(loaded, request, prepare=prepare, progress=lines.append)
    return study_of(loaded, request, lines.append), reports, lines


def test_every_run_of_the_stage_is_done(finished):
    _, reports, lines = finished
    found = {report.stage: (report.planned, report.done, report.failed) for report in reports}
    assert found["paper"] == (7, 7, 0), "\n".join(lines)


def test_the_set_is_the_papers_and_its_proxies_start_from_random_weights(finished):
    study, *_ = finished
    warehouse = study.paths.warehouse
    found = read_set(warehouse, PAPER)
    assert found.preset == "paper" and found.settings["random_paths"] == 0
    assert [t.kind for t in read_trajectories(warehouse, PAPER)] == ["inductive"] * 4
    scores = read_feedback(warehouse, PAPER)
    first = np.array([rows[0] for rows in scores.values()])
    # before any training all of them are the same random model, far below the base model
    assert len(first) == 4 and np.ptp(first, axis=0).max() < 1e-6
    runs = pq.read_table(study.paths.table("runs")).to_pandas()
    base = np.array(runs[runs.controller == "natural"].base_scores.tolist())
    assert (base > first[0] + 0.1).all()


def test_agents_and_runs_are_of_the_papers_preset(finished):
    study, *_ = finished
    for name in ("paper-sft", "paper-rl"):
        assert load_agent(study.paths.warehouse, name).config.preset == "paper"
    runs = pq.read_table(study.paths.table("runs")).to_pandas()
    assert set(runs[runs.part == "controller"].controller) == {"natural", "paper-sft", "paper-rl"}


def test_nothing_is_asked_for_again(finished):
    study, *_ = finished
    done = set(pq.read_table(study.paths.table("runs")).to_pandas().unit_id)
    assert {unit.unit_id for unit in paper_draws(study)} <= done
