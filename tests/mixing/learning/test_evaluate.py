"""Off-policy evaluation against the simulator, where the truth is known, and the report on disk."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.mixing.testbed.simulator import Simulator
from tests.mixing.testbed.static_agents import CONFIG, static_agent

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.set_encoder import SetAgentConfig
from dmix.mixing.agent.set_features import split_tokens
from dmix.mixing.agent.store import publish_agent
from dmix.mixing.learning.evaluate import evaluate_agent, load_subject
from dmix.mixing.learning.fqe import fitted_value
from dmix.mixing.learning.settings.evaluate import EvaluateSettings
from dmix.mixing.trajectories.store import read_trajectories
from dmix.mixing.world_model.learned_simulator import SimulatorSettings
from dmix.warehouse_schema.errors import InputError, NotFoundError

TWO = Simulator().restricted([0, 3], steps=5)
MODEL = SimulatorSettings(steps=500, batch_episodes=32, learning_rate=5e-3, width=32, held_out=0.2, seed=0)


@pytest.fixture
def farm(simulated_farm):
    """A warehouse with a small simulated farm `farm` and an agent `held`."""
    warehouse = simulated_farm(TWO)
    publish_agent(warehouse, agent=static_agent([0.5, 0.0]), name="held", stage="sft", notes=())
    return warehouse


TINY = EvaluateSettings(repeats=2, fqe_steps=20, simulator_steps=20, hidden_size=8, heads=2, batch_episodes=8)


def test_report_is_written_beside_the_agent_and_its_scratch_goes(farm):
    report = evaluate_agent(farm, set_name="farm", agent_name="held", settings=TINY)
    stored = json.loads((farm.agent("held") / "evaluation-farm.json").read_text())
    assert stored == json.loads(json.dumps(report))
    assert report["fitted_q"]["low"] <= report["fitted_q"]["mean"] <= report["fitted_q"]["high"]
    assert set(report["learned_simulator"]) == {"held_out_r2", "agent", "natural", "best_of_farm"}
    assert 0 <= report["guard"]["steps_beyond_share"] <= 1
    assert report["farm"]["trajectories"] == len(read_trajectories(farm, "farm"))
    assert not list(farm.root.glob(".evaluate*"))


def test_broken_off_evaluation_goes_on_without_repeating_what_is_done(farm, monkeypatch):
    calls = []

    def counted(*arguments, **named):
        calls.append(named["seed"])
        return fitted_value(*arguments, **named)

    def broken(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("dmix.mixing.learning.evaluate.fitted_value", counted)
    with monkeypatch.context() as inner:
        inner.setattr("dmix.mixing.learning.evaluate.fit_simulator", broken)
        with pytest.raises(KeyboardInterrupt):
            evaluate_agent(farm, set_name="farm", agent_name="held", settings=TINY)
    evaluate_agent(farm, set_name="farm", agent_name="held", settings=TINY)
    assert calls == [0, 1]


def test_unfitting_subjects_are_refused(farm):
    with pytest.raises(NotFoundError, match="agent 'none'"):
        load_subject(farm, set_name="farm", agent_name="none")
    blind = MixingAgent(MixingAgentConfig(**{**CONFIG, "objectives": [], "scales": []}))
    publish_agent(farm, agent=blind, name="blind", stage="sft", notes=())
    with pytest.raises(InputError, match="reads the objectives none, but set 'farm' has general, target"):
        load_subject(farm, set_name="farm", agent_name="blind")


def set_agent(**changes):
    config = {name: value for name, value in CONFIG.items() if name != "labels"}
    torch.manual_seed(0)
    return SetAgent(SetAgentConfig(**{**config, "domain_width": 8, **changes}))


def test_set_agent_is_judged_in_a_space_and_on_objectives_that_it_never_saw(farm):
    elsewhere = set_agent(objectives=["other"], scales=[0.1])
    publish_agent(farm, agent=elsewhere, name="any", stage="sft", notes=())
    found, _ = load_subject(farm, set_name="farm", agent_name="any")
    _, domains, objectives = split_tokens(found.episodes.tokens_ESX, domains=len(found.space))
    assert (domains.shape[-2], objectives.shape[-2]) == (2, 2)
    once = replace(TINY, repeats=1)
    report = evaluate_agent(farm, set_name="farm", agent_name="any", settings=once)
    assert np.isfinite(report["fitted_q"]["mean"])
    assert np.isfinite(report["learned_simulator"]["agent"]["mean"])
    assert report == evaluate_agent(farm, set_name="farm", agent_name="any", settings=once)


def test_set_agent_without_feedback_is_not_judged_by_scores_that_it_would_not_read(farm):
    publish_agent(farm, agent=set_agent(objectives=[], scales=[]), name="blind-set", stage="sft", notes=())
    with pytest.raises(InputError, match="reads the objectives none, but set 'farm' has general, target"):
        load_subject(farm, set_name="farm", agent_name="blind-set")
