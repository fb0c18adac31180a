"""Runs that are killed at ten random moments and go on: the samples, and the decisions, of one
that was left alone.

Ranks are forked from this process, so that an attempt costs its run and not its imports; they join
by gloo, as launched ones do. SIGKILL goes to all ranks at once and spares their loader workers,
which is what a power cut does not do and a scheduler does. Times are drawn as shares of the times
that the unbroken run took, starting up included.
"""

import dataclasses
import json
import multiprocessing
import os
import random
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.soak import SoakError, Unit
from tests.training.conftest import TAXONOMY, publish_dataset

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.controllers import Controller
from dmix.mixing.controllers.agent import AgentController
from dmix.mixing.controllers.fixed import constant
from dmix.mixing.controllers.replay import ReplayController
from dmix.mixing.delivery.shared_streams import _remove_stale
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.mixtures import parse_mixture
from dmix.mixing.trajectories.objectives import load_environment
from dmix.training.model.settings import ModelSettings, TrainingSettings
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.run import LOCK_SECONDS, train
from dmix.warehouse_schema.files.events import read_events
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifests import DatasetManifest, read_dataset_manifest

KILLS = 10
STEPS = 60
MODEL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
TRAINING = TrainingSettings(
    batch_size=8,
    learning_rate=3e-3,
    warmup=0.0,
    checkpoint_steps=3,
    checkpoint_batches=5,
    deterministic=True,
)
MOST_SECONDS = 3600.0  # for a busy machine; an idle one takes seconds


@dataclass(frozen=True)
class Unbroken:
    """How long a run took that was left alone: to the end of its first step, and to its own."""

    start_seconds: float
    seconds: float


def killed_and_resumed(
    folder: Path, *, controller: str, ranks: int, kills: int = KILLS, steps: int = STEPS
) -> dict[str, Any]:
    """One run, killed again and again on the same number of ranks, against an unbroken one."""
    job = dataclasses.replace(make_job(folder, controller), steps=steps)
    with clean_shared_memory(job):
        whole = left_alone(job, folder / "whole", ranks=ranks)
        killed, draw, at_kill = folder / "killed", random.Random(f"{controller} {ranks}"), []
        for number in range(kills):
            moment = random_moment(whole, draw, kills=kills, starting_up=number % 3 == 2)
            if not killed_after(job, killed, ranks=ranks, seconds=moment):
                raise SoakError(f"the run ended before kill {number + 1} of {kills}; make it longer")
            at_kill.append(steps_done(killed))
        finish(job, killed, ranks=ranks)
    same("digest chain", chains(killed), chains(folder / "whole"))
    if len(chains(killed)) != steps:
        raise SoakError(f"the run has {len(chains(killed))} steps, expected {steps}")
    if controller == "agent":
        same("decisions", decisions(killed), decisions(folder / "whole"))
        same("scores", scores(killed), scores(folder / "whole"))
    return {
        "ranks": ranks,
        "kills": kills,
        "seconds_unbroken": round(whole.seconds, 1),
        "steps_at_kills": at_kill,
        "steps": steps,
        "chain": chains(killed)[steps],
    }


def random_moment(whole: Unbroken, draw: random.Random, *, kills: int, starting_up: bool) -> float:
    """Seconds until a kill: before the first step, or so soon after it that all fit into the run."""
    if starting_up:
        return draw.uniform(0.0, whole.start_seconds)
    return whole.start_seconds + draw.uniform(0.0, (whole.seconds - whole.start_seconds) / kills)


