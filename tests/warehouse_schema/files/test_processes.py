import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from dmix.warehouse_schema.files.processes import (
    is_alive,
    keep_interrupt,
    may_fork,
    obey_parent,
    start_tracker,
    starting_workers,
    this_process,
)


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


def work_until_told(ready):
    obey_parent()
    ready.put(os.getpid())
    time.sleep(60)
    os._exit(7)


def test_a_worker_ends_when_its_parent_says_so_not_when_others_do():
    start_tracker()
    fork = multiprocessing.get_context("fork")
    ready, blocked = fork.SimpleQueue(), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with starting_workers():
        worker = fork.Process(target=work_until_told, args=(ready,))
        worker.start()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked
    for name in ("INT", "TERM", "HUP", "USR1"):  # from another process, as a terminal or a scheduler does
        subprocess.run(["kill", f"-{name}", str(ready.get() if name == "INT" else worker.pid)], check=True)
    worker.join(0.3)
    assert worker.is_alive()
    worker.terminate()
    worker.join(30)
    assert worker.exitcode == 0


def test_a_worker_ends_with_its_parent():
    fork = multiprocessing.get_context("fork")
    ready = fork.SimpleQueue()

    def start_and_die():
        with starting_workers():
            fork.Process(target=work_until_told, args=(ready,)).start()
        time.sleep(60)

    parent = fork.Process(target=start_and_die)
    parent.start()
    worker = {"host": this_process()["host"], "pid": ready.get()}
    parent.kill()
    deadline = time.monotonic() + 30
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_alive(worker) is False


def test_a_process_that_is_killed_leaves_neither_shared_memory_nor_words():
    code = (
        "import os\n"
        "from multiprocessing.shared_memory import SharedMemory\n"
        "from dmix.warehouse_schema.files.processes import start_tracker\n"
        "start_tracker()\n"
        "assert 'PYTHONWARNINGS' not in os.environ\n"
        "print(SharedMemory(create=True, size=8).name, flush=True)\n"
        "os._exit(3)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    # its output ends when the tracker does, too
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (3, "")
    with pytest.raises(FileNotFoundError):
        SharedMemory(done.stdout.strip(), create=False)


@pytest.mark.parametrize("fails", [False, True])
def test_an_import_that_takes_ctrl_c_over_gives_it_back(tmp_path, monkeypatch, fails):
    name = f"takes_ctrl_c_{fails}"
    (tmp_path / f"{name}.py").write_text(
        "import signal, sys\nsignal.signal(signal.SIGINT, lambda *_: sys.exit(130))\n"
        + ("raise ImportError('nothing')\n" if fails else "HERE = 1\n")
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = signal.getsignal(signal.SIGINT)
    keep_interrupt(name)
    if fails:
        with pytest.raises(ImportError, match="nothing"):
            importlib.import_module(name)
    else:
        assert importlib.import_module(name).HERE == 1
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("module", ["composer.core.engine"])
def test_composer_is_imported_without_its_ctrl_c(module):
    """Fails when Composer's module is called otherwise, or takes nothing over any more."""
    spec = importlib.util.find_spec(module.partition(".")[0])
    file = Path(spec.submodule_search_locations[0], *module.split(".")[1:]).with_suffix(".py")
    assert "signal.signal(signal.SIGINT" in file.read_text()
    said = "import sys, dmix.training; print([f._module for f in sys.meta_path if hasattr(f, '_module')])"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert module in done.stdout
