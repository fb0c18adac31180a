import os
import subprocess
import sys

from dmix.warehouse_schema.files.processes import is_alive, may_fork, this_process


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


def test_only_a_command_with_one_thread_may_fork():
    code = (
        "import threading\n"
        "from dmix.warehouse_schema.files.processes import allow_forks, may_fork\n"
        "import pyarrow\n"
        "found = [may_fork()]\n"
        "allow_forks()\n"
        "found.append(may_fork())\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "print(*found, may_fork())"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True", "False"]
    assert not may_fork()
