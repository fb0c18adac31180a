"""Sampling a set: seeds, masks, resuming, processes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from dmix.mixing.trajectories import sampling as module
from dmix.mixing.trajectories.sampling import (
    expected_work,
    planned_set,
    read_trajectories,
    sample_trajectories,
)
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import write_dataset_manifest

COUNTS = (300, 0, 120, 40, 200, 90, 0, 10)
SMALL = {"top_k": (1, 20), "paths": 3, "random_paths": 6, "candidates": 200, "steps": 5, "batch_size": 8}


@pytest.fixture
def manifest(make_manifest):
    return make_manifest(COUNTS)


def sample(folder, manifest, *, processes=1, lines=None, **changes):
    warehouse = Warehouse.at(folder)
    sample_trajectories(
        warehouse,
        manifest=manifest,
        set_name="set",
        settings=SampleSettings(**{**SMALL, **changes}),
        processes=processes,
        progress=(lines if lines is not None else []).append,
    )
    return warehouse


def contents(warehouse):
    return {path.name: path.read_bytes() for path in warehouse.trajectories("set").glob("*.parquet")}


def test_a_set_holds_inductive_segment_and_static_paths(tmp_path, manifest):
    found = read_trajectories(sample(tmp_path, manifest), "set")
    assert [(t.kind, t.top_k) for t in found] == [
        *[("inductive", 1)] * 3,
        *[("inductive", 20)] * 3,
        *[("segments", None)] * 4,
        *[("static", None)] * 2,
    ]


def test_mixtures_are_on_the_simplex_and_masked(tmp_path, manifest):
    for trajectory in read_trajectories(sample(tmp_path, manifest), "set"):
        mixtures = trajectory.mixtures_TN
        assert mixtures.shape[1] == 8
        assert 2 <= len(mixtures) <= 6
        assert mixtures.sum(1) == pytest.approx(np.ones(len(mixtures)), abs=1e-12)
        assert (mixtures[:, [1, 6]] == 0).all()
        assert mixtures[0] == pytest.approx(np.array([300, 0, 120, 40, 0, 0, 0, 0]) / 460)


def test_trajectories_end_where_the_target_is_used_up(tmp_path, manifest):
    found = planned_set(manifest, set_name="set", settings=SampleSettings(**SMALL))
    for trajectory in read_trajectories(sample(tmp_path, manifest), "set"):
        drawn = np.cumsum(trajectory.mixtures_TN[1:, 4:].sum(1))
        assert (drawn[:-1] < found.target_steps).all()
        assert len(drawn) == 5 or drawn[-1] >= found.target_steps


def test_same_seed_gives_the_same_bytes_and_another_others(tmp_path, manifest):
    first = contents(sample(tmp_path / "a", manifest))
    assert contents(sample(tmp_path / "b", manifest)) == first
    other = contents(sample(tmp_path / "c", manifest, seed=1))
    assert other.keys() == first.keys()
    assert all(other[name] != first[name] for name in first)


def test_processes_do_not_change_the_bytes(tmp_path, manifest):
    lines = []
    spread = sample(tmp_path / "b", manifest, processes=2, lines=lines)
    assert contents(spread) == contents(sample(tmp_path / "a", manifest))
    assert "6 of 6 paths of Algorithm 1" in lines[-1]


def test_killed_sampling_goes_on_to_the_same_bytes(tmp_path, manifest, monkeypatch):
    whole = contents(sample(tmp_path / "whole", manifest))
    real, made = module.sample_path, []

    def dies_at_the_fifth(*arguments, **values):
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(values["path"])
        return real(*arguments, **values)

    monkeypatch.setattr(module, "sample_path", dies_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        sample(tmp_path / "cut", manifest)
    left = contents(Warehouse.at(tmp_path / "cut"))
    assert len(left) == 6 + 4
    monkeypatch.setattr(module, "sample_path", lambda *a, **v: made.append(v["path"]) or real(*a, **v))
    assert contents(sample(tmp_path / "cut", manifest)) == whole
    assert made == [0, 1, 2, 0, 1, 2]


def test_finished_set_is_not_touched(tmp_path, manifest):
    warehouse = sample(tmp_path, manifest)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    lines = []
    sample(tmp_path, manifest, lines=lines)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == times
    assert lines == ["set set: all 6 paths of Algorithm 1 exist already"]
    assert len(contents(warehouse)) == 12


def test_failing_worker_raises_its_error(tmp_path, manifest):
    warehouse = sample(tmp_path, manifest)
    for name in ("inductive-20-0000", "inductive-1-0002"):
        (warehouse.trajectories("set") / f"{name}.parquet").unlink()
    (warehouse.trajectories("set") / "inductive-1-0000.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"inductive-1-0000.parquet cannot be read"):
        sample(tmp_path, manifest, processes=2)


def test_other_settings_under_the_same_name_are_refused(tmp_path, manifest):
    sample(tmp_path, manifest)
    with pytest.raises(
        InputError, match=r"set 'set' already exists .*seed is 0 in the set, and 7 in .*--set"
    ):
        sample(tmp_path, manifest, seed=7)


def test_expected_work_counts_what_is_missing(tmp_path, manifest):
    settings = SampleSettings(**SMALL)
    wanted = planned_set(manifest, set_name="set", settings=settings)
    work = expected_work(Warehouse.at(tmp_path), wanted=wanted, settings=settings)
    assert (work.trajectories, work.missing, work.steps) == (12, 12, 30)
    assert work.seconds > 0
    assert not list(tmp_path.iterdir())
    sample(tmp_path, manifest)
    work = expected_work(Warehouse.at(tmp_path), wanted=wanted, settings=settings)
    assert (work.missing, work.steps, work.seconds) == (0, 0, 0)


def test_paper_paths_differ_from_default_ones(tmp_path, manifest):
    paper = read_trajectories(sample(tmp_path / "p", manifest, preset="paper", random_paths=0), "set")
    default = read_trajectories(sample(tmp_path / "d", manifest, random_paths=0), "set")
    assert not np.array_equal(paper[0].mixtures_TN[1], default[0].mixtures_TN[1])


def start(script, folder):
    """Starts a Python process in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


LONG_RUN = """
import sys
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.mixing.trajectories.sampling import sample_trajectories
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

if __name__ == "__main__":
    warehouse = Warehouse.at(sys.argv[1])
    manifest = read_dataset_manifest(warehouse)
    settings = SampleSettings(preset="paper", paths=10_000, top_k=(1, 2), steps=5)
    sample_trajectories(warehouse, manifest=manifest, set_name="set", settings=settings, processes=2)
"""


def children_of_session(session):
    """Live processes of a session, the resource tracker of multiprocessing left out."""
    found = []
    for process in psutil.process_iter(["pid", "status", "cmdline"]):
        try:
            same = os.getsid(process.pid) == session and process.info["status"] != psutil.STATUS_ZOMBIE
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
        if same and "resource_tracker" not in " ".join(process.info["cmdline"] or ()):
            found.append(process.pid)
    return found


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(tmp_path, manifest, signal_number):
    warehouse = Warehouse.at(tmp_path)
    write_dataset_manifest(warehouse, manifest)
    process = start(LONG_RUN, tmp_path)
    deadline = time.monotonic() + 60
    while not contents(warehouse) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal_number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert signal_number == signal.SIGKILL or "KeyboardInterrupt" in errors
    while children_of_session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert children_of_session(process.pid) == []
    assert contents(warehouse)
