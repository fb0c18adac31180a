"""The set agent: what it does not depend on, the spaces it serves, causality, its form on disk."""

import numpy as np
import pytest
import torch

from dmix.mixing.agent.features import RunContext, tokens
from dmix.mixing.agent.inputs import reading, run_tokens
from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.set_encoder import SetAgentConfig
from dmix.mixing.agent.set_features import ObjectiveSpec
from dmix.mixing.agent.store import load_agent, publish_agent
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

STEPS = 6


def made_agent(**changes):
    """A set agent whose heads are no longer at zero, so that everything it reads matters."""
    torch.manual_seed(0)
    small = {"hidden_size": 16, "heads": 2, "feedforward": 32, "domain_width": 8, "context": 8}
    config = SetAgentConfig(
        **{**small, "objectives": ["x", "y"], "scales": [0.1, 0.2], **changes}, initializer_range=0.3
    )
    agent = SetAgent(config).eval()
    for head in (agent.fields, agent.tilt):
        torch.nn.init.normal_(head.weight, std=1.0)
    return agent


def made_space(labels, *, seed=0, empty=()):
    samples = np.random.default_rng(seed).integers(20, 200, 2 * labels)
    samples[list(empty)] = 0
    return DomainSpace(tuple(f"label-{i}" for i in range(labels)), samples)


def made_run(space, *, objectives=2, steps=STEPS, seed=0):
    """Mixtures, features and goals of a run so far."""
    rng = np.random.default_rng(seed)
    drawn = rng.dirichlet(np.ones(len(space)), steps - 1) * space.active_N
    mixtures = np.vstack([space.start_N, drawn / drawn.sum(1, keepdims=True)])
    weights = rng.dirichlet(np.ones(objectives)) if objectives else np.zeros(0)
    roles = [("general", "target")[i % 2] for i in range(objectives)]
    return mixtures, rng.normal(size=(steps, objectives)), ObjectiveSpec.of(weights, roles)


def decisions(agent, space, run, *, dtype=torch.float32):
    """The mixtures after each token, shape (T, N)."""
    mixtures, feedback, objective_spec = run
    context = RunContext(space=space, steps=10, supply_N=space.samples_N / 100, objective_spec=objective_spec)
    read = torch.from_numpy(tokens(mixtures, feedback, context=context, preset="default")).to(dtype)
    with torch.no_grad():
        return agent.to(dtype)(read[None], torch.tensor(space.active_N)[None])[0].double().numpy()


def test_untrained_it_draws_half_from_each_field_at_natural_shares():
    space = made_space(5, empty=(2, 7))
    found = decisions(SetAgent(SetAgentConfig()).eval(), space, made_run(space))
    assert found == pytest.approx(np.tile(space.expand(np.array([0.5, 0.5])), (STEPS, 1)), abs=1e-6)


def test_domains_of_a_field_in_another_order_give_the_mixture_in_that_order():
    agent, space = made_agent(), made_space(6, empty=(1,))
    mixtures, feedback, objective_spec = made_run(space)
    order = np.concatenate([[3, 0, 5, 1, 2, 4], 6 + np.array([2, 1, 0, 4, 5, 3])])
    moved = DomainSpace(space.labels, space.samples_N[order])
    first = decisions(agent, space, (mixtures, feedback, objective_spec), dtype=torch.float64)
    second = decisions(agent, moved, (mixtures[:, order], feedback, objective_spec), dtype=torch.float64)
    assert second == pytest.approx(first[:, order], abs=1e-6)
    assert not np.allclose(first, first[:, order], atol=1e-3)


def test_objectives_in_another_order_change_nothing():
    agent, space = made_agent(), made_space(4)
    mixtures, feedback, objective_spec = made_run(space, objectives=5)
    order = np.array([4, 2, 0, 1, 3])
    moved = ObjectiveSpec(weights_D=objective_spec.weights_D[order], roles_D=objective_spec.roles_D[order])
    first = decisions(agent, space, (mixtures, feedback, objective_spec))
    assert decisions(agent, space, (mixtures, feedback[:, order], moved)) == pytest.approx(first, abs=1e-6)
    other = decisions(agent, space, (mixtures, feedback[:, order], objective_spec))
    assert not np.allclose(other, first, atol=1e-4)


def test_domains_without_samples_change_nothing():
    agent, space = made_agent(), made_space(3)
    mixtures, feedback, objective_spec = made_run(space)
    # of six labels 1, 3 and 5 are empty in the source, 0, 2 and 4 in the target
    at = np.array([0, 2, 4, 7, 9, 11])
    samples, wide = np.zeros(12, np.int64), np.zeros((STEPS, 12))
    samples[at], wide[:, at] = space.samples_N, mixtures
    padded = DomainSpace(tuple("abcdef"), samples)
    found = decisions(agent, padded, (wide, feedback, objective_spec))
    assert found[:, at] == pytest.approx(
        decisions(agent, space, (mixtures, feedback, objective_spec)), abs=1e-6
    )
    assert (np.delete(found, at, axis=1) == 0).all()


