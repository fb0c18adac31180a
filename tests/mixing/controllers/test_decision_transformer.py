"""A controller that asks for an outcome, on farms where the outcome tells the mixture."""

from dataclasses import replace

import numpy as np
import pytest
from tests.manifests import trajectory_set

from dmix.mixing.controllers import decision_transformer
from dmix.mixing.controllers.registry import check_controller, make_controller, prepare_controller
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.mixing.trajectories.feedback import write_feedback
from dmix.mixing.trajectories.store import Trajectory, publish_set, write_trajectory
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

SPACE = DomainSpace(("a", "b"), np.array([400, 300, 200, 0]))
STEPS = 3
SHARES = np.linspace(0.02, 0.98, 30)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    settings = SftSettings(hidden_size=16, feedforward=32, heads=2, layers=1, epochs=80)
    monkeypatch.setattr(decision_transformer, "SETTINGS", settings)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    """Static runs; each step adds its target share to the score, so that a run ends at three times it."""
    warehouse = Warehouse.at(tmp_path_factory.mktemp("decision"))
    publish_set(
        warehouse,
        trajectory_set(SPACE.names, SPACE.samples_N, steps=STEPS),
    )
    for number, share in enumerate(SHARES):
        mixture_N = SPACE.expand(np.array([1 - share, share]))
        one = Trajectory(
            trajectory_id=f"static-{number:04d}",
            kind="static",
            top_k=None,
            mixtures_TN=np.vstack([SPACE.start_N, np.tile(mixture_N, (STEPS, 1))]),
        )
        write_trajectory(warehouse.trajectories("set"), one)
        write_feedback(
            warehouse,
            set_name="set",
            trajectory_id=one.trajectory_id,
            objectives=("x",),
            scores_TD=-5 + share * np.arange(STEPS + 1.0)[:, None],
        )
    return warehouse


def history(scores):
    rows = np.vstack([SPACE.start_N, np.tile(SPACE.natural_N, (len(scores) - 1, 1))])
    return History(
        space=SPACE,
        mixtures_TN=rows,
        feedback_TD=np.array(scores)[:, None],
        objectives=("x",),
        weights_D=np.ones(1),
        scales_D=np.ones(1),
        steps=STEPS,
        step_samples=20,
        remaining_samples_N=SPACE.samples_N,
        seed=0,
    )


def controller(warehouse, argument="set"):
    spec = f"decision-transformer:{argument}"
    prepare_controller(spec, warehouse=warehouse, space=SPACE, progress=print)
    return make_controller(spec, warehouse=warehouse, space=SPACE)


@pytest.mark.parametrize(("argument", "low", "high"), [("set", 0.8, 1.0), ("set:0.05", 0.0, 0.25)])
def test_it_does_what_runs_of_the_asked_outcome_did(warehouse, argument, low, high):
    proposal = controller(warehouse, argument).propose(history([-5.0]))
    assert not proposal.note and proposal.mixture_N.sum() == pytest.approx(1)
    assert proposal.mixture_N[3] == 0
    assert low <= SPACE.coarsen(proposal.mixture_N)[1] <= high


def test_the_network_is_told_what_is_still_to_gain(warehouse, monkeypatch):
    made = controller(warehouse, "set:0.5")
    seen = []

    def spy(tokens_TX, active_N):
        seen.append(tokens_TX)
        return SPACE.natural_N

    monkeypatch.setattr(made._network, "next_mixture", spy)
    made.propose(history([-5.0, -4.4, np.nan, -4.0]))
    outcomes = STEPS * SHARES
    togo_T = (np.quantile(outcomes, 0.5) - np.array([0, 0.6, 0.6, 1.0])) / outcomes.std()
    assert seen[0][:, -1] == pytest.approx(togo_T, rel=1e-4)
    assert seen[0].shape[1] == made._network.config.token_width + 1


def test_a_missing_first_or_last_score_gives_natural_shares(warehouse):
    made = controller(warehouse)
    for scores in ([np.nan, -4.0], [-5.0, np.nan]):
        proposal = made.propose(history(scores))
        assert "a score is missing" in proposal.note
        np.testing.assert_array_equal(proposal.mixture_N, SPACE.natural_N)


def test_it_is_trained_once_and_kept_with_the_set(warehouse, monkeypatch):
    first = controller(warehouse).propose(history([-5.0])).mixture_N

    def refuse(*given, **named):
        raise AssertionError("trained again")

    monkeypatch.setattr(decision_transformer, "fit", refuse)
    np.testing.assert_array_equal(controller(warehouse).propose(history([-5.0])).mixture_N, first)
    monkeypatch.setattr(decision_transformer, "SETTINGS", replace(decision_transformer.SETTINGS, seed=1))
    with pytest.raises(AssertionError, match="trained again"):
        controller(warehouse)


@pytest.mark.parametrize("quantile", ["1.5", "-0.1", "best", ""])
def test_a_quantile_that_is_none_is_refused(warehouse, quantile):
    with pytest.raises(InputError, match="expected 0 to 1"):
        controller(warehouse, f"set:{quantile}")


def test_a_set_of_other_domains_is_refused(warehouse):
    other = DomainSpace(("x", "y"), SPACE.samples_N)
    with pytest.raises(InputError, match=r"has other domains than the dataset of the run"):
        check_controller("decision-transformer:set", warehouse=warehouse, space=other)
