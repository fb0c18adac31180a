"""Feedback on disk, and the farm's scales."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.manifests import trajectory_set

from dmix.mixing.trajectories.feedback import (
    farm_scales,
    feedback_file,
    load_feedback,
    read_feedback,
    read_trained,
    write_feedback,
)
from dmix.mixing.trajectories.store import Trajectory, publish_set, write_trajectory
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

SCORES = np.array([[-3.0, -2.0], [-2.5, np.nan], [-2.0, -1.0]])
NAMES = ("z general", "a math")


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path)


def write(warehouse, name="static-0000", objectives=NAMES, scores=SCORES):
    return write_feedback(
        warehouse, set_name="set", trajectory_id=name, objectives=objectives, scores_TD=scores
    )


def test_feedback_comes_back_in_the_order_of_the_environment(warehouse):
    path = write(warehouse)
    assert path == feedback_file(warehouse, "set", "static-0000")
    assert load_feedback(warehouse, "set").objectives == NAMES
    (found,) = read_feedback(warehouse, "set").values()
    assert np.array_equal(found, SCORES, equal_nan=True)
    names = ["trajectory_id", "step", "objective", "score", "variation", "weights"]
    assert pq.read_schema(path).names == names


def sampled(warehouse, *names):
    """A set of trajectories of three entries over (source, target)."""
    publish_set(
        warehouse,
        trajectory_set((("source", "a"), ("target", "a")), (10, 10), steps=2, step_samples=8),
    )
    for name in names:
        mixtures = np.array([[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
        trajectory = Trajectory(trajectory_id=name, kind="static", top_k=None, mixtures_TN=mixtures)
        write_trajectory(warehouse.trajectories("set"), trajectory)
    return mixtures


def test_what_a_proxy_was_trained_on_stands_beside_its_scores(warehouse):
    asked = sampled(warehouse, "varied", "usual", "waiting")
    planned = np.array([[1.0, 0.0], [0.5, 0.5], [0.75, 0.25]])
    write_feedback(
        warehouse,
        set_name="set",
        trajectory_id="varied",
        objectives=NAMES,
        scores_TD=SCORES,
        variation="learning_rate*2",
        planned_TN=planned,
    )
    write(warehouse, "usual")
    assert load_feedback(warehouse, "set").variations == {"varied": "learning_rate*2", "usual": ""}
    trained = {
        found.trajectory_id: found.mixtures_TN
        for found in read_trained(warehouse, "set", load_feedback(warehouse, "set"))
    }
    np.testing.assert_array_equal(trained["varied"], planned)
    np.testing.assert_array_equal(trained["usual"], asked)
    np.testing.assert_array_equal(trained["waiting"], asked)


def test_files_without_the_newer_columns_are_read(warehouse):
    asked = sampled(warehouse, "static-0000")
    path = write(warehouse)
    pq.write_table(pq.read_table(path).select(["trajectory_id", "step", "objective", "score"]), path)
    (found,) = read_feedback(warehouse, "set").values()
    assert np.array_equal(found, SCORES, equal_nan=True)
    assert load_feedback(warehouse, "set").variations == {"static-0000": ""}
    (trained,) = read_trained(warehouse, "set", load_feedback(warehouse, "set"))
    np.testing.assert_array_equal(trained.mixtures_TN, asked)


def test_no_feedback_is_empty(warehouse):
    assert read_feedback(warehouse, "set") == {}
    assert load_feedback(warehouse, "set").objectives == ()


def test_wrong_shape_is_refused(warehouse):
    with pytest.raises(InputError, match=r"shape \(3, 2\), expected \(steps \+ 1, 1\)"):
        write(warehouse, objectives=("only",))


def test_two_environments_in_one_set_are_refused(warehouse):
    write(warehouse)
    write(warehouse, "static-0001", objectives=("z general", "code"))
    with pytest.raises(InputError, match="with one environment file"):
        read_feedback(warehouse, "set")


def test_damaged_file_is_named(warehouse):
    write(warehouse).write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"static-0000.parquet is damaged"):
        read_feedback(warehouse, "set")


@pytest.mark.parametrize(
    ("planned", "said"),
    [
        (np.ones((3, 1)), "mixtures of 1 domain, but the set has 2"),
        (np.full((3, 2), 0.7), "do not sum to 1"),
        (np.array([[2.0, -1.0]] * 3), "weights below 0"),
    ],
)
def test_planned_mixtures_that_no_proxy_has_are_named(warehouse, planned, said):
    sampled(warehouse, "static-0000")
    write_feedback(
        warehouse,
        set_name="set",
        trajectory_id="static-0000",
        objectives=NAMES,
        scores_TD=SCORES,
        planned_TN=planned,
    )
    with pytest.raises(InputError, match=rf"static-0000\.parquet .*{said}"):
        read_trained(warehouse, "set", load_feedback(warehouse, "set"))


def test_scales_are_standard_deviations_over_everything_that_is_there():
    # column 0: -3, -2.5, -2, -2 -> mean -2.375, squares .390625 + .015625 + .140625 x 2 = .6875
    scales = farm_scales([SCORES, np.array([[-2.0, -2.0]])], objectives=NAMES)
    assert scales[0] == pytest.approx(np.sqrt(0.6875 / 4))
    # column 1: -2, -1, -2 -> mean -5/3, variance 2/9
    assert scales[1] == pytest.approx(np.sqrt(2 / 9))


@pytest.mark.parametrize("scores", [[], [np.full((3, 2), -1.0)], [np.full((2, 2), np.nan)]])
def test_scores_without_spread_have_no_scale(scores):
    with pytest.raises(InputError, match=r"'z general' has .* all are equal"):
        farm_scales(scores, objectives=NAMES)


@pytest.mark.parametrize("rows", [5, 0])
def test_a_file_with_other_rows_is_named(warehouse, rows):
    path = write(warehouse)
    pq.write_table(pq.read_table(path).slice(0, rows), path)
    with pytest.raises(InputError, match=r"static-0000\.parquet cannot be read as scores"):
        load_feedback(warehouse, "set")
