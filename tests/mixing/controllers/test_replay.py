"""Replay: entry t of a stored trajectory at step t."""

import numpy as np
import pytest
from tests.manifests import trajectory_set
from tests.mixing.controllers.four_pairs import SPACE, propose

from dmix.mixing.controllers.registry import make_controller
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.store import Trajectory, publish_set, write_trajectory
from dmix.warehouse_schema.errors import InputError


def static(tmp_path, content):
    file = tmp_path / "mix.yaml"
    file.write_text(content)
    return f"static:{file}"


@pytest.fixture
def replayed(warehouse):
    """A set with one trajectory of two steps."""
    publish_set(
        warehouse,
        trajectory_set(SPACE.names, (30, 0, 50, 20), steps=5),
    )
    mixtures = np.array([SPACE.start_N, [0.6, 0, 0.4, 0], [0.1, 0.1, 0.2, 0.6]])
    write_trajectory(
        warehouse.trajectories("set"),
        Trajectory(trajectory_id="static-0000", kind="static", top_k=None, mixtures_TN=mixtures),
    )
    return warehouse


def test_replay_gives_entry_t_masked_and_then_the_last_one(replayed):
    found = [propose("replay:set/static-0000", replayed, step=step) for step in (1, 2, 3)]
    assert found[0] == pytest.approx([0.6, 0, 0.4, 0])
    assert found[1] == pytest.approx(np.array([0.1, 0, 0.2, 0.6]) / 0.9)
    assert np.array_equal(found[1], found[2])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("replay:set", "write replay:SET/TRAJECTORY"),
        ("replay:set/none", r"no trajectory 'none' \(first ones: static-0000\)"),
        ("replay:other/static-0000", "set 'other' is not in"),
    ],
)
def test_replay_refuses(spec, message, replayed):
    with pytest.raises(InputError, match=message):
        make_controller(spec, warehouse=replayed, space=SPACE)


def test_replay_refuses_another_space(replayed):
    with pytest.raises(InputError, match=r"set 'set' has other domains .*same taxonomy"):
        make_controller(
            "replay:set/static-0000", warehouse=replayed, space=DomainSpace(("a",), np.array([1, 1]))
        )
