"""Fine-tuning: what is imitated, the loss worked by hand, learning, seeds, feedback."""

import numpy as np
import pytest
import torch
from tests.mixing.sampled_sets import NAMES, STEPS, add_feedback, sampled, scores_of

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.agent.store import load_agent
from dmix.mixing.controllers.agent import AgentController
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.learning.sft import fit, squared_error, train_sft
from dmix.mixing.offline.sft_examples import Example, load_sft_dataset
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.mixing.space.simplex import total_variation
from dmix.mixing.trajectories.sampling import read_trajectories
from dmix.warehouse_schema.errors import InputError

TINY = {"hidden_size": 32, "heads": 2, "feedforward": 64}


@pytest.fixture(scope="module")
def make_set(make_manifest, tmp_path_factory):
    return lambda **changes: sampled(tmp_path_factory.mktemp("set"), make_manifest, **changes)


@pytest.fixture(scope="module")
def with_feedback(make_set):
    """A set with feedback, an agent trained on it, and what training said."""
    warehouse = make_set()
    scores = add_feedback(warehouse)
    lines = []
    result = train_sft(
        warehouse,
        set_name="set",
        agent_name="taught",
        settings=SftSettings(**TINY, epochs=150),
        progress=lines.append,
    )
    return warehouse, scores, result, lines


def uniform_agent(**changes):
    """An agent that answers (1/2, 1/2) whatever it reads."""
    agent = MixingAgent(MixingAgentConfig(labels=["a"], preset="paper", **{**TINY, **changes}))
    torch.nn.init.zeros_(agent.head.weight)
    torch.nn.init.zeros_(agent.head.bias)
    return agent


def test_squared_error_worked_by_hand():
    # targets (1, 0) and (.25, .75) against (.5, .5): .5 + .125; the second example adds 0
    long = Example(
        tokens_TX=np.zeros((2, 2), np.float32), mixtures_TN=np.array([[1, 0], [0.25, 0.75]], np.float32)
    )
    short = Example(tokens_TX=np.zeros((1, 2), np.float32), mixtures_TN=np.array([[0.5, 0.5]], np.float32))
    error, steps = squared_error(uniform_agent(), [long, short], torch.tensor([True, True]))
    assert error.item() == pytest.approx(0.625)
    assert steps == 3


def test_trajectories_longer_than_the_context_are_judged_as_in_a_run():
    torch.manual_seed(0)
    agent = MixingAgent(MixingAgentConfig(labels=["a"], preset="paper", context=4, **TINY)).eval()
    rng = np.random.default_rng(0)
    tokens = rng.dirichlet([1, 1], size=9).astype(np.float32)
    targets = rng.dirichlet([1, 1], size=9).astype(np.float32)
    error, steps = squared_error(
        agent, [Example(tokens_TX=tokens, mixtures_TN=targets)], torch.tensor([True, True])
    )
    one_by_one = [agent.next_mixture(tokens[: i + 1], np.ones(2, bool)) for i in range(9)]
    assert steps == 9
    assert error.item() == pytest.approx(((np.array(one_by_one) - targets) ** 2).sum(), rel=1e-4)


def test_training_lowers_both_losses_below_a_constant_answer(with_feedback):
    warehouse, _, result, lines = with_feedback
    mixtures = np.concatenate(
        [t.mixtures_TN[1:] for t in read_trajectories(warehouse, "set") if t.top_k == 1]
    )
    constant = ((mixtures - mixtures.mean(0)) ** 2).sum(1).mean()
    assert min(result.train_losses) < 0.5 * constant
    assert result.held_out_losses[result.best_epoch - 1] == min(result.held_out_losses) < 0.7 * constant
    assert (result.trajectories, result.with_feedback) == (10, 10)
    assert "10 trajectories" in lines[0]
    assert "kept epoch" in lines[-1]


def test_training_stops_when_held_out_loss_no_longer_falls():
    torch.manual_seed(0)
    agent = MixingAgent(MixingAgentConfig(labels=["a"], preset="paper", **TINY))
    rng = np.random.default_rng(0)
    noise = [
        Example(
            tokens_TX=rng.dirichlet([1, 1], size=4).astype(np.float32),
            mixtures_TN=rng.dirichlet([1, 1], size=4).astype(np.float32),
        )
        for _ in range(10)
    ]
    space = DomainSpace(("a",), np.array([1, 1]))
    result = fit(agent, noise, space=space, settings=SftSettings(**TINY, patience=5, learning_rate=0.01))
    assert len(result.train_losses) == result.best_epoch + 5 < 200


def test_same_seed_gives_the_same_agent(make_set):
    warehouse = make_set(paths=4)

    def weights(name, seed):
        settings = SftSettings(**TINY, epochs=2, seed=seed)
        train_sft(warehouse, set_name="set", agent_name=name, settings=settings)
        return load_agent(warehouse, name).state_dict()

    first, again, other = weights("a", 0), weights("b", 0), weights("c", 1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_training_leaves_the_global_generator_alone(make_set):
    warehouse = make_set(paths=2)
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    train_sft(warehouse, set_name="set", agent_name="a", settings=SftSettings(**TINY, epochs=1))
    assert torch.equal(torch.rand(1), wanted)


def test_existing_agent_stops_training_before_it_starts(with_feedback):
    warehouse = with_feedback[0]
    with pytest.raises(InputError, match=r"agent 'taught' already exists .*--overwrite"):
        train_sft(warehouse, set_name="set", agent_name="taught", settings=SftSettings())


def run_with(controller, space, scores, *, scales):
    """Decisions of a run whose scores are given."""
    mixtures = [space.start_N]
    for t in range(1, STEPS + 1):
        history = History(
            space=space,
            mixtures_TN=np.stack(mixtures),
            feedback_TD=scores[:t],
            objectives=NAMES,
            weights_D=np.array([0.5, 0.5]),
            scales_D=scales,
            steps=STEPS,
            step_samples=72,
            remaining_samples_N=space.samples_N,
            seed=0,
        )
        mixtures.append(controller.propose(history).mixture_N)
    return np.stack(mixtures)


@pytest.mark.filterwarnings("error:The given NumPy array is not writable")
@pytest.mark.parametrize(("factor", "shift"), [(0.3, 0), (3, 0), (1, 2), (1, -2), (3, 2), (0.3, -2)])
def test_other_scales_of_scores_hardly_change_decisions(with_feedback, factor, shift):
    warehouse, _, _, _ = with_feedback
    controller = AgentController(load_agent(warehouse, "taught"))
    space = load_sft_dataset(warehouse, set_name="set", preset=None).space
    rising = np.linspace(0, 1, STEPS + 1)[:, None] * np.ones((1, space.samples_N.size)) / 8
    scores = scores_of(rising, seed=5)
    plain = run_with(controller, space, scores, scales=np.ones(2))
    moved = run_with(controller, space, scores * factor + shift, scales=np.ones(2))
    assert total_variation(plain, moved)[5:].max() < 0.1


def test_taught_agent_goes_from_source_to_target(with_feedback):
    warehouse, scores, _, _ = with_feedback
    controller = AgentController(load_agent(warehouse, "taught"))
    space = load_sft_dataset(warehouse, set_name="set", preset=None).space
    found = run_with(controller, space, np.tile(scores["inductive-1-0000"], (3, 1)), scales=np.ones(2))
    shares = found[:, 4:].sum(1)
    assert shares[0] == 0
    assert shares[1] < 0.6
    assert shares[5:].min() > shares[1]
    assert (found[:, [1, 6]] == 0).all()
