"""The best trajectory of a farm."""

import numpy as np
import pytest

from dmix.mixing.controllers.best_of import best_trajectory
from dmix.mixing.controllers.registry import make_controller
from dmix.mixing.trajectories.feedback import feedback_file, read_feedback, write_feedback
from dmix.warehouse_schema.errors import InputError, NotFoundError


def test_the_highest_last_utility_wins_even_where_the_data_ended_early(farm_warehouse):
    # gains over the scale of .5: .4, 2 (after two of three steps), 1.8
    assert best_trajectory(farm_warehouse, "farm") == "static-0001"


def test_its_mixtures_are_replayed_under_the_name_of_the_set(farm_warehouse, space, history):
    controller = make_controller("best-of:farm", warehouse=farm_warehouse, space=space)
    assert controller.name == "best-of:farm"
    wanted = space.expand(np.array([0.5, 0.5]))
    assert controller.propose(history(2)).mixture_N == pytest.approx(wanted)


def test_a_set_without_feedback_is_not_found(farm_warehouse, space, tmp_path):
    with pytest.raises(NotFoundError, match="set 'none' is not in"):
        make_controller("best-of:none", warehouse=farm_warehouse, space=space)
    files = [feedback_file(farm_warehouse, "farm", f"static-{n:04d}") for n in range(3)]
    hidden = [file.rename(tmp_path / file.name) for file in files]
    try:
        with pytest.raises(NotFoundError, match="run 'dmix mix collect --set farm'"):
            best_trajectory(farm_warehouse, "farm")
    finally:
        for file, back in zip(hidden, files, strict=True):
            file.rename(back)


def test_proxies_that_departed_from_the_usual_one_do_not_compete(farm_warehouse):
    scores = read_feedback(farm_warehouse, "farm")

    def vary(name):
        write_feedback(
            farm_warehouse,
            set_name="farm",
            trajectory_id=name,
            objectives=("x",),
            scores_TD=scores[name],
            variation="learning_rate*2",
        )

    kept = {name: feedback_file(farm_warehouse, "farm", name).read_bytes() for name in scores}
    try:
        vary("static-0001")
        assert best_trajectory(farm_warehouse, "farm") == "static-0002"
        for name in scores:
            vary(name)
        with pytest.raises(InputError, match="no trajectory of the default proxy"):
            best_trajectory(farm_warehouse, "farm")
    finally:
        for name, content in kept.items():
            feedback_file(farm_warehouse, "farm", name).write_bytes(content)