def agent_on_other_ranks(folder: Path, *, ranks: int) -> dict[str, Any]:
    """Five runs under the agent, each killed on two ranks and resumed on `ranks`."""
    job = make_job(folder, "agent")
    draw, at_kill, later_decisions_differ = random.Random(f"other ranks {ranks}"), [], 0
    with clean_shared_memory(job):
        whole = left_alone(job, folder / "whole", ranks=2)
        for number in range(KILLS // 2):
            killed = folder / f"killed-{number}"
            moment = draw.uniform(whole.start_seconds, whole.seconds)
            killed_after(job, killed, ranks=2, seconds=moment)
            last = max(decisions(killed), default=0)
            finish(job, killed, ranks=ranks)
            wanted, found = chains(folder / "whole"), chains(killed)
            same("digest chain", {t: found[t] for t in range(1, last + 1)}, dict(list(wanted.items())[:last]))
            decided = decisions(folder / "whole")
            replayed = [t for t, value in decisions(killed).items() if value == decided[t]]
            if not set(range(1, last + 1)) <= set(replayed):
                raise SoakError(f"a decision up to step {last} was not replayed")
            later_decisions_differ += len(replayed) < STEPS
            at_kill.append(last)
    return {
        "ranks": f"2, then {ranks}",
        "kills": KILLS // 2,
        "last_decision_at_kills": at_kill,
        "runs_whose_later_decisions_differ": later_decisions_differ,
    }


# ---- a run


def make_job(folder: Path, controller: str) -> TrainingJob:
    """The run of a unit, over a small dataset that is written into `folder`."""
    torch.set_num_threads(1)
    warehouse = Warehouse.at(folder / "warehouse")
    publish_dataset(warehouse)
    items = "".join(json.dumps({"id": f"g{i}", "text": "abcd" * (2 + i)}) + "\n" for i in range(4))
    (folder / "general.jsonl").write_text(items)
    (folder / "target.jsonl").write_text(items.replace("abcd", "wxyz"))
    (folder / "environment.yaml").write_text(
        "objectives:\n"
        "- {name: general, role: general, kind: continuation, path: general.jsonl}\n"
        "- {name: target, role: target, kind: continuation, path: target.jsonl}\n"
    )
    manifest = read_dataset_manifest(warehouse)
    return TrainingJob(
        run_id="soak",
        kind="guided" if controller == "agent" else "baseline",
        streams=warehouse.stream(manifest.dataset),
        manifest=manifest,
        model=ModelSettings(architecture="llama", config=MODEL, seed=1),
        controller=make_controller(controller, manifest),
        plan=PlanSettings(step_samples=32, batch_size=8, exhaustion="repeat", max_passes=1000),
        steps=STEPS,
        training=dataclasses.replace(TRAINING, loader_workers=1 if controller == "static" else 0),
        environment=load_environment(folder / "environment.yaml"),
    )


def make_controller(name: str, manifest: DatasetManifest) -> Controller:
    """A constant mixture, a schedule drawn at random, or an agent with random weights."""
    space = DomainSpace.of_dataset(manifest)
    if name == "static":
        return constant(parse_mixture({"source": 1, "target/A": 2}, space=space, where="soak"))
    if name == "scripted":
        drawn = np.random.default_rng(3).dirichlet(np.full(len(space), 0.4), STEPS + 1) * space.active_N
        return ReplayController(drawn / drawn.sum(1, keepdims=True), name="scripted")
    torch.manual_seed(0)
    config = MixingAgentConfig(
        labels=TAXONOMY.labels,
        objectives=("general", "target"),
        scales=(1.0, 1.0),
        context=20,
        hidden_size=64,
    )
    return AgentController(MixingAgent(config).eval())


def left_alone(job: TrainingJob, folder: Path, *, ranks: int) -> Unbroken:
    """Trains a run to its end and times it."""
    started = time.time()
    finish(job, folder, ranks=ranks)
    return Unbroken((folder / "started").stat().st_mtime - started, time.time() - started)


def killed_after(job: TrainingJob, folder: Path, *, ranks: int, seconds: float) -> bool:
    """Trains, or goes on, for so long and then kills all ranks; False if the run ended before."""
    folder.mkdir(exist_ok=True)
    # until the loader workers of the attempt before are gone; `finish` does not wait for them
    with held_lock(folder / ".lock", what="the killed run", timeout_seconds=LOCK_SECONDS):
        pass
    processes = start_ranks(job, folder, ranks=ranks)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(process.is_alive() for process in processes):
        time.sleep(0.002)
    alive = [process.is_alive() for process in processes]
    kill_at_once(processes)
    check_errors(folder)
    return all(alive)


def kill_at_once(processes: list[Any]) -> None:
    """SIGKILL for all ranks: stopped first, so that none lives to see the connection of another break."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in processes:
            if process.is_alive():
                os.kill(process.pid, number)
    for process in processes:
        process.join()


def finish(job: TrainingJob, folder: Path, *, ranks: int) -> None:
    """Trains, or goes on, to the end of the run."""
    processes = start_ranks(job, folder, ranks=ranks)
    deadline = time.monotonic() + MOST_SECONDS
    for process in processes:
        process.join(timeout=deadline - time.monotonic())
    if any(process.is_alive() for process in processes):
        kill_at_once(processes)
        raise SoakError(f"{ranks} ranks were still at step {steps_done(folder)} after {MOST_SECONDS:.0f} s")
    check_errors(folder)
    codes = [process.exitcode for process in processes]
    if any(codes):
        raise SoakError(f"ranks ended with {codes}")


def start_ranks(job: TrainingJob, folder: Path, *, ranks: int) -> list[Any]:
    folder.mkdir(exist_ok=True)
    port = free_port()
    context = multiprocessing.get_context("fork")
    resume = (folder / "events.jsonl").is_file()
    processes = []
    for rank in range(ranks):
        place = {
            **{"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks},
            **{"NODE_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
        }
        details = {"place": {name: str(value) for name, value in place.items()}, "resume": resume}
        processes.append(context.Process(target=run_rank, args=(job, folder), kwargs=details))
    for process in processes:
        process.start()
    return processes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def run_rank(job: TrainingJob, folder: Path, *, place: dict[str, str], resume: bool) -> None:
    """One rank, in a process of its own; `place` is what a launcher would put into its environment."""
    os.environ.update(place)
    said = os.open(folder / f"stderr-{place['RANK']}.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(said, 2)
    try:
        train(job, folder=folder, resume=resume, progress=partial(note_start, folder))
    except BaseException:
        (folder / f"error-{place['RANK']}.txt").write_text(traceback.format_exc())
        raise


def note_start(folder: Path, line: str) -> None:
    """Leaves a file at the first line of progress, for the time until the first step was done."""
    if not (folder / "started").exists():
        (folder / "started").touch()


def check_errors(folder: Path) -> None:
    found = [path.read_text() for path in sorted(folder.glob("error-*.txt"))]
    if found:
        raise SoakError(f"a rank failed by itself:\n{found[0]}")


@contextmanager
def clean_shared_memory(job: TrainingJob) -> Iterator[None]:
    """Removes the shared memory that killed ranks leave behind for the streams of this unit."""
    try:
        yield
    finally:
        _remove_stale([str(job.streams / stream.path) for stream in job.manifest.streams])


# ---- what a run left behind; of attempts that took a step again, the last one counts


def events_of(folder: Path, kind: str) -> list[dict[str, Any]]:
    path = folder / "events.jsonl"
    return [event for event in read_events(path) if event["event"] == kind] if path.is_file() else []


def chains(folder: Path) -> dict[int, str]:
    return dict(sorted((event["step"], event["chain"]) for event in events_of(folder, "step_done")))


def decisions(folder: Path) -> dict[int, list[float]]:
    return {event["step"]: event["asked_N"] for event in events_of(folder, "decision")}


def scores(folder: Path) -> dict[int, dict[str, float]]:
    return {event["step"]: event["scores"] for event in events_of(folder, "feedback")}


def steps_done(folder: Path) -> int:
    return max(chains(folder), default=0)


def same(what: str, found: dict[int, Any], wanted: dict[int, Any]) -> None:
    """Raises unless both have the same steps with the same values."""
    if found == wanted:
        return
    steps = sorted(t for t in {*found, *wanted} if found.get(t) != wanted.get(t))
    raise SoakError(f"the {what} differs from that of the unbroken run, first in step {steps[0]}")


def _units() -> list[Unit]:
    runs: dict[str, Callable[[Path], dict[str, Any]]] = {}
    for ranks in (1, 2, 4):
        for controller in ("static", "scripted"):
            runs[f"kills/{controller}-{ranks}-ranks"] = partial(
                killed_and_resumed, controller=controller, ranks=ranks
            )
    for ranks in (1, 2):
        runs[f"kills/agent-{ranks}-ranks"] = partial(killed_and_resumed, controller="agent", ranks=ranks)
    for ranks in (1, 4):
        runs[f"kills/agent-from-2-to-{ranks}-ranks"] = partial(agent_on_other_ranks, ranks=ranks)
    return [Unit(name, run) for name, run in runs.items()]


UNITS = _units()
