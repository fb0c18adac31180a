import json
import os
import socket
import subprocess
import sys
import time

import pytest

from dmix.warehouse_schema.errors import LockHeldError
from dmix.warehouse_schema.files import locks
from dmix.warehouse_schema.files.locks import held_lock, refuse_while_working

HOLD = """
import sys, pathlib
from dmix.warehouse_schema.files.locks import held_lock
with held_lock(pathlib.Path(sys.argv[1]), what="the test"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_holder(tmp_path):
    """A process that holds `tmp_path / 'l.lock'` until it is killed or its stdin ends."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "l.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_message_names_the_holder(tmp_path, other_holder):
    with pytest.raises(LockHeldError) as caught:
        with held_lock(tmp_path / "l.lock", what="the catalog of w", timeout_seconds=0):
            pass
    message = caught.value.message
    assert message.startswith(f"the catalog of w is locked by process {other_holder.pid} on ")
    assert "since 2" in message and "waited" not in message
    assert message.endswith("then run the same command again")


@pytest.mark.parametrize("record", [None, {}, {"pid": "one"}, {"pid": -3}, {"pid": 10**30}, [1]])
def test_a_job_that_works_is_not_waited_for_and_what_it_left_is(tmp_path, other_holder, record):
    path, started = tmp_path / "l.lock", time.monotonic()
    if record is not None:  # what a killed job left, or somebody wrote by hand
        host = {"host": socket.gethostname()} if isinstance(record, dict) else {}
        (tmp_path / "l.lock.holder").write_text(json.dumps({**record, **host} if host else record))
    with pytest.raises(LockHeldError, match="run r is locked by"):
        with held_lock(path, what="run r", timeout_seconds=60 if record is None else 0.2, of_job=True):
            pass
    if record is None:
        with pytest.raises(LockHeldError, match="run r is locked by process"):
            refuse_while_working(path, what="run r")
    else:
        assert time.monotonic() - started >= 0.2
        refuse_while_working(path, what="run r")
    assert time.monotonic() - started < 30


def test_a_killed_holder_leaves_no_lock(tmp_path, other_holder):
    other_holder.kill()
    other_holder.wait()
    assert (tmp_path / "l.lock.holder").exists()
    with held_lock(tmp_path / "l.lock", what="x", timeout_seconds=0):
        assert json.loads((tmp_path / "l.lock.holder").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "l.lock.holder").exists()


def test_a_waiting_writer_goes_on_when_the_holder_ends(tmp_path, other_holder):
    other_holder.stdin.close()
    with held_lock(tmp_path / "l.lock", what="x", timeout_seconds=10):
        assert json.loads((tmp_path / "l.lock.holder").read_text())["pid"] == os.getpid()


def test_an_error_in_the_body_gives_the_lock_back(tmp_path):
    with pytest.raises(RuntimeError, match="inside"), held_lock(tmp_path / "l.lock", what="x"):
        raise RuntimeError("inside")
    with held_lock(tmp_path / "l.lock", what="x", timeout_seconds=0):
        pass


def test_a_holder_without_a_side_file_is_still_a_holder(tmp_path, other_holder):
    (tmp_path / "l.lock.holder").unlink()
    with pytest.raises(LockHeldError, match="x is locked by another process"):
        with held_lock(tmp_path / "l.lock", what="x", timeout_seconds=0):
            pass


def test_a_long_command_of_the_holder_is_cut_with_a_sign(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/dmix", "train", *["--flag"] * 60])
    with held_lock(tmp_path / "l.lock", what="it"):
        said = locks._holder(tmp_path / "l.lock")
    assert "(dmix train --flag" in said and said.endswith("…)") and "/somewhere" not in said
