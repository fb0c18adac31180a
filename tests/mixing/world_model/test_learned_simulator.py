"""A learned simulator: what it predicts, doubts and bounds."""

import dataclasses

import numpy as np
import pytest
import torch
from tests.mixing.testbed.simulated import (
    SCALE,
    random_schedules,
    simulated_episodes,
    simulated_farm,
)
from tests.mixing.testbed.simulator import Simulator
from tests.mixing.testbed.static_agents import static_agent
from tests.mixing.world_model.two_domains import MODEL, TWO

from dmix.mixing.world_model.learned_simulator import SimulatorSettings, fit_simulator


@pytest.fixture(scope="module")
def episodes():
    return simulated_episodes([TWO], random_schedules(TWO, number=150, seed=0), np.random.default_rng(0))


def test_learned_simulator_predicts_schedules_it_has_not_seen(episodes):
    agent = static_agent([0.0, 0.0])
    simulator = fit_simulator(
        simulated_farm(TWO, episodes, preset=agent.config.preset),
        settings=SimulatorSettings(
            steps=600, batch_episodes=32, learning_rate=5e-3, held_out=0.2, width=64, seed=0
        ),
        progress=lambda line: None,
    )
    assert (simulator.held_out_r2_D > 0.98).all()
    fresh = random_schedules(TWO, number=40, seed=5)
    noise_PTD = np.random.default_rng(0).standard_normal((40, TWO.steps, 2))
    made = simulator.run(lambda mixtures, tokens: fresh[:, mixtures.shape[1] - 1], noise_PTD=noise_PTD)
    found, wanted = SCALE * made.gains_E.numpy(), TWO.gain(fresh)
    # a run's own noise has deviation 0.01 a score
    assert np.std(found - wanted) < 0.25 * wanted.std()
    assert made.terminal_ET[:, -1].all()


def following(schedule_TN):
    return lambda mixtures, tokens: np.tile(schedule_TN[mixtures.shape[1] - 1], (len(mixtures), 1))


@pytest.mark.parametrize("pessimism", [0.0, 1.0])
def test_slopes_match_finite_differences_of_the_final_utility(learned, pessimism):
    learned = dataclasses.replace(learned, pessimism=pessimism)
    # with pessimism, so far from the farm that all of it is doubted
    schedule_TN = np.random.default_rng(0).dirichlet(np.ones(2), TWO.steps) * (1 + 20 * pessimism)
    noise_PTD = np.random.default_rng(1).standard_normal((1, TWO.steps, 2))
    made = learned.run(following(schedule_TN), noise_PTD=noise_PTD)
    grad_TN = learned.grad(made, noise_PTD=noise_PTD)[0].numpy()

    def final(changed_TN):
        return float(learned.run(following(changed_TN), noise_PTD=noise_PTD).utility_ES[0, -1])

    for step, domain in ((0, 0), (2, 1), (TWO.steps - 1, 0)):
        step_size = np.zeros_like(schedule_TN)
        step_size[step, domain] = 1e-2
        difference = (final(schedule_TN + step_size) - final(schedule_TN - step_size)) / 2e-2
        assert grad_TN[step, domain] == pytest.approx(difference, rel=0.02, abs=2e-3)


def test_doubt_begins_where_the_leverage_of_a_state_is_above_that_of_one_observation(learned, farm):
    model = learned.model
    inputs_ETI = model._inputs(farm.actions_ETN, farm.changes_ESD[:, :-1] / model.unit_D)
    inputs_ETI = inputs_ETI.double().detach().numpy()
    # all states of a run are one observation
    gram_II = np.eye(inputs_ETI.shape[2]) + np.einsum("eti,etj->ij", inputs_ETI, inputs_ETI) / TWO.steps
    start_1TD = torch.zeros(1, 1, 2)
    for mixture, far in (([0.5, 0.5], False), ([0.0, 9.0], True)):
        mixtures_1TN = torch.tensor([[mixture]])
        asked_I = model._inputs(mixtures_1TN, start_1TD)[0, 0].double().numpy()
        leverage = asked_I @ np.linalg.solve(gram_II, asked_I)
        assert (leverage > 1) == far
        wanted = max(0.0, 0.5 * np.log(leverage))
        assert float(model.uncertainty_penalty(mixtures_1TN, start_1TD)) == pytest.approx(wanted, rel=1e-3)


def test_scores_leave_the_range_of_the_farm_by_at_most_two_deviations(learned, farm):
    model, levels = learned.model, farm.changes_ESD[:, 1:][farm.valid_mask_ET]
    inside_PTD, _ = model(farm.actions_ETN, farm.changes_ESD[:, :-1])
    assert inside_PTD.std() > 0.5 * levels.std()
    far_PTN = torch.eye(2)[:, None].repeat(1, TWO.steps, 1) * 1000
    outside_PTD, _ = model(far_PTN, torch.zeros(2, TWO.steps, 2))
    for level_D in outside_PTD.flatten(0, 1).detach():
        assert (level_D >= levels.amin(0) - model.unit_D * 2.001).all()
        assert (level_D <= levels.amax(0) + model.unit_D * 2.001).all()
    assert ((outside_PTD < levels.amin(0)) | (outside_PTD > levels.amax(0))).any()


