"""Sets whose trajectories a known law scored, and what controllers that learn from them propose."""

import numpy as np
import pytest
from tests.manifests import trajectory_set

from dmix.mixing.controllers.registry import make_controller, prepare_controller
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.mixing.trajectories.feedback import write_feedback
from dmix.mixing.trajectories.store import Trajectory, publish_set, write_trajectory
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
def scored_farm(tmp_path):
    """Makes a set whose trajectories were scored by a law."""
    warehouse = Warehouse.at(tmp_path)

    def make(score, *, static=0, segments=0, name="set"):
        publish_set(
            warehouse,
            trajectory_set(SPACE.names, SPACE.samples_N, steps=STEPS, set_name=name),
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
