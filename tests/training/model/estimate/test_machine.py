"""Speeds that are kept from one command to the next."""

import json

import pytest

from dmix.training.model.estimate import machine
from dmix.training.model.estimate.machine import fingerprint, kept_speed, speed_file


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def unasked():
    raise AssertionError("measured again")


def test_a_speed_is_measured_once_for_each_kind(cache):
    assert kept_speed("bf16", lambda: 3e9) == 3e9 and kept_speed("other", lambda: 4e9) == 4e9
    assert speed_file() == cache / "dmix" / "speed.json"
    assert (kept_speed("bf16", unasked), kept_speed("other", unasked)) == (3e9, 4e9)


def test_the_highest_speed_counts_of_what_other_processes_lower(cache):
    speeds = [machine.fastest_speed("fp32", lambda value=value: value) for value in (3e9, 2e9, 4e9, 1e9)]
    assert speeds == [3e9, 3e9, 4e9, 4e9] and machine.known_speed("fp32") == 4e9


def test_another_number_of_threads_and_another_processor_are_another_machine(monkeypatch):
    before = fingerprint()
    kept_speed("bf16", lambda: 3e9)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert fingerprint() != before and kept_speed("bf16", lambda: 5e9) == 5e9
    monkeypatch.setattr(machine, "processor_name", lambda: "another one")
    assert kept_speed("bf16", lambda: 6e9) == 6e9
    assert len(json.loads(speed_file().read_text())) == 3


@pytest.mark.parametrize("kept", ["no JSON", "[]", "{}", "null", 1, -1.0, True, "3e9", None, []])
def test_what_is_no_speed_is_measured_again(kept):
    speed_file().parent.mkdir(parents=True)
    text = kept if kept in ("no JSON", "[]", "{}", "null") else json.dumps({fingerprint(): {"bf16": kept}})
    speed_file().write_text(text)
    assert kept_speed("bf16", lambda: 3e9) == 3e9 and kept_speed("bf16", unasked) == 3e9


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert kept_speed("bf16", lambda: 3e9) == 3e9
