"""Sets and trajectories on disk."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from dmix.mixing.trajectories.store import (
    Trajectory,
    TrajectorySet,
    publish_set,
    read_set,
    read_trajectories,
    read_trajectory,
    sets,
    trajectory_id,
    write_trajectory,
)
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse

WANTED = TrajectorySet(
    set_name="first",
    dataset="d",
    preset="paper",
    settings={"seed": 0, "top_k": [1, 100]},
    space=(("source", "a"), ("source", "b"), ("target", "a"), ("target", "b")),
    samples=(10, 20, 0, 30),
    step_samples=4,
    run_step_samples=8,
    steps=3,
)
MIXTURES = np.array([[1 / 3, 2 / 3, 0, 0], [0.1, 0.2, 0, 0.7]])


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path)


def test_set_comes_back_as_it_was_written(warehouse):
    published = publish_set(warehouse, WANTED)
    assert read_set(warehouse, "first") == published
    assert dataclasses.replace(published, created_at="") == WANTED
    assert sets(warehouse) == ["first"]


def test_set_knows_its_space_and_how_long_the_target_lasts():
    assert WANTED.domain_space.names == WANTED.space
    assert WANTED.domain_space.active_N.tolist() == [True, True, False, True]
    assert WANTED.target_steps == 30 / 8


def test_publishing_again_keeps_the_first(warehouse):
    published = publish_set(warehouse, WANTED)
    assert publish_set(warehouse, WANTED) == published


def test_publishing_other_settings_names_what_differs(warehouse):
    publish_set(warehouse, WANTED)
    other = dataclasses.replace(WANTED, steps=4, settings={"seed": 1, "top_k": [1, 100]})
    with pytest.raises(InputError, match=r"steps is 3 in the set, and 4 .*seed is 0 .*and 1 in .*--set"):
        publish_set(warehouse, other)


def test_missing_set_lists_those_that_are_there(warehouse):
    publish_set(warehouse, WANTED)
    with pytest.raises(NotFoundError, match=r"set 'second' is not in .* \(available: first\)"):
        read_set(warehouse, "second")


def test_damaged_set_is_an_input_error(warehouse):
    path = warehouse.trajectories("first") / "set.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"format": 1, "set_name": "first"}')
    with pytest.raises(InputError, match="damaged"):
        read_set(warehouse, "first")
    path.write_text('{"format": 2}')
    with pytest.raises(InputError, match="update dmix"):
        read_set(warehouse, "first")


@pytest.mark.parametrize(
    "change", [{"samples": [1]}, {"steps": "x"}, {"step_samples": None}, {"space": [["a"]]}]
)
def test_a_set_whose_values_were_altered_is_named(warehouse, change):
    publish_set(warehouse, WANTED)
    path = warehouse.trajectories("first") / "set.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=r"set\.json is damaged .* run 'dmix mix sample' again"):
        read_set(warehouse, "first")


def test_trajectory_comes_back_bit_for_bit(tmp_path):
    written = Trajectory(trajectory_id="static-0001", kind="static", top_k=None, mixtures_TN=MIXTURES)
    path = write_trajectory(tmp_path, written)
    found = read_trajectory(path)
    assert (found.trajectory_id, found.kind, found.top_k) == ("static-0001", "static", None)
    assert np.array_equal(found.mixtures_TN, MIXTURES)
    assert pq.read_schema(path).names == ["trajectory_id", "kind", "top_k", "step", "weights"]
    first = path.read_bytes()
    write_trajectory(tmp_path, written)
    assert path.read_bytes() == first


def test_trajectories_come_in_order_of_kind_k_and_number(warehouse):
    publish_set(warehouse, WANTED)
    folder = warehouse.trajectories("first")
    for kind, top_k in (("static", None), ("inductive", 100), ("inductive", 1), ("segments", None)):
        for number in (1, 0):
            write_trajectory(
                folder,
                Trajectory(
                    trajectory_id=trajectory_id(kind, number, top_k=top_k),
                    kind=kind,
                    top_k=top_k,
                    mixtures_TN=MIXTURES,
                ),
            )
    assert [found.trajectory_id for found in read_trajectories(warehouse, "first")] == [
        "inductive-1-0000",
        "inductive-1-0001",
        "inductive-100-0000",
        "inductive-100-0001",
        "segments-0000",
        "segments-0001",
        "static-0000",
        "static-0001",
    ]


def test_set_without_trajectories_says_how_to_go_on(warehouse):
    publish_set(warehouse, WANTED)
    with pytest.raises(NotFoundError, match="no finished trajectories; run 'dmix mix sample'"):
        read_trajectories(warehouse, "first")


def test_damaged_trajectory_names_its_file(warehouse):
    publish_set(warehouse, WANTED)
    (warehouse.trajectories("first") / "static-0000.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match=r"static-0000.parquet cannot be read .* delete it"):
        read_trajectories(warehouse, "first")


@pytest.mark.parametrize(
    ("name", "mixtures", "said"),
    [
        ("static-0000", np.full((2, 3), 1 / 3), "no trajectory of this name in the 4 domains"),
        ("static-0001", np.full((2, 4), 1 / 4), "no trajectory of this name"),
        ("static-0000", np.full((2, 4), 1.0), "do not sum to 1"),
        ("static-0000", np.full((2, 4), np.nan), "not finite"),
    ],
)
def test_a_trajectory_that_no_set_has_is_named(warehouse, name, mixtures, said):
    publish_set(warehouse, WANTED)
    folder = warehouse.trajectories("first")
    written = Trajectory(trajectory_id=name, kind="static", top_k=None, mixtures_TN=mixtures)
    write_trajectory(folder, written).rename(folder / "static-0000.parquet")
    with pytest.raises(InputError, match=rf"static-0000\.parquet .*{said}"):
        read_trajectories(warehouse, "first")
