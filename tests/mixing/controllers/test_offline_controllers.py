"""Controllers that learn from a farm alone: what they find where the answer is known, and kept fits."""

import functools

import numpy as np
import pytest

from dmix.mixing.controllers import regmix_d, regmix_kl, schedule
from dmix.mixing.controllers.registry import check_controller, make_controller, prepare_controller
from dmix.mixing.regression.farm_runs import load_farm_runs
from dmix.mixing.regression.radius import RADII, divergence
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.mixing.trajectories.feedback import read_feedback, write_feedback
from dmix.mixing.trajectories.store import Trajectory, TrajectorySet, publish_set, write_trajectory
from dmix.mixing.world_model.schedule_search import ScheduleSettings
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse

SPACE = DomainSpace(("a", "b"), np.array([400, 300, 200, 100]))
STEPS = 5
WANTED = np.array([0.3, 0.1, 0.2, 0.4])


def near_wanted(mixtures_TN):
    """A final score that falls with the distance of the mean mixture from WANTED."""
    done = np.arange(len(mixtures_TN)) / STEPS
    return -3 - done * ((mixtures_TN[-1] - WANTED) ** 2).sum()


def first_a_then_b(mixtures_TN):
    """Every step of the first half pays for source/a, of the second half for target/b."""
    pays = np.where(np.arange(1, len(mixtures_TN)) <= STEPS / 2, mixtures_TN[1:, 0], mixtures_TN[1:, 3])
    return np.concatenate([[-3.0], -3 + np.cumsum(pays)])


def a_lasts_and_b_fades(mixtures_TN):
    """source/a adds to all later scores, target/b to that of its own step, five times as much."""
    return -3 + 0.2 * np.cumsum(mixtures_TN[:, 0] * (np.arange(len(mixtures_TN)) > 0)) + mixtures_TN[:, 3]


@pytest.fixture
def farm(tmp_path):
    """Makes a set whose trajectories were scored by a law."""
    warehouse = Warehouse.at(tmp_path)

    def make(score, *, static=0, segments=0, name="set"):
        publish_set(
            warehouse,
            TrajectorySet(
                set_name=name,
                dataset="d",
                preset="default",
                settings={},
                space=SPACE.names,
                samples=tuple(SPACE.samples_N.tolist()),
                step_samples=20,
                run_step_samples=20,
                steps=STEPS,
            ),
        )
        rng = np.random.default_rng(0)
        for number in range(static + segments):
            kind = "static" if number < static else "segments"
            drawn = rng.dirichlet(np.ones(4), 1 if kind == "static" else STEPS)
            mixtures = np.vstack([SPACE.start_N, np.broadcast_to(drawn, (STEPS, 4))])
            one = Trajectory(
                trajectory_id=f"{kind}-{number:04d}", kind=kind, top_k=None, mixtures_TN=mixtures
            )
            write_trajectory(warehouse.trajectories(name), one)
            write_feedback(
                warehouse,
                set_name=name,
                trajectory_id=one.trajectory_id,
                objectives=("x",),
                scores_TD=score(mixtures)[:, None],
            )
        return warehouse

    return make


def mixtures_of(spec, warehouse, *, steps=STEPS, space=SPACE):
    """What a controller proposes over a run, shape (steps, N)."""
    prepare_controller(spec, warehouse=warehouse, space=space, progress=print)
    controller = make_controller(spec, warehouse=warehouse, space=space)
    assert controller.name == spec
    rows = [space.start_N]
    for _ in range(steps):
        history = History(
            space=space,
            mixtures_TN=np.stack(rows),
            feedback_TD=np.full((len(rows), 1), -3.0),
            objectives=("x",),
            weights_D=np.ones(1),
            scales_D=np.ones(1),
            steps=steps,
            step_samples=20,
            remaining_samples_N=space.samples_N,
            seed=0,
        )
        rows.append(controller.propose(history).mixture_N)
        assert rows[-1].sum() == pytest.approx(1, abs=1e-12)
    return np.stack(rows[1:])


def test_regmix_finds_the_best_constant_mixture(farm):
    found = mixtures_of("regmix:set", farm(near_wanted, static=40))
    assert np.ptp(found, axis=0).max() == 0
    assert 0.5 * np.abs(found[0] - WANTED).sum() < 0.1


def test_regmix_keeps_its_fit_until_the_set_grows(farm, monkeypatch):
    warehouse = farm(near_wanted, static=10)
    first = mixtures_of("regmix:set/exponential", warehouse)
    monkeypatch.setattr("dmix.mixing.controllers.regmix.regressor", lambda name: None)
    assert np.array_equal(mixtures_of("regmix:set/exponential", warehouse), first)
    farm(near_wanted, static=11)
    with pytest.raises(TypeError):
        mixtures_of("regmix:set/exponential", warehouse)


