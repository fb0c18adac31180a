"""The rows of the mixing benchmarks that compare us with ourselves: early and late, small and large."""

import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.mixing_streams import DOMAINS, SEQ_LEN, write_index
from benchmarks.rows import answer_of

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.controllers.agent import AgentController
from dmix.mixing.delivery.dataset import MixedDataset
from dmix.mixing.delivery.loader import MixedLoader
from dmix.mixing.delivery.step_plan import MixerState, PlanSettings, StreamSizes, plan_step
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import CONTEXT, History
from dmix.training.run.decisions import recorded_decisions
from dmix.training.run.state import RunState
from dmix.warehouse_schema.files.events import EventLog, last_attempt
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY

BATCH = 64
STEPS = (2, 10_000)
REPEATS = 25


def reweighting(_: DatasetManifest, folder: Path) -> dict[str, Any]:
    """Milliseconds of a new mixture of R = 64,000 samples over N = 52 domains, scores aside.

    The agent decides from a full context, the decision is synced to disk, the step is planned, ids
    included.
    """
    rng = np.random.default_rng(0)
    shards = tuple(np.full(rng.integers(1, 60), 65_000) for _ in DOMAINS)
    streams = StreamSizes(shards, np.arange(52) >= 26)
    space = DomainSpace(DEFAULT_TAXONOMY.labels, streams.samples_N)
    config = MixingAgentConfig(labels=DEFAULT_TAXONOMY.labels, objectives=("a", "b"), scales=(1.0, 1.0))
    controller = AgentController(MixingAgent(config).eval())
    chosen = PlanSettings(step_samples=64_000, batch_size=BATCH, exhaustion="redistribute")
    log = EventLog(folder / "events.jsonl", run_id="benchmark", attempt=1)
    state, times = MixerState.start(52), []
    for _ in range(30):
        history = History(
            space=space,
            mixtures_TN=rng.dirichlet(np.ones(52), CONTEXT + 1),
            feedback_TD=rng.normal(size=(CONTEXT + 1, 2)),
            objectives=("a", "b"),
            weights_D=np.full(2, 0.5),
            scales_D=np.ones(2),
            steps=2 * CONTEXT,
            step_samples=64_000,
            remaining_samples_N=streams.samples_N,
            seed=0,
        )
        marks = [clocks()]
        asked_N = controller.propose(history).mixture_N
        marks.append(clocks())
        plan = plan_step(asked_N, state, streams=streams, settings=chosen)
        marks.append(clocks())
        log.write("decision", step=plan.step, asked_N=asked_N.tolist(), planned_N=plan.planned_N.tolist())
        marks.append(clocks())
        times.append([*np.diff(marks, axis=0), np.subtract(marks[-1], marks[0])])
        state = plan.state_after
    medians = 1000 * np.median(times, axis=0)
    return {
        f"{part}_{prefix}ms": round(float(value), 1)
        for part, by_clock in zip(("agent", "plan", "write", "whole"), medians, strict=True)
        for prefix, value in zip(("", "processor_"), by_clock, strict=True)
    }


def resuming_a_loader(manifest: DatasetManifest, folder: Path) -> dict[str, Any]:
    """Milliseconds from a saved state to the first batch, opening the dataset included."""
    saved = {step: json.dumps(loader_state(manifest, folder, step)) for step in STEPS}

    def resume(step: int) -> None:
        with MixedDataset(manifest, folder) as dataset:
            loader = MixedLoader(dataset, settings=long_run())
            loader.load_state_dict(json.loads(saved[step]))
            next(iter(loader))

    return early_and_late(resume) | {"state_bytes": {str(step): len(text) for step, text in saved.items()}}


def resuming_a_run(manifest: DatasetManifest, folder: Path) -> dict[str, Any]:
    """The same of `dmix train --resume`, without model and Composer: state, events, first batch."""
    states, events = {}, {}
    for step in STEPS:
        states[step] = run_state(loader_state(manifest, folder, step)["mixer"], steps=step - 1).to_json()
        events[step] = write_events(folder / f"events-{step}.jsonl", steps=step)

    def resume(step: int) -> None:
        recorded = recorded_decisions(events[step], after=step - 1)
        EventLog(events[step], run_id="benchmark", attempt=last_attempt(events[step]) + 1)
        with MixedDataset(manifest, folder) as dataset:
            loader = MixedLoader(dataset, settings=long_run())
            state = RunState.from_json(states[step], planned_ids=lambda mixer, asked_N: np.zeros(0, np.int64))
            loader.state = state.mixer
            loader.begin_step(recorded[step].asked_N)
            next(iter(loader))

    return early_and_late(resume) | {
        "state_bytes": {str(step): len(text) for step, text in states.items()},
        "events_bytes": {str(step): path.stat().st_size for step, path in events.items()},
    }


def early_and_late(resume: Callable[[int], None]) -> dict[str, Any]:
    early, late = STEPS
    return compared(f"step_{late}", partial(resume, late), f"step_{early}", partial(resume, early))


