"""What a proxy is asked for, and what becomes of one whose text ran out."""

from dataclasses import replace

import numpy as np
import pytest

from dmix.training.farm.proxy import (
    proxy_job,
    proxy_result,
)
from dmix.training.run.assembly.result import OPTIMIZER_FILE


@pytest.mark.parametrize(("passes", "rule"), [(1, "redistribute"), (4, "repeat")])
def test_exhausted_domains_hand_over_or_repeat(task, trajectory, tiny_warehouse, passes, rule):
    job = proxy_job(replace(task, max_passes=passes), trajectory, warehouse=tiny_warehouse)
    assert (job.plan.exhaustion, job.plan.max_passes, job.steps) == (rule, passes, 3)
    assert (job.kind, job.keep_checkpoints, job.optimizer) == ("proxy", False, None)


def test_a_proxy_goes_on_from_its_base_model_and_its_optimiser(task, trajectory, tiny_warehouse, tmp_path):
    base = tmp_path / "base-0"
    job = proxy_job(replace(task, base=base), trajectory, warehouse=tiny_warehouse)
    assert (job.model, job.optimizer) == (str(base), base / OPTIMIZER_FILE)


def test_a_variation_by_another_base_model_starts_from_that(task, trajectory, tiny_warehouse, tmp_path):
    base, other = tmp_path / "base-0", tmp_path / "base-1"
    varied = replace(task, base=base, other_bases=(other,), proxy=replace(task.proxy, init="base", vary=1.0))
    jobs = [
        proxy_job(varied, replace(trajectory, trajectory_id=f"static-{n:04d}"), warehouse=tiny_warehouse)
        for n in range(20)
    ]
    assert {job.model for job in jobs} == {str(base), str(other)}
    assert all(job.optimizer.parent.name == job.model.rsplit("/", 1)[-1] for job in jobs)
    # among 20 there is one that learns faster
    assert any(job.training.learning_rate == 2e-3 for job in jobs)


def test_a_proxy_whose_text_ran_out_has_nan_for_the_steps_that_are_missing(task, trajectory, space, caplog):
    planned_SN = np.stack([space.start_N] * 2)
    scores_TD = np.arange(6.0).reshape(3, 2)
    found = proxy_result(task, trajectory, space=space, planned_SN=planned_SN, scores_TD=scores_TD)
    assert np.array_equal(found.scores_TD[:3], scores_TD) and np.isnan(found.scores_TD[3]).all()
    # trained mixtures, and the asked one where nothing was trained
    assert np.array_equal(found.planned_TN[1:3], planned_SN)
    assert np.array_equal(found.planned_TN[3], trajectory.mixtures_TN[3])
    assert "ran out of samples after 2 of 3 steps" in caplog.text
    assert not np.shares_memory(found.planned_TN, trajectory.mixtures_TN)
