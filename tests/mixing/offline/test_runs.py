"""Runs of proxies before they become episodes: where they end, and which are best."""

import numpy as np
import pytest

from dmix.mixing.agent.features import RunContext
from dmix.mixing.offline.runs import Run, best_rows, ends_at, scored_runs
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.store import Trajectory
from dmix.warehouse_schema.errors import InputError

SPACE = DomainSpace(("a",), np.array([40, 20]))
CONTEXT = RunContext(space=SPACE, steps=3, supply_N=np.array([4.0, 2.0]))
MIXTURES = np.array([[1.0, 0.0], [0.5, 0.5], [0.5, 0.5], [0.0, 1.0]])


def path(name, rows=4):
    return Trajectory(trajectory_id=name, kind="segments", top_k=None, mixtures_TN=MIXTURES[:rows])


def runs(trajectories, feedback, **more):
    return scored_runs(
        trajectories,
        feedback={name: np.array(scores, float) for name, scores in feedback.items()},
        scales_D=np.array([0.5]),
        context=CONTEXT,
        target_steps=10.0,
        preset="default",
        **more,
    )


@pytest.mark.parametrize(
    ("rows", "target_steps", "end"),
    [(4, 10.0, 3), (3, 10.0, None), (4, 0.5, 1), (4, 0.9, 2), (4, 1.0, 2), (2, 0.5, 1), (4, np.inf, 3)],
)
def test_a_run_ends_at_m_or_where_the_target_is_covered(rows, target_steps, end):
    assert ends_at(MIXTURES[:rows], context=CONTEXT, target_steps=target_steps) == end


def test_changes_are_in_scales_and_cut_before_a_missing_score(caplog):
    whole, cut = runs(
        [path("whole"), path("cut"), path("without"), path("short")],
        {
            "whole": [[-3], [-2], [-2], [-1]],
            "cut": [[-3], [-2], [np.nan], [-1]],
            "short": [[-3], [np.nan]] * 2,
        },
        variations={"cut": "learning_rate*2"},
    )
    assert whole.changes_SD.ravel().tolist() == [0, 2, 2, 4] and whole.gain(np.ones(1)) == 4.0
    assert (whole.ended, whole.is_default_proxy, len(whole.mixtures_TN)) == (True, True, 3)
    assert (cut.ended, cut.is_default_proxy, len(cut.tokens_SX)) == (False, False, 2)
    assert "leaves out short" in caplog.text


def test_a_set_without_usable_scores_and_one_of_another_length_are_refused():
    with pytest.raises(InputError, match="dmix mix collect"):
        runs([path("a")], {})
    with pytest.raises(InputError, match="a has 4 entries, but feedback on 2"):
        runs([path("a")], {"a": [[-3], [-2]]})


@pytest.mark.parametrize(("share", "rows"), [(0.01, [3]), (0.5, [3, 0]), (1.0, [3, 0, 1])])
def test_the_best_comparable_runs_come_first(share, rows):
    comparable_E = np.array([True, True, False, True])
    assert best_rows(np.array([2.0, 1.0, 9.0, 3.0]), comparable_E, share=share).tolist() == rows


def test_nothing_is_best_among_runs_that_cannot_be_compared():
    with pytest.raises(InputError, match="no trajectory of the default proxy"):
        best_rows(np.ones(2), np.zeros(2, bool), share=1.0)


def test_the_gain_of_a_run_is_weighted():
    run = Run(
        tokens_SX=np.zeros((2, 1), np.float32),
        changes_SD=np.array([[0.0, 0.0], [2.0, -4.0]]),
        mixtures_TN=MIXTURES[1:2],
        ended=True,
    )
    assert run.gain(np.array([0.75, 0.25])) == 0.5