def test_regressors_leave_out_proxies_that_departed_from_the_usual_one(farm):
    warehouse = farm(near_wanted, static=10)
    whole = load_farm_runs(warehouse, "set")
    for name in ("static-0000", "static-0003", "static-0004"):
        write_feedback(
            warehouse,
            set_name="set",
            trajectory_id=name,
            objectives=("x",),
            scores_TD=read_feedback(warehouse, "set")[name],
            variation="width*0.5",
        )
    usual = load_farm_runs(warehouse, "set")
    names = [trajectory.trajectory_id for trajectory in usual.trajectories]
    assert (len(whole.trajectories), len(usual.changes()[0])) == (10, 7 * STEPS)
    assert names == [f"static-{number:04d}" for number in (1, 2, 5, 6, 7, 8, 9)]
    with pytest.raises(InputError, match="has 7 constant runs"):
        mixtures_of("regmix:set", warehouse)


def test_regmix_serves_another_dataset_of_the_same_domains(farm):
    other = DomainSpace(SPACE.labels, np.array([10, 10, 0, 10]))
    found = mixtures_of("regmix:set", farm(near_wanted, static=20), space=other)
    assert found[0][2] == 0


def test_regmix_d_changes_its_mixture_with_time(farm, monkeypatch):
    monkeypatch.setattr(regmix_d, "_CANDIDATES", 1000)
    monkeypatch.setattr(regmix_d, "_AVERAGED", 10)
    warehouse = farm(first_a_then_b, segments=60)
    found = mixtures_of("regmix-d:set", warehouse)
    assert found[:2, 0].min() > 0.6
    assert found[3:, 3].min() > 0.6
    monkeypatch.setattr(regmix_d, "fit_boosted_trees", None)
    assert np.array_equal(mixtures_of("regmix-d:set", warehouse), found)


def test_schedule_ends_with_what_fades(farm, monkeypatch):
    small = functools.partial(ScheduleSettings, models=2, model_steps=150, ascent_steps=60)
    monkeypatch.setattr(schedule, "ScheduleSettings", small)
    warehouse = farm(a_lasts_and_b_fades, segments=40)
    found = mixtures_of("schedule:set", warehouse)
    assert found[:3, 0].min() > 0.6
    assert found[4, 3] > 0.6
    monkeypatch.setattr(schedule, "find_schedule", None)
    assert np.array_equal(mixtures_of("schedule:set", warehouse), found)
    # a run of ten steps makes each of the five mixtures twice
    assert np.array_equal(mixtures_of("schedule:set", warehouse, steps=10), found.repeat(2, axis=0))


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("regmix:none", NotFoundError, "set 'none' is not in"),
        ("regmix:set/ridge", InputError, "regressor 'ridge', expected one of gaussian-process"),
        (
            "regmix:set",
            InputError,
            "has 7 constant runs of the default proxy with feedback, expected at least 8",
        ),
    ],
)
def test_what_regmix_refuses(farm, spec, error, message):
    with pytest.raises(error, match=message):
        check_controller(spec, warehouse=farm(near_wanted, static=7), space=SPACE)


@pytest.mark.parametrize("kind", ["regmix", "regmix-d", "schedule"])
def test_other_domains_are_refused(farm, kind):
    other = DomainSpace(("a", "c"), SPACE.samples_N)
    with pytest.raises(InputError, match="other domains than the dataset"):
        check_controller(f"{kind}:set", warehouse=farm(near_wanted, static=8), space=other)


@pytest.mark.parametrize("kind", ["regmix", "regmix-d", "schedule"])
def test_set_without_feedback_is_refused(farm, kind):
    warehouse = farm(near_wanted, static=2)
    for file in warehouse.feedback("set").glob("*.parquet"):
        file.unlink()
    with pytest.raises(InputError, match="run 'dmix mix collect' first"):
        check_controller(f"{kind}:set", warehouse=warehouse, space=SPACE)


@pytest.mark.parametrize("kind", ["regmix", "regmix-d", "schedule", "decision-transformer"])
def test_a_controller_that_is_not_prepared_is_refused_and_nothing_is_written(farm, kind):
    warehouse, spec = farm(near_wanted, static=8), f"{kind}:set"
    check_controller(spec, warehouse=warehouse, space=SPACE)
    with pytest.raises(NotFoundError, match=r"has no fit to set 'set'.*dmix train"):
        make_controller(spec, warehouse=warehouse, space=SPACE)
    assert not (warehouse.trajectories("set") / "fits").exists()


def test_regmix_kl_finds_the_wanted_mixture_within_the_radius_that_runs_support(farm):
    warehouse = farm(near_wanted, static=40)
    prepare_controller("regmix-kl:set", warehouse=warehouse, space=SPACE, progress=lambda line: None)
    controller = make_controller("regmix-kl:set", warehouse=warehouse, space=SPACE)
    kept = regmix_kl.plan("set", warehouse=warehouse, space=SPACE).read()
    mixture = np.array(kept["mixture"])
    assert kept["regressor"] in regmix_kl.REGRESSORS and kept["radius"] in RADII
    assert divergence(mixture[None], SPACE.natural_N)[0] <= kept["radius"] + 1e-6
    distance = [((m - WANTED) ** 2).sum() for m in (mixture, SPACE.natural_N)]
    assert distance[0] < distance[1]
    assert controller.name == "regmix-kl:set"


def test_regmix_kl_needs_its_fit(farm):
    warehouse = farm(near_wanted, static=40)
    with pytest.raises(NotFoundError, match="regmix-kl"):
        make_controller("regmix-kl:set", warehouse=warehouse, space=SPACE)
