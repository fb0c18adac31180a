"""Tokens: their layout worked by hand, and that training and runs build the same ones."""

from dataclasses import replace

import numpy as np
import pytest

from dmix.mixing.agent.features import RunContext, history_tokens, token_width, tokens
from dmix.mixing.agent.set_features import ObjectiveSpec
from dmix.mixing.agent.standardise import LARGEST_FEATURE, features
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History, TruncatedHistory

SPACE = DomainSpace(("a", "b"), np.array([40, 0, 40, 20]))
MIXTURES = np.array([[1, 0, 0, 0], [0.5, 0, 0.25, 0.25], [0.25, 0, 0.25, 0.5]])
FEEDBACK = np.array([[0.0, 0.0], [1.0, -5.0], [2.0, 0.5]])
# R = 20 and M = 4: supply of 2, 0, 2 and 1 steps
CONTEXT = RunContext(space=SPACE, steps=4, supply_N=SPACE.samples_N / 20)
OBJECTIVE_SPEC = ObjectiveSpec(weights_D=np.array([0.25, 0.75]), roles_D=np.array([-1, 1]))


def test_paper_token_is_mixture_and_feedback():
    found = tokens(MIXTURES, FEEDBACK, context=CONTEXT, preset="paper")
    assert found == pytest.approx(np.hstack([MIXTURES, FEEDBACK]))
    assert found.shape[1] == token_width(domains=4, objectives=2, preset="paper")


def test_default_token_worked_by_hand():
    found = tokens(MIXTURES, FEEDBACK, context=CONTEXT, preset="default")
    assert found.shape == (3, token_width(domains=4, objectives=2, preset="default"))
    assert found[:, :4] == pytest.approx(MIXTURES)
    assert found[:, 4:6] == pytest.approx(FEEDBACK / LARGEST_FEATURE)
    assert found[:, 6] == pytest.approx([1, 0.75, 0.5])
    # supply 2, 0, 2, 1; used .75, 0, .5, .75 after two steps; two steps remain; over sqrt(4)
    assert found[2, 7:11] == pytest.approx(np.array([1.25 / 2, 0, 0.75, 0.125]) / 2)
    assert found[1, 11:15] == pytest.approx([0.4, 0, 0.4, 0.2])
    assert found[1, 15:19] == pytest.approx([0.5, 0, 0.5, 0.5])


def test_shares_that_last_for_the_whole_run_are_at_most_one():
    context = RunContext(space=SPACE, steps=4, supply_N=np.array([100.0, 0, 0.1, 3]))
    found = tokens(MIXTURES, FEEDBACK, context=context, preset="default")
    assert found[:, 7] * 2 == pytest.approx([1, 1, 1])
    assert found[2, 9] == 0


def history(length, **changes):
    scores = np.array([[-3.0, -2.0, -1.0], [-2.5, -2.4, -1.1], [-2.2, -1.9, -1.3]])
    used = MIXTURES[1:length].sum(0) * 20
    given = {
        "space": SPACE,
        "mixtures_TN": MIXTURES[:length],
        "feedback_TD": scores[:length],
        "objectives": ("x", "y", "z"),
        "weights_D": np.full(3, 1 / 3),
        "scales_D": np.array([9.0, 9.0, 9.0]),
        "steps": 4,
        "step_samples": 20,
        "remaining_samples_N": SPACE.samples_N - used.astype(int),
        "seed": 0,
    }
    return History(**{**given, **changes})


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_run_builds_the_tokens_of_training(length):
    scales = np.array([0.1, 0.2])
    run = history(length)
    (feedback,) = features([run.feedback_TD[:, [2, 0]]], scales_D=scales, preset="default")
    wanted = tokens(MIXTURES[:length], feedback, context=CONTEXT, preset="default")
    found = history_tokens(run, objectives=("z", "x"), scales_D=scales, preset="default")
    assert found == pytest.approx(wanted)


def test_agent_without_objectives_sees_no_feedback():
    found = history_tokens(history(2), objectives=(), scales_D=np.empty(0), preset="paper")
    assert found == pytest.approx(MIXTURES[:2])


@pytest.mark.parametrize(
    ("preset", "objective_spec"),
    [("paper", None), ("default", None), ("default", OBJECTIVE_SPEC)],
    ids=["paper", "default", "set"],
)
def test_several_runs_at_once_give_the_tokens_of_each(preset, objective_spec):
    rng = np.random.default_rng(0)
    context = replace(CONTEXT, objective_spec=objective_spec)
    mixtures_PTN = rng.dirichlet(np.ones(4), (5, 3)) * SPACE.active_N
    scores_PTD = rng.normal(size=(5, 3, 2))
    scales_D = np.array([0.5, 2.0])
    (seen_PTD,) = features([scores_PTD], scales_D=scales_D, preset="default")
    together = tokens(mixtures_PTN, seen_PTD, context=context, preset=preset)
    for run in range(5):
        (seen_TD,) = features([scores_PTD[run]], scales_D=scales_D, preset="default")
        alone = tokens(mixtures_PTN[run], seen_TD, context=context, preset=preset)
        np.testing.assert_array_equal(together[run], alone)


def test_a_run_that_forgot_steps_builds_the_same_last_tokens():
    rng = np.random.default_rng(0)
    mixtures = rng.dirichlet(np.ones(4), 9) * [1, 0, 1, 1]
    scores = rng.normal(size=(9, 2))
    scores[2, 0] = scores[4, 1] = np.nan  # forgotten ones among them
    given = {"objectives": ("x", "y"), "scales_D": np.ones(2), "weights_D": np.ones(2) / 2, "steps": 12}
    whole = history(1, mixtures_TN=mixtures, feedback_TD=scores, **given)
    context, rows = 3, [0, -3, -2, -1]
    truncated = TruncatedHistory.nothing(2)
    for first, end in ((1, 3), (3, 6)):
        truncated = truncated.then(scores[first:end], first_D=scores[0])
    held = history(1, mixtures_TN=mixtures[rows], feedback_TD=scores[rows], truncated=truncated, **given)
    assert (held.step, held.truncated_steps) == (whole.step, 5) == (9, 5)
    for objectives, preset in ((("x", "y"), "default"), (("y",), "default"), ((), "paper")):
        scales = np.full(len(objectives), 0.3)
        wanted, found = (
            history_tokens(run, objectives=objectives, scales_D=scales, preset=preset)[-context:]
            for run in (whole, held)
        )
        assert found == pytest.approx(wanted, abs=1e-6)
        # what depends on scores agrees to the last bit
        assert np.array_equal(found[:, 4 : 4 + len(objectives)], wanted[:, 4 : 4 + len(objectives)])


def test_forgotten_scores_worked_by_hand():
    first = np.array([1.0, np.nan])
    truncated = TruncatedHistory.nothing(2).then(np.array([[3.0, 5.0], [np.nan, 6.0]]), first_D=first)
    # (3 - 1)^2; nothing can be said of an objective without its first score
    assert (truncated.steps, truncated.scores_D.tolist(), truncated.squares_D.tolist()) == (2, [1, 0], [4, 0])
    again = TruncatedHistory.from_json(truncated.to_json())
    assert again.to_json() == truncated.to_json()
