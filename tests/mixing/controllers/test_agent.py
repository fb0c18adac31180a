"""The agent in a run: found, read and replaced by natural shares where it cannot answer."""

import numpy as np
import pytest
import torch
from tests.mixing.controllers.four_pairs import SPACE, history, propose

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.agent.store import publish_agent
from dmix.mixing.controllers.agent import AgentController
from dmix.mixing.controllers.registry import make_controller
from dmix.warehouse_schema.errors import InputError, NotFoundError


def agent(**changes):
    torch.manual_seed(0)
    given = {"labels": SPACE.labels, "objectives": ["x"], "scales": [0.5], "hidden_size": 16, "heads": 2}
    return MixingAgent(MixingAgentConfig(**{**given, "feedforward": 32, **changes})).eval()


def test_agent_is_found_by_name_and_by_folder(warehouse):
    folder = publish_agent(warehouse, agent=agent(), name="first", stage="sft", notes=[])
    by_name, by_folder = (propose(f"agent:{name}", warehouse) for name in ("first", folder))
    assert np.array_equal(by_name, by_folder)
    assert by_name.dtype == np.float64
    assert by_name.sum() == pytest.approx(1, abs=1e-15)
    assert by_name[1] == 0


def test_agent_of_other_labels_is_refused(warehouse):
    publish_agent(warehouse, agent=agent(labels=["a", "b"]), name="first", stage="sft", notes=[])
    with pytest.raises(
        InputError,
        match=r"agent 'first' has 2 labels \(a, b, …\), .*dataset has 2 \(News-2, .*--architecture set",
    ):
        make_controller("agent:first", warehouse=warehouse, space=SPACE)


def test_missing_agent_is_not_found(warehouse):
    with pytest.raises(NotFoundError, match=r"has: none yet\. dmix has:"):
        make_controller("agent:first", warehouse=warehouse, space=SPACE)


@pytest.mark.parametrize("missing_row", [0, 2])
def test_missing_score_falls_back_to_natural_shares(missing_row):
    feedback = np.array([[-3.0], [-2.9], [-2.8]])
    controller = AgentController(agent())
    assert not np.array_equal(controller.propose(history(3, feedback)).mixture_N, SPACE.natural_N)
    feedback[missing_row] = np.nan
    proposal = controller.propose(history(3, feedback))
    assert np.array_equal(proposal.mixture_N, SPACE.natural_N)
    assert proposal.note == "a score is missing, so this step uses natural mixing"


def test_older_missing_score_does_not_stop_the_agent():
    feedback = np.array([[-3.0], [np.nan], [-2.8]])
    assert not np.array_equal(
        AgentController(agent()).propose(history(3, feedback)).mixture_N, SPACE.natural_N
    )


def test_agent_that_reads_no_scores_needs_none():
    controller = AgentController(agent(objectives=[], scales=[]))
    first = controller.propose(history(2, np.full((2, 1), np.nan))).mixture_N
    assert np.array_equal(first, controller.propose(history(2)).mixture_N)
    assert not np.array_equal(first, SPACE.natural_N)


def test_broken_agent_falls_back_to_natural_shares():
    broken = agent()
    torch.nn.init.constant_(broken.head.bias, float("nan"))
    proposal = AgentController(broken).propose(history(2))
    assert np.array_equal(proposal.mixture_N, SPACE.natural_N)
    assert "no finite mixture" in proposal.note


def test_run_without_the_agents_objective_is_refused():
    with pytest.raises(InputError, match="has no x; use the environment file of its training"):
        AgentController(agent()).propose(history(2, objectives=("y",)))


def test_other_target_supply_is_remarked_on_once_at_the_start():
    controller = AgentController(agent(target_supply=0.35), name="agent:first")
    (event,) = controller.propose(history(1)).events  # 70 target samples / (20 * 5) = 0.7
    assert event.kind == "supply"
    assert "0.7 samples of target text for each sample of this run, and 0.35 in" in event.detail
    assert "--samples-per-step to about 40" in event.detail
    assert controller.propose(history(2)).events == ()
    assert AgentController(agent(target_supply=0.7)).propose(history(1)).events == ()