@pytest.mark.parametrize("domains", [2, 6, 52, 70, 1152])
@pytest.mark.parametrize("objectives", [0, 1, 6])
def test_one_agent_serves_any_number_of_domains_and_objectives(domains, objectives):
    agent = made_agent()
    empty = range(1, domains // 2, 3) if domains > 2 else ()
    space = made_space(domains // 2, empty=empty)
    found = decisions(agent, space, made_run(space, objectives=objectives))
    assert found.shape == (STEPS, domains)
    assert found.sum(1) == pytest.approx(np.ones(STEPS), abs=1e-5)
    assert (found[:, ~space.active_N] == 0).all()
    assert (found[:, space.active_N] > 0).all()


def test_an_empty_field_gets_nothing():
    space = made_space(3, empty=(3, 4, 5))
    run = (np.tile(space.start_N, (STEPS, 1)), *made_run(made_space(3))[1:])
    found = decisions(made_agent(), space, run)
    assert (found[:, 3:] == 0).all()
    assert found.sum(1) == pytest.approx(np.ones(STEPS), abs=1e-6)


def test_a_decision_sees_no_later_token_and_padding_changes_nothing():
    agent, space = made_agent(), made_space(4)
    mixtures, feedback, objective_spec = made_run(space)
    whole = decisions(agent, space, (mixtures, feedback, objective_spec))
    part = decisions(agent, space, (mixtures[:3], feedback[:3], objective_spec))
    assert whole[:3] == pytest.approx(part, abs=1e-6)
    context = RunContext(space=space, steps=10, supply_N=space.samples_N / 100, objective_spec=objective_spec)
    read = torch.from_numpy(tokens(mixtures, feedback, context=context, preset="default"))
    padded = torch.cat([read, torch.zeros(2, read.shape[1])]).requires_grad_()
    found = agent.float()(padded[None], torch.tensor(space.active_N)[None])
    assert found[0, :STEPS].detach().numpy() == pytest.approx(whole, abs=1e-6)
    found[0, -1].square().sum().backward()
    assert torch.isfinite(padded.grad).all()


def test_a_decision_looks_back_on_the_context_alone():
    agent, space = made_agent(context=4), made_space(4)
    mixtures, feedback, objective_spec = made_run(space, steps=9)
    context = RunContext(space=space, steps=10, supply_N=space.samples_N / 100, objective_spec=objective_spec)
    read = tokens(mixtures, feedback, context=context, preset="default")
    truncated = read.copy()
    truncated[:5] = 9
    first = agent.next_mixture(read, space.active_N)
    assert np.array_equal(first, agent.next_mixture(truncated, space.active_N))
    assert np.array_equal(first, agent.next_mixture(read, space.active_N))
    truncated[5, 3] += 1
    assert not np.array_equal(first, agent.next_mixture(truncated, space.active_N))


def test_what_a_domain_did_for_the_scores_moves_its_weight():
    """Equal domains that were drawn at different steps differ once scores moved at one of them."""
    space = DomainSpace(("a", "b"), np.full(4, 100))
    agent = made_agent(objectives=["x"], scales=[0.1])
    mixtures = np.array([space.start_N, [0.5, 0, 0.25, 0.25], [0, 0.5, 0.25, 0.25], [0.5, 0.5, 0, 0]])
    objective_spec = ObjectiveSpec.of(np.ones(1), ("target",))
    shares = []
    for scores in ([0, 3, 3, 3], [0, 0, 3, 3]):
        found = decisions(agent, space, (mixtures, np.array(scores, float)[:, None], objective_spec))[-1]
        shares.append(found[0] / found[:2].sum())
    assert abs(shares[0] - shares[1]) > 1e-3


def test_the_default_has_less_than_half_a_million_parameters():
    assert 0.2e6 < SetAgent(SetAgentConfig()).num_parameters() < 0.5e6


def history(space, objectives, *, scales, steps=3):
    mixtures, feedback, objective_spec = made_run(space, objectives=len(objectives), steps=steps)
    return History(
        space=space,
        mixtures_TN=mixtures,
        feedback_TD=feedback,
        objectives=objectives,
        weights_D=objective_spec.weights_D,
        scales_D=np.array(scales),
        steps=10,
        step_samples=100,
        remaining_samples_N=space.samples_N,
        seed=0,
        roles=tuple("general" if role < 0 else "target" for role in objective_spec.roles_D),
    )


def test_it_reads_all_objectives_known_ones_on_the_scale_of_its_training():
    config = made_agent(scales=[0.1, 0.3]).config
    read = reading(config, history(made_space(2), ("new", "x", "bare"), scales=[0.5, 0.9, 1.0]))
    assert read.objectives == ("new", "x", "bare")
    # published, known, and the median of 0.1 and 0.3 where neither holds
    assert read.scales_D == pytest.approx([0.5, 0.1, 0.2])
    assert read.objective_spec.roles_D.tolist() == [-1, 1, -1]


def test_trained_without_feedback_it_reads_none():
    agent, space = made_agent(objectives=[], scales=[]), made_space(3)
    run = history(space, ("a", "b"), scales=[1.0, 1.0])
    read = reading(agent.config, run)
    assert read.objectives == ()
    mixture = agent.next_mixture(run_tokens(agent.config, run, read), space.active_N)
    assert mixture.sum() == pytest.approx(1, abs=1e-6)


def test_it_comes_back_from_disk_with_the_same_decisions(tmp_path):
    warehouse, agent, space = Warehouse.at(tmp_path), made_agent(), made_space(3)
    folder = publish_agent(warehouse, agent=agent, name="any", stage="sft", notes=["Trained in a test."])
    found = load_agent(warehouse, "any")
    assert isinstance(found, SetAgent) and not found.config.fixed_space
    assert found.config.domain_width == 8
    run = made_run(space)
    assert np.array_equal(decisions(found, space, run), decisions(agent, space, run))
    card = (folder / "README.md").read_text()
    assert "any number of (field, domain) pairs" in card and "any (in training: x, y)" in card


def test_default_weights_are_far_below_ten_megabytes(tmp_path):
    SetAgent(SetAgentConfig()).save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 2_000_000


def test_an_unknown_kind_of_agent_is_refused(tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "config.json").write_text("[]")
    with pytest.raises(InputError, match="agent"):
        load_agent(Warehouse.at(tmp_path), str(folder))