def compared(
    name: str, call: Callable[[], None], other_name: str, other: Callable[[], None]
) -> dict[str, Any]:
    """Medians of two calls that take turns, and of the first over the second, by either clock."""
    figures: dict[str, Any] = {}
    rounds = np.array([(seconds(call), seconds(other)) for _ in range(REPEATS)])
    for clock, prefix in enumerate(("", "processor_")):
        for side, label in enumerate((name, other_name)):
            figures[f"{label}_{prefix}ms"] = round(1000 * float(np.median(rounds[:, side, clock])), 1)
        ratios = rounds[:, 0, clock] / rounds[:, 1, clock]
        figures[f"{prefix}ratio"] = round(float(np.median(ratios)), 2)
    return figures


def long_run() -> PlanSettings:
    return PlanSettings(step_samples=16 * BATCH, batch_size=BATCH, exhaustion="repeat", max_passes=10_000)


def loader_state(manifest: DatasetManifest, folder: Path, step: int) -> dict[str, Any]:
    """The state of a loader after the first batch of a step, without the steps before it."""
    with MixedDataset(manifest, folder) as dataset:
        weights = dataset.sizes.samples_N / len(dataset)
        loader = MixedLoader(dataset, settings=long_run())
        total = (step - 1) * 16 * BATCH
        drawn = np.floor(weights * total).astype(np.int64)
        drawn[: total - drawn.sum()] += 1  # a run has drawn whole steps
        sizes = np.maximum(dataset.sizes.samples_N, 1)
        loader.state = MixerState(
            step=step - 1, carry_N=np.zeros(52), cursor_N=drawn % sizes, pass_N=drawn // sizes
        )
        loader.begin_step(weights)
        next(iter(loader))
        return loader.state_dict()


def run_state(mixer: dict[str, Any], *, steps: int) -> RunState:
    """The state of a run under a controller that looks back on the usual number of steps."""
    rng = np.random.default_rng(0)
    state = RunState.at_start(MixerState.from_json(mixer), rng.dirichlet(np.ones(52)))
    state.feedback.append([0.0, 0.0])
    for _ in range(steps):
        state.finish_step(rng.dirichlet(np.ones(52)), state_after=state.mixer, digest="ab" * 32)
        state.feedback.append(rng.normal(size=2).tolist())
        state.forget(CONTEXT)
    return state


def write_events(path: Path, *, steps: int) -> Path:
    """Events of a run that was killed in its step `steps`."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        for step in range(1, steps + 1):
            mixture = rng.dirichlet(np.ones(52)).tolist()
            decision = {"event": "decision", "attempt": 1, "step": step, "asked_N": mixture, "remarks": []}
            file.write(json.dumps({**decision, "planned_N": mixture, "decided_to": step}) + "\n")
            if step < steps:
                done = {"event": "step_done", "attempt": 1, "step": step, "loss_sum_N": mixture}
                delivered = {
                    "delivered_samples_N": [1] * 52,
                    "delivered_tokens_N": [SEQ_LEN] * 52,
                    "seconds": 1.0,
                }
                file.write(json.dumps({**done, **delivered, "passes_N": mixture}) + "\n")
    return path


def memory(*_: Any) -> dict[str, Any]:
    """Growth of a process in MB: opening 1 and 100 million samples, then after 300 and 600 steps."""
    context = multiprocessing.get_context("fork")
    figures = {}
    with tempfile.TemporaryDirectory(prefix="dmix-bench-") as name:
        for millions in (1, 100):
            folder = Path(name, str(millions))
            manifest = write_index(folder, samples=millions * 10**6)
            answers = context.Queue()
            child = context.Process(target=measure_memory, args=(manifest, folder, answers))
            child.start()
            names = ("opened_mb", "after_300_steps_mb", "after_600_steps_mb")
            figures[f"{millions}_million_samples"] = dict(zip(names, answer_of(child, answers), strict=True))
    return figures


def measure_memory(manifest: DatasetManifest, folder: Path, answers: Any) -> None:
    """Puts the growth of this process's peak memory into the queue; the process is a fresh fork."""
    before = peak_mb()
    with MixedDataset(manifest, folder) as dataset:
        grown = [peak_mb() - before]
        chosen = PlanSettings(step_samples=6_400, batch_size=BATCH, exhaustion="repeat", max_passes=100)
        weights = dataset.sizes.samples_N / len(dataset)
        state = MixerState.start(52)
        for _ in range(2):
            for _ in range(300):
                state = plan_step(weights, state, streams=dataset.sizes, settings=chosen).state_after
            grown.append(peak_mb() - before)
    answers.put([round(mb, 1) for mb in grown])


def seconds(call: Callable[[], Any]) -> tuple[float, float]:
    """By the clock, and on the processor."""
    started = clocks()
    call()
    now = clocks()
    return now[0] - started[0], now[1] - started[1]


def clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
