"""Static runs and steps of a farm as regressors read them, by hand."""

import numpy as np
import pytest

from dmix.mixing.regression.farm_runs import FEWEST_RUNS, FarmRuns, step_features
from dmix.mixing.trajectories.store import Trajectory
from dmix.warehouse_schema.errors import InputError


def trajectory(number, kind, *mixtures):
    return Trajectory(trajectory_id=f"{kind}-{number}", kind=kind, top_k=None, mixtures_TN=np.array(mixtures))


def runs(*trajectories):
    return FarmRuns(
        set_name="set",
        names=(("source", "a"), ("target", "a")),
        steps=2,
        trajectories=trajectories,
        utilities=tuple(np.array([0.0, 1.0, 3.0 + i]) for i in range(len(trajectories))),
        finals=tuple(np.array([i, -i], np.float64) for i in range(len(trajectories))),
        scales_D=np.ones(2),
        weights_D=np.full(2, 0.5),
    )


START, NEAR, FAR = [1.0, 0.0], [0.7, 0.3], [0.2, 0.8]
MOVING = trajectory(0, "segments", START, NEAR, FAR)
STATIC = [trajectory(i, "static", START, NEAR, NEAR) for i in range(FEWEST_RUNS)]


def test_static_runs_give_their_mixture_and_its_last_utility():
    mixtures_RN, values_R1 = runs(MOVING, *STATIC).static()
    assert mixtures_RN.tolist() == [NEAR] * FEWEST_RUNS
    assert values_R1[:, 0].tolist() == [4.0 + i for i in range(FEWEST_RUNS)]
    same_RN, finals_RD = runs(MOVING, *STATIC).static_scores()
    assert same_RN.tolist() == mixtures_RN.tolist() and finals_RD[0].tolist() == [1.0, -1.0]


@pytest.mark.parametrize("ask", ["static", "static_scores"])
def test_too_few_static_runs_are_refused(ask):
    with pytest.raises(
        InputError, match=rf"{FEWEST_RUNS - 1} constant runs .*at least {FEWEST_RUNS}; run 'dmix mix sample"
    ):
        getattr(runs(*STATIC[1:], MOVING), ask)()


def test_each_step_has_its_mixture_what_was_drawn_and_the_time():
    features_RX, changes_R1 = runs(MOVING).changes()
    assert features_RX.tolist() == [[*NEAR, 0, 0, 0.5], [*FAR, 0.35, 0.15, 1.0]]
    assert changes_R1[:, 0].tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match="set 'set' has no feedback; run 'dmix mix collect'"):
        runs().changes()


def test_the_last_steps_stand_for_all_that_was_drawn():
    found = step_features(np.array([NEAR, FAR]), np.array([FAR]), 3, 4)
    # two steps of four were drawn, of which one is remembered
    np.testing.assert_allclose(found, [[*NEAR, 0.1, 0.4, 0.75], [*FAR, 0.1, 0.4, 0.75]])
