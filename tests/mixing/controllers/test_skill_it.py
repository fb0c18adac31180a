"""Skill-It: shares by hand, and what it does with missing scores."""

import numpy as np
import pytest

from dmix.mixing.controllers.skill_it import SkillItController, helping_graph, recent_losses, shares
from dmix.warehouse_schema.errors import InputError

GRAPH = np.array([[0.0], [0.0], [0.5], [1.0]])


def controller():
    return SkillItController(GRAPH, objectives=("x",), name="skill-it:e")


def test_the_graph_is_the_positive_part_over_its_largest_entry():
    assert helping_graph(np.array([[-1.0, 0.5], [2.0, 0.0]])).tolist() == [[0, 0.25], [1, 0]]
    assert helping_graph(-np.ones((2, 1))).tolist() == [[0], [0]]


def test_the_first_step_counts_every_loss_as_one(space, history):
    got = controller().propose(history(1)).mixture_N
    raised = np.array([1, 0, np.exp(0.2 * 0.5), np.exp(0.2)])
    assert got == pytest.approx(raised / raised.sum())


def test_shares_follow_the_mean_of_the_last_three_losses(space, history):
    scores = np.array([[-9.0], [-8.0], [-3.0], [-2.0], [-1.0]])
    got = controller().propose(history(5, feedback_TD=scores)).mixture_N
    raised = np.array([1, 0, np.exp(0.2 * 0.5 * 2), np.exp(0.2 * 2)])
    assert got == pytest.approx(raised / raised.sum())


def test_missing_scores_are_left_out_and_objectives_without_weight_count_for_nothing(history):
    scores = np.array([[-5.0, -5.0, -5.0], [-4.0, np.nan, -9.0], [np.nan, np.nan, -9.0]])
    made = history(3, feedback_TD=scores, objectives=("a", "b", "c"), weights_D=np.array([0.5, 0.5, 0.0]))
    # a: the one score that is there; b: the mean of those known (4 and 9); c: no weight
    assert recent_losses(made).tolist() == [4, 6.5, 0]


def test_a_helpful_domain_gets_more_the_larger_the_loss(space):
    low, high = (shares(GRAPH, np.array([loss]), active_N=space.active_N) for loss in (1.0, 5.0))
    assert high[3] > low[3] > low[2] and high[1] == 0
    assert high.sum() == pytest.approx(1)


def test_other_objectives_are_refused(history):
    with pytest.raises(InputError, match=r"added y; removed x.*dmix mix probe"):
        controller().propose(history(1, objectives=("y",)))
