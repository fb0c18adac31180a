"""Worker processes of this process, without a JVM."""

import os
import signal
import subprocess
import sys
import time
import types

import psutil
import pytest

from dmix.etl.spark.pool import WORTH_A_START_BYTES, WorkerPool
from dmix.etl.spark.tasks import run_tasks
from dmix.warehouse_schema.errors import ClusterError


def test_item_that_ends_its_worker_is_told_and_the_others_are_done(workers):
    def end(item):
        if item == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    assert run_tasks(workers, end, [0, 1, 2, 3], died=lambda item: f"{item} died") == [0, "1 died", 2, 3]
    with pytest.raises(ClusterError, match=r"signal SIGKILL twice, .*only one task"):
        run_tasks(workers, end, [0, 1, 2])


def test_item_that_dies_among_others_alone_may_live(workers, tmp_path):
    def end_once(item):
        marker = tmp_path / f"tried-{item}"
        if item and not marker.exists():
            marker.touch()
            os._exit(3)
        return item

    assert run_tasks(workers, end_once, [0, 1, 2]) == [0, 1, 2]


def test_task_that_always_fails_raises_what_it_raised(workers, tmp_path):
    def fail(item):
        with open(tmp_path / "tries", "a") as file:
            file.write("x")
        raise KeyError("injected")

    with pytest.raises(KeyError, match="injected") as raised:
        run_tasks(workers, fail, [0])
    assert (tmp_path / "tries").read_text() == "xxx"
    assert "in fail" in raised.value.__notes__[0]
    assert run_tasks(workers, abs, [-1]) == [1]


def test_workers_are_kept_have_one_thread_and_print_to_standard_error(capfd):
    workers = WorkerPool(1)

    def look(item):
        print("printed")
        return [os.getpid(), os.environ["OMP_NUM_THREADS"]]

    first, second = run_tasks(workers, look, [0]), run_tasks(workers, look, [0])
    assert first == second
    assert first[0][1] == "1"
    assert capfd.readouterr().err.count("printed") == 2
    workers.close()


@pytest.mark.parametrize(("size_bytes", "workers"), [(0, 2), (1, 1), (WORTH_A_START_BYTES, 2), (1 << 40, 2)])
def test_little_input_starts_one_worker(size_bytes, workers):
    pool = WorkerPool(2)
    run_tasks(pool, abs, [1, 2, 3], size_bytes=size_bytes)
    assert len(pool._idle) == workers
    pool.close()


def test_workers_that_are_there_are_used_for_little_input(monkeypatch):
    pool = WorkerPool(3)
    monkeypatch.setattr(pool, "_idle", [object(), object()])
    assert pool._most(1) == 2


FORKS = """
import os, signal, sys, types
from dmix.etl.spark import outcomes, pool
from dmix.warehouse_schema.files.processes import allow_forks

def task(item):
    if item == "die":
        os.kill(os.getpid(), signal.SIGABRT)
    print("to standard error")
    own = [os.environ["OMP_NUM_THREADS"], os.read(0, 1).decode()]
    return [os.getppid(), loaded, "csv" in sys.modules, item, *own]

module = types.ModuleType("of_the_parent")
module.task, module.loaded = task, None
task.__module__ = "of_the_parent"
sys.modules["of_the_parent"] = module
loaded = []
allow_forks()
workers = pool.WorkerPool(2)
workers.start("csv", load=lambda: loaded.append("weights"))
pids = sorted(worker._process.pid for worker in workers._idle)
found = workers.run(task, ["a", "die"])
"""


def test_first_workers_are_forks_that_have_what_was_loaded():
    code = FORKS + (
        "assert len(pids) == 2 and found[1] == (outcomes.WORKER_DIED, 'by signal SIGABRT'), found\n"
        "import json\n"
        "a = json.loads(found[0].value)\n"
        "assert a == [os.getpid(), ['weights'], True, 'a', '1', ''], a\n"
        "workers.close()\n"
        "for pid in pids:\n"
        "    try: os.kill(pid, 0)\n"
        "    except ProcessLookupError: continue\n"
        "    raise SystemExit('a worker is still there')\n"
        "print('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
    assert "to standard error" in done.stderr


def test_task_that_workers_cannot_import_is_named_on_the_last_try_too(monkeypatch):
    module = types.ModuleType("only_in_this_process")
    exec("def task(item): return item", vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    pool = WorkerPool(1)
    with pytest.raises(ModuleNotFoundError, match=module.__name__):
        run_tasks(pool, module.task, [0])
    pool.close()


def test_process_that_may_not_fork_starts_a_worker_of_its_own():
    pool, loaded = WorkerPool(2), []
    pool.start("csv", load=lambda: loaded.append(1))
    assert (len(pool._idle), loaded) == (1, [])
    assert run_tasks(pool, lambda _: "csv" in sys.modules, [0]) == [True]
    pool.close()


@pytest.mark.parametrize("fork", [True, False])
def test_workers_end_with_the_process_that_started_them(fork):
    code = (
        "import os, signal\n"
        "from dmix.etl.spark.pool import WorkerPool\n"
        "pool = WorkerPool(3)\n"
        "from dmix.warehouse_schema.files.processes import allow_forks\n"
        f"{'allow_forks(); pool.start()' if fork else ''}\n"
        "pool.run(os.getpgid, [0, 0, 0])\n"
        "print(*(worker._process.pid for worker in pool._idle), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    workers, ends = [int(pid) for pid in done.stdout.split()], time.monotonic() + 10
    assert done.returncode == -signal.SIGKILL and workers
    while any(psutil.pid_exists(w) and psutil.Process(w).status() != psutil.STATUS_ZOMBIE for w in workers):
        assert time.monotonic() < ends
        time.sleep(0.01)