def test_pessimism_lowers_what_a_run_is_worth_by_its_doubt_and_leaves_what_the_policy_sees(learned):
    noise_PTD = np.random.default_rng(1).standard_normal((1, TWO.steps, 2))
    schedule_TN = np.full((TWO.steps, 2), 20.0)  # further than any mixture
    plain, careful = (
        dataclasses.replace(learned, pessimism=widths).run(following(schedule_TN), noise_PTD=noise_PTD)
        for widths in (0.0, 2.0)
    )
    drawn_PSD, model = plain.changes_ESD.clone(), learned.model
    for step in range(TWO.steps):
        mean_PTD, std_PTD = model(plain.actions_ETN[:, : step + 1], drawn_PSD[:, : step + 1])
        noise_PD = torch.from_numpy(noise_PTD[:, step]).float()
        drawn_PSD[:, step + 1] = (mean_PTD + std_PTD * noise_PD[:, None])[:, -1].detach()
    uncertainty_penalty = float(model.uncertainty_penalty(plain.actions_ETN, drawn_PSD[:, :-1])[0, -1])
    lost = float(plain.utility_ES[0, -1] - careful.utility_ES[0, -1])
    unit = float(model.unit_D.numpy() @ TWO.weights_K)
    assert lost == pytest.approx(2 * uncertainty_penalty * unit, rel=1e-3) and lost > 0
    assert torch.equal(plain.tokens_ESX, careful.tokens_ESX)


def test_same_noise_gives_the_same_run(learned):
    noise_PTD = np.random.default_rng(1).standard_normal((2, TWO.steps, 2))
    schedule_TN = np.full((TWO.steps, 2), 0.5)
    first, second = (learned.run(following(schedule_TN), noise_PTD=noise_PTD) for _ in range(2))
    assert torch.equal(first.tokens_ESX, second.tokens_ESX)


def test_the_law_of_the_next_step_is_the_last_of_all_steps(learned, farm):
    model, (mixtures, changes) = learned.model, (farm.actions_ETN[:4], farm.changes_ESD[:4, :-1])
    for made in (1, TWO.steps):
        seen = mixtures[:, :made], changes[:, :made]
        mean_PD, std_PD, penalty_P = model.next_distribution(*seen)
        for found, whole in zip((mean_PD, std_PD), model(*seen), strict=True):
            torch.testing.assert_close(found, whole[:, -1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(penalty_P, model.uncertainty_penalty(*seen)[:, -1], atol=1e-5, rtol=1e-5)


def limited(learned, supply_N):
    context = dataclasses.replace(learned.context, supply_N=np.array(supply_N), limited=True)
    return dataclasses.replace(learned, context=context)


def test_a_run_draws_no_more_of_a_domain_than_it_has_where_its_kind_of_run_is_limited(learned):
    schedule_TN = np.tile([0.4, 0.6], (TWO.steps, 1))
    noise_PTD = np.zeros((1, TWO.steps, 2))
    made = limited(learned, [9.0, 1.5]).run(following(schedule_TN), noise_PTD=noise_PTD)
    np.testing.assert_allclose(made.actions_ETN[0, :, 1], [0.6, 0.6, 0.3, 0.0, 0.0], atol=1e-6)
    free = dataclasses.replace(learned, context=dataclasses.replace(learned.context, supply_N=np.ones(2)))
    endless = free.run(following(schedule_TN), noise_PTD=noise_PTD)
    np.testing.assert_allclose(endless.actions_ETN[0], schedule_TN, atol=1e-6)


def test_asking_for_more_of_what_is_used_up_is_worth_what_its_field_takes_over():
    four = Simulator().restricted([0, 1, 3, 4], steps=4)
    episodes = simulated_episodes([four], random_schedules(four, number=8, seed=0), np.random.default_rng(0))
    learned = fit_simulator(simulated_farm(four, episodes), settings=MODEL, progress=lambda line: None)
    small = limited(learned, [9.0, 9.0, 0.5, 9.0])
    schedule_TN, noise_PTD = np.tile([0.2, 0.2, 0.3, 0.3], (4, 1)), np.zeros((1, 4, 2))
    made = small.run(following(schedule_TN), noise_PTD=noise_PTD)
    grad_TN = small.grad(made, noise_PTD=noise_PTD)[0]
    plain_TN = learned.grad(made, noise_PTD=noise_PTD)[0]
    torch.testing.assert_close(grad_TN[0], plain_TN[0])
    # from the second step on the third domain has given all, and the fourth is all that its field has
    torch.testing.assert_close(grad_TN[1:, 2], plain_TN[1:, 3])
    torch.testing.assert_close(grad_TN[:, [0, 1, 3]], plain_TN[:, [0, 1, 3]])
