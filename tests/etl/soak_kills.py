"""Jobs that are killed at each commit step and at random moments, and jobs on every kind of master.

Whatever happened before, the next run of the same command leaves the bytes of a run that nothing
disturbed, and `verify` finds nothing wrong.
"""

import contextlib
import functools
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pyspark
from tests.etl.killed_job import STEPS
from tests.soak import ROOT, SoakError, Unit

from dmix.etl.maintenance.verify import verify_warehouse
from dmix.warehouse_schema.files.layout import Warehouse

LOCAL = "local[2,3]"
KILLS = 20
MOST_SECONDS = 600.0
_FIELDS = ("News", "Science", "Games", "Law", "Health")


def killed_at(folder: Path, *, step: str) -> dict[str, Any]:
    """The driver and its JVM die when a step is about to be taken; a second run ends as if nothing was."""
    raw, marker = write_raw(folder), folder / "marker"
    wanted = unbroken(folder, raw)
    warehouse = Warehouse.at(folder / "killed")
    first = start(warehouse, raw, LOCAL, step, str(marker))
    first.wait(MOST_SECONDS)
    if first.returncode != -signal.SIGKILL or not marker.exists():
        raise SoakError(f"the job ended with {first.returncode} and was not killed")
    finish(warehouse, raw, LOCAL, step, str(marker))
    return {"step": step, "digest": same(warehouse, wanted)}


def killed_at_random(folder: Path, *, victim: str) -> dict[str, Any]:
    """Twenty deaths at random moments: of the driver, or of a Python worker of Spark."""
    raw = write_raw(folder)
    started = time.monotonic()
    wanted = unbroken(folder, raw)
    seconds, draw = time.monotonic() - started, random.Random(0)
    warehouse, deaths, runs = Warehouse.at(folder / "killed"), 0, 0
    while deaths < KILLS:
        runs += 1
        job = start(warehouse, raw, LOCAL)
        while job.poll() is None and deaths < KILLS:
            with contextlib.suppress(subprocess.TimeoutExpired):
                job.wait(draw.uniform(0.02, 1.0 if victim == "driver" else 0.3) * seconds)
            deaths += kill(job, victim, draw)
        job.wait(MOST_SECONDS)
        if not any(warehouse.root.glob("streams/*/manifest.json")):
            continue
        same(warehouse, wanted)
        # what is done is not undone: the next deaths need a job with work to do
        warehouse = Warehouse.at(folder / f"killed-{runs}")
    finish(warehouse, raw, LOCAL)
    return {"victim": victim, "deaths": deaths, "runs": runs, "digest": same(warehouse, wanted)}


def on_master(folder: Path, *, master: str) -> dict[str, Any]:
    """The same bytes as on two local cores."""
    raw = write_raw(folder)
    wanted = unbroken(folder, raw)
    warehouse = Warehouse.at(folder / "other")
    with standalone() if master == "standalone" else contextlib.nullcontext(master) as url:
        finish(warehouse, raw, url)
    return {"master": master, "digest": same(warehouse, wanted)}


def write_raw(folder: Path, *, large: int = 8_000, small: int = 40) -> Path:
    """Text in a file of `large` lines, some 2.5 MB, and in `small` files of 20 lines."""
    draw, raw = random.Random(1), folder / "raw"
    raw.mkdir()
    words = [f"word{number}" for number in range(500)]

    def lines(count: int) -> str:
        records = (
            {"text": " ".join(draw.choices(words, k=draw.randint(5, 60))), "topic": draw.choice(_FIELDS)}
            for _ in range(count)
        )
        return "".join(json.dumps(record) + "\n" for record in records)

    (raw / "large.jsonl").write_text(lines(large))
    for number in range(small):
        (raw / f"small-{number:02d}.jsonl").write_text(lines(20))
    return raw


def unbroken(folder: Path, raw: Path) -> dict[str, str]:
    """Digests of a run that nothing disturbs."""
    warehouse = Warehouse.at(folder / "unbroken")
    finish(warehouse, raw, LOCAL)
    return digests(warehouse)


def start(warehouse: Warehouse, raw: Path, master: str, *given: str) -> subprocess.Popen[bytes]:
    """Starts the job in a process group of its own."""
    command = [sys.executable, "-m", "tests.etl.killed_job", str(warehouse.root), str(raw), master, *given]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )


def finish(warehouse: Warehouse, raw: Path, master: str, *given: str) -> None:
    """Runs the job to its end."""
    job = start(warehouse, raw, master, *given)
    if job.wait(MOST_SECONDS):
        raise SoakError(f"the job on {master} ended with {job.returncode}")


def kill(job: subprocess.Popen[bytes], victim: str, draw: random.Random) -> int:
    """Sends SIGKILL to the job's group, or to one of its Python workers; returns how many died."""
    if job.poll() is not None:
        return 0
    if victim == "driver":
        os.killpg(job.pid, signal.SIGKILL)
        return 1
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        daemons = [
            child
            for child in psutil.Process(job.pid).children(recursive=True)
            if "pyspark.daemon" in " ".join(child.cmdline())
        ]
        workers = [worker for daemon in daemons for worker in daemon.children()]
        draw.choice(workers).kill()
        return 1
    return 0


def digests(warehouse: Warehouse) -> dict[str, str]:
    """SHA-256 of everything under labels, rejects and streams that is not a manifest with a time in it."""
    return {
        str(path.relative_to(warehouse.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in ("labels", "rejects", "streams")
        for path in sorted((warehouse.root / name).rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(warehouse.root).parts)
        and not (path.name == "manifest.json" or path.parent.parent.name == "labels")
    }


def same(warehouse: Warehouse, wanted: dict[str, str]) -> str:
    """One digest of all of them, if they are as wanted and `verify` agrees.

    Raises:
        SoakError: If not.
    """
    found = digests(warehouse)
    if found != wanted:
        differing = sorted(set(found.items()) ^ set(wanted.items()))
        raise SoakError(f"{len(differing)} files differ, the first is {differing[0][0]}")
    problems = verify_warehouse(warehouse, dataset=None, progress=lambda line: None).problems
    if problems:
        raise SoakError(f"verify finds {len(problems)} problems, the first: {problems[0]}")
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def standalone():
    """A Spark master with two workers of one core; the URL of the master."""
    home = Path(pyspark.__file__).parent
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"spark://127.0.0.1:{port}"
    deploy = [str(home / "bin" / "spark-class"), "org.apache.spark.deploy"]
    environment = {**os.environ, "SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    place = ["--host", "127.0.0.1", "--webui-port", "0"]
    commands = [[deploy[0], f"{deploy[1]}.master.Master", *place, "--port", str(port)]]
    commands += [[deploy[0], f"{deploy[1]}.worker.Worker", *place, "--cores", "1", "--memory", "1g", url]] * 2
    with contextlib.ExitStack() as stack:
        for command in commands:
            process = stack.enter_context(subprocess.Popen(command, start_new_session=True, **quiet))
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
        wait_for(port)
        yield url


def wait_for(port: int) -> None:
    """Until something listens at a port of this machine; jobs refuse a master that does not."""
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.2)
    raise SoakError(f"nothing listens at port {port}")


UNITS = [
    *(Unit(f"etl/killed when {step}", functools.partial(killed_at, step=step)) for step in STEPS),
    *(
        Unit(f"etl/killed-at-random/{victim}", functools.partial(killed_at_random, victim=victim))
        for victim in ("driver", "worker")
    ),
    *(
        Unit(f"etl/master/{master}", functools.partial(on_master, master=master))
        for master in ("local[1]", "local[4,3]", "local-cluster[2,1,1024]", "standalone")
    ),
]
