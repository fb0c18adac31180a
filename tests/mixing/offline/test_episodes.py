"""Episodes: rewards that telescope, ends, cuts at missing scores, and the maps of rewards."""

import numpy as np
import pytest
import torch

from dmix.mixing.agent.features import RunContext
from dmix.mixing.offline.episodes import RewardMap, make_episodes, padded_to, returns_to_go, reward_map
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.store import Trajectory
from dmix.warehouse_schema.errors import InputError

SPACE = DomainSpace(("a", "b"), np.array([40, 10, 20, 0]))
CONTEXT = RunContext(space=SPACE, steps=3, supply_N=np.array([4.0, 1, 2, 0]))
SOURCE, TARGET = [0.8, 0.2, 0, 0], [0, 0, 1.0, 0]


def path(name, *mixtures):
    return Trajectory(
        trajectory_id=name, kind="segments", top_k=None, mixtures_TN=np.array([SPACE.start_N, *mixtures])
    )


def episodes(trajectories, feedback, *, target_steps=10.0, preset="default", variations=None):
    return make_episodes(
        trajectories,
        feedback={name: np.array(scores, dtype=float) for name, scores in feedback.items()},
        scales_D=np.array([0.5, 2.0]),
        weights_D=np.array([0.25, 0.75]),
        context=CONTEXT,
        target_steps=target_steps,
        preset=preset,
        variations=variations or {},
    )


def test_rewards_by_hand_and_their_sum():
    made = episodes([path("p", SOURCE, TARGET, SOURCE)], {"p": [[-3, -4], [-2.5, -4], [-3, -2], [-2, -2]]})
    # U = 0.25 * change / 0.5 + 0.75 * change / 2
    torch.testing.assert_close(made.utility_ES, torch.tensor([[0, 0.25, 0.75, 1.25]]))
    torch.testing.assert_close(made.rewards_ET, torch.tensor([[0.25, 0.5, 0.5]]))
    assert made.gains_E.item() == pytest.approx(1.25)
    assert made.terminal_ET.tolist() == [[False, False, True]]
    assert made.tokens_ESX.shape[:2] == (1, 4)
    np.testing.assert_allclose(made.actions_ETN[0], [SOURCE, TARGET, SOURCE])


def test_early_stop_ends_a_run_and_a_cut_does_not():
    short = path("p", SOURCE, TARGET)
    scores = {"p": [[-3, -4], [-3, -4], [-3, -4]]}
    assert episodes([short], scores, target_steps=1.0).terminal_ET.tolist() == [[False, True]]
    assert episodes([short], scores, target_steps=1.5).terminal_ET.tolist() == [[False, False]]


def test_missing_score_cuts_before_it_and_is_never_a_reward():
    made = episodes(
        [path("p", SOURCE, TARGET, SOURCE), path("q", SOURCE, SOURCE, SOURCE)],
        {"p": [[-3, -4], [-2, -4], [np.nan, -2], [-2, -2]], "q": [[-3, -4]] * 4},
    )
    assert made.valid_mask_ET.tolist() == [[True, False, False], [True, True, True]]
    assert not made.terminal_ET[0].any()
    assert made.rewards_ET[0, 1:].abs().sum() == 0
    assert made.best(0.1).valid_mask_ET.tolist() == [[True, True, True]]


def test_missing_first_score_leaves_a_trajectory_out(caplog):
    scores = {"p": [[np.nan, -4], [-2, -4]], "q": [[-3, -4], [-2, -4]]}
    assert len(episodes([path("p", SOURCE), path("q", SOURCE)], scores)) == 1
    assert "dmix leaves out p" in caplog.text


def test_no_feedback_is_refused():
    with pytest.raises(InputError, match="dmix mix collect"):
        episodes([path("p", SOURCE)], {})


def test_feedback_of_another_length_is_refused():
    with pytest.raises(InputError, match="2 entries, but feedback on 3"):
        episodes([path("p", SOURCE)], {"p": [[0, 0]] * 3})


def test_best_share_is_the_finished_ones_with_the_highest_gain():
    names = [f"p{i}" for i in range(10)]
    ends = {name: [[0, 0], [0, 0], [0, 0], [0, gain]] for gain, name in enumerate(names)}
    made = episodes([path(name, SOURCE, SOURCE, SOURCE) for name in names], ends)
    torch.testing.assert_close(made.best(0.2).gains_E, made.gains_E[[9, 8]])
    assert len(made.best(1e-9)) == 1


def test_returns_to_go_by_hand():
    found = returns_to_go(torch.tensor([[1.0, 2.0, 4.0]]), discount=0.5)
    assert found.tolist() == [[1 + 0.5 * 2 + 0.25 * 4, 2 + 0.5 * 4, 4]]


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_mapped_returns_are_affine_in_the_returns(discount):
    rewards, terminal = torch.tensor([[1.0, -2.0, 4.0]]), torch.tensor([[False, False, True]])
    mapping = RewardMap(scale=0.1, shift=0.3)
    mapped = returns_to_go(mapping.rewards(rewards, terminal, discount=discount), discount=discount)
    torch.testing.assert_close(mapped, 0.1 * returns_to_go(rewards, discount=discount) + 0.3)
    assert mapping.returns(mapped[0, 2].item()) == pytest.approx(4, abs=1e-5)


def test_bounded_map_puts_all_returns_between_5_and_95_percent():
    made = episodes(
        [path("p", SOURCE, TARGET, SOURCE), path("q", SOURCE, SOURCE, SOURCE)],
        {"p": [[-3, -4], [-2, -4], [-1, -2], [-2, -2]], "q": [[-3, -4], [-5, -4], [-4, -4], [-6, -4]]},
    )
    mapping = reward_map(made, discount=1.0, bounded=True)
    mapped = returns_to_go(mapping.rewards(made.rewards_ET, made.terminal_ET, discount=1.0), discount=1.0)
    assert mapped.min().item() == pytest.approx(0.05, abs=1e-6)
    assert mapped.max().item() == pytest.approx(0.95, abs=1e-6)


def test_unbounded_map_gives_returns_deviation_1():
    made = episodes(
        [path("p", SOURCE, TARGET, SOURCE), path("q", SOURCE, SOURCE, SOURCE)],
        {"p": [[0, 0]] * 3 + [[4, 0]], "q": [[0, 0]] * 3 + [[8, 0]]},
    )
    mapping = reward_map(made, discount=1.0, bounded=False)
    # gains 2 and 4: deviation sqrt(2), shift 0
    assert (mapping.scale, mapping.shift) == (pytest.approx(1 / 2**0.5), 0)


def test_best_leaves_out_proxies_that_departed_from_the_usual_one():
    paths = [path(name, SOURCE, SOURCE, SOURCE) for name in "pqr"]
    ends = {"p": -3.0, "q": -1.0, "r": -2.0}
    scores = {name: [[-4, -4]] * 3 + [[end, -4]] for name, end in ends.items()}
    made = episodes(paths, scores, variations={"p": "", "q": "learning_rate*2"})
    assert made.is_default_proxy_E.tolist() == [True, False, True]
    # q gained most, and is still there for CQL
    torch.testing.assert_close(made.best(0.5).gains_E, made.gains_E[[2]])
    assert len(made.best(1.0)) == 2
    assert padded_to(made, 5).is_default_proxy_E.tolist() == [True, False, True]
    with pytest.raises(InputError, match="of the default proxy"):
        made.chosen([1]).best(1.0)
