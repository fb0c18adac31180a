import os
import subprocess
import sys

from dmix.warehouse_schema.files.processes import is_alive, this_process


def test_this_process_is_alive():
    assert is_alive(this_process()) is True


def test_an_ended_process_is_not_alive():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert is_alive({**this_process(), "pid": child.pid}) is False


def test_a_process_id_that_was_given_to_another_process_is_not_alive():
    mine = this_process()
    assert is_alive({**mine, "process_started": mine["process_started"] - 3600}) is False


def test_a_zombie_is_not_alive():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = {"host": this_process()["host"], "pid": child.pid}
    assert is_alive(record) is True
    child.kill()
    # wait for the end without collecting it, so that the entry stays in the process table
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_alive(record) is False
    child.communicate()


def test_other_hosts_and_missing_ids_are_unknown():
    assert is_alive({**this_process(), "host": "elsewhere"}) is None
    assert is_alive({"host": this_process()["host"]}) is None
    assert is_alive({}) is None
