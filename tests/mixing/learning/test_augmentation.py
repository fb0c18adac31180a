"""A farm seen through other domains, objectives and paces: what stays the same, and what changes with it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.mixing.testbed.simulated_learning import SET_TOY
from tests.mixing.testbed.simulator import Simulator

from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.set_encoder import SetAgentConfig
from dmix.mixing.agent.set_features import ObjectiveSpec, split_tokens
from dmix.mixing.learning.augmentation import Augmentation, identity_augmentation, random_augmentation, seen
from dmix.mixing.learning.rl import clone_augmented, tasks_of, train_rl
from dmix.mixing.learning.rl_fit import fit_cql
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.mixing.offline.farm import load_farm
from dmix.warehouse_schema.errors import InputError

REFERENCE = Simulator(steps=6)
TOY = replace(SET_TOY, views=0.5, returns_steps=3).resolved("default")


def quiet(line):
    """Takes a line of progress."""


@pytest.fixture
def farm(simulated_farm):
    return load_farm(simulated_farm(REFERENCE, number=12), "farm", preset=None, as_sets=True)


@pytest.fixture
def task(farm):
    return tasks_of(farm, settings=TOY, progress=quiet)[0]


def two_fields(task):
    """The view of one domain a field that is to be good at the second objective alone."""
    space = task.episodes.space
    members_GN = np.stack([~space.target_N, space.target_N]).astype(float)
    coarse = type(space)(("all",), (members_GN @ space.samples_N).astype(int))
    return Augmentation(space=coarse, members_GN=members_GN, shown=(1,), weights_D=np.array([0.0, 1.0]))


def test_a_plain_view_is_the_farm_itself(farm, task):
    found = seen(task, identity_augmentation(task)).episodes
    torch.testing.assert_close(found.tokens_ESX, farm.episodes.tokens_ESX, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.actions_ETN, farm.episodes.actions_ETN)
    torch.testing.assert_close(found.rewards_ET, farm.episodes.rewards_ET, atol=1e-5, rtol=0)


def test_a_plain_view_leaves_domains_without_samples_out(farm, task):
    samples_N = farm.space.samples_N.copy()
    samples_N[1] = 0
    space = type(farm.space)(farm.space.labels, samples_N)
    context = replace(farm.context, space=space)
    simulators = tuple(replace(simulator, context=context) for simulator in task.simulators)
    masked = replace(task, episodes=replace(farm.episodes, space=space), simulators=simulators)
    augmentation = identity_augmentation(masked)
    assert augmentation.space.samples_N.tolist() == [*samples_N[[0, 2]], 0, *samples_N[3:]]
    assert augmentation.members_GN.sum() == 5


def test_shares_supplies_and_samples_are_summed_over_groups(farm, task):
    augmentation = two_fields(task)
    found = seen(task, augmentation)
    np.testing.assert_allclose(
        found.episodes.actions_ETN.numpy(), farm.space.coarsen(farm.episodes.actions_ETN.numpy()), atol=1e-6
    )
    context = found.simulators[0].context
    np.testing.assert_allclose(context.supply_N, farm.space.coarsen(farm.context.supply_N))
    assert context.space.samples_N.tolist() == farm.space.coarsen(farm.space.samples_N).tolist()


def test_the_policy_reads_the_shown_objective_alone_and_is_paid_for_it(farm, task):
    context = replace(farm.context, objective_spec=ObjectiveSpec.of(np.full(2, 0.5), ("general", "target")))
    simulators = tuple(replace(simulator, context=context) for simulator in task.simulators)
    found = seen(replace(task, simulators=simulators), two_fields(task)).episodes
    _, _, objectives_ESDF = split_tokens(found.tokens_ESX, domains=2)
    assert objectives_ESDF.shape[2] == 1
    assert (objectives_ESDF[..., 2] == 1).all() and (objectives_ESDF[..., 4] == 1).all()
    torch.testing.assert_close(found.gains_E, farm.episodes.changes_ESD[:, -1, 1], atol=1e-5, rtol=0)


def test_a_simulator_takes_a_group_s_share_as_its_members_in_natural_proportion(farm, task):
    simulator = task.simulators[0]
    viewed = seen(task, two_fields(task)).simulators[0]
    shares_TF = np.random.default_rng(0).dirichlet([1, 1], REFERENCE.steps)
    fine_TN = farm.space.expand(shares_TF)
    noise_PTD = np.zeros((1, REFERENCE.steps, 2))

    def following(schedule_TN):
        return lambda mixtures, tokens: schedule_TN[mixtures.shape[1] - 1][None]

    coarse_run = viewed.run(following(shares_TF), noise_PTD=noise_PTD)
    fine_run = simulator.run(following(fine_TN), noise_PTD=noise_PTD)
    torch.testing.assert_close(coarse_run.changes_ESD, fine_run.changes_ESD, atol=1e-5, rtol=0)
    torch.testing.assert_close(coarse_run.gains_E, fine_run.changes_ESD[:, -1, 1], atol=1e-5, rtol=0)


def test_slopes_in_a_view_match_finite_differences(task):
    viewed = seen(task, two_fields(task)).simulators[0]
    schedule_TF = np.full((REFERENCE.steps, 2), 0.5)
    noise_PTD = np.zeros((1, REFERENCE.steps, 2))

    def run(schedule):
        return viewed.run(lambda mixtures, tokens: schedule[mixtures.shape[1] - 1][None], noise_PTD=noise_PTD)

    grad_TF = viewed.grad(run(schedule_TF), noise_PTD=noise_PTD)[0].numpy()
    for step, field in ((0, 0), (3, 1)):
        change = np.zeros_like(schedule_TF)
        change[step, field] = 1e-2
        higher, lower = (float(run(schedule_TF + sign * change).gains_E) for sign in (1, -1))
        assert grad_TF[step, field] == pytest.approx((higher - lower) / 2e-2, rel=0.03, abs=2e-3)


def test_random_views_put_every_active_domain_into_one_group_of_its_field(task):
    rng, sizes = np.random.default_rng(0), set()
    for _ in range(60):
        augmentation = random_augmentation(task, rng)
        assert (augmentation.members_GN.sum(0) == 1).all()
        groups, domains = len(augmentation.space) // 2, len(task.episodes.space) // 2
        assert (
            not augmentation.members_GN[:groups, domains:].any()
            and not augmentation.members_GN[groups:, :domains].any()
        )
        assert augmentation.weights_D.sum() == pytest.approx(1)
        assert set(np.flatnonzero(augmentation.weights_D)) <= set(augmentation.shown)
        sizes.add((int(augmentation.space.active_N.sum()), augmentation.shown))
    assert {number for number, _ in sizes} == {2, 3, 4, 5, 6}
    assert {shown for _, shown in sizes} == {(0,), (1,), (0, 1)}


def trained(task, resampled, **more):
    agent = SetAgent(
        SetAgentConfig(
            objectives=["general", "target"],
            scales=[1.0, 1.0],
            hidden_size=16,
            feedforward=32,
            heads=2,
            layers=1,
            domain_width=8,
        )
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in agent.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return fit_cql(
        agent,
        task.episodes,
        settings=TOY,
        simulators=task.simulators,
        resampled=resampled,
        **{"progress": quiet, **more},
    )


def weights(agent):
    return torch.cat([value.ravel() for value in agent.state_dict().values()])


def test_a_training_with_views_that_was_broken_off_goes_on_as_if_it_had_not(farm, tmp_path, monkeypatch):
    monkeypatch.setattr("dmix.mixing.learning.rl_fit._REPORT_SECONDS", 0)
    monkeypatch.setattr("dmix.mixing.learning.rl_fit._CHECKPOINT_SECONDS", 0)
    task, *resampled = tasks_of(farm, settings=TOY, progress=quiet)
    whole = trained(task, resampled)

    def progress(line):
        if line.startswith("update 4 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(task, resampled, checkpoint=tmp_path / "state.pt", progress=progress)
    lines = []
    resumed = trained(task, resampled, checkpoint=tmp_path / "state.pt", progress=lines.append)
    assert lines[0] == "resuming after 3 updates"
    assert torch.equal(weights(resumed.agent), weights(whole.agent))


def test_an_agent_trained_with_views_is_another_one_and_is_published(simulated_farm):
    warehouse = simulated_farm(REFERENCE, number=12)
    for name, views in (("plain", 0.0), ("viewed", 0.5)):
        settings = replace(TOY, views=views)
        train_rl(warehouse, set_name="farm", agent_name=name, settings=settings, progress=quiet)
    plain, viewed = (
        (warehouse.agent(name) / "model.safetensors").read_bytes() for name in ("plain", "viewed")
    )
    assert plain != viewed
    assert '"views": 0.5' in (warehouse.agent("viewed") / "config.json").read_text()


def test_cloning_views_brings_the_actor_nearer_to_the_best_of_each(task):
    augmentation = two_fields(task)
    best = seen(task, augmentation).episodes.best(0.1)
    active_EN = torch.ones(len(best), 2, dtype=torch.bool)
    agent = SetAgent(SetAgentConfig(hidden_size=16, feedforward=32, heads=2, layers=1, domain_width=8))

    def error():
        with torch.no_grad():
            return float((agent(best.tokens_ESX[:, :-1], active_EN) - best.actions_ETN).square().mean())

    before = error()
    clone_augmented(agent, [task], settings=replace(TOY, clone_epochs=20), progress=quiet)
    assert error() < before


def test_views_without_a_set_agent_or_simulators_are_refused():
    for wrong in ({"architecture": "paper"}, {"preset": "paper"}, {"imagined": 0.0}):
        with pytest.raises(InputError, match="needs architecture 'set'"):
            RlSettings(views=0.5, **wrong)
    with pytest.raises(InputError, match="needs architecture 'set'"):
        RlSettings(views=0.5).resolved("default")
    with pytest.raises(InputError, match=r"--views is 2\.0, expected 0 to 1"):
        RlSettings(views=2.0, architecture="set")
