"""What grows with the size of data and runs: driver memory, commits, the catalog, event logs, plans.

    python -m benchmarks.scale [--only PATTERN] [--results DIR]

Inputs, parts, shards and events are made up, so no text is read: what is measured is what one process
does alone however many cores work for it. Seconds are processor seconds. Every size is measured in a
process of its own; `peak_mb` is what its peak memory grows by. A row ends with the straight line through
its sizes (least squares) of each figure: its value for `line_per` more units.
"""

import argparse
import dataclasses
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.mixing_costs import peak_mb
from benchmarks.mixing_streams import manifest_of
from benchmarks.rows import add_row_options, answer_of, measure

from dmix.etl.classify.parts import part_fingerprint, plan_parts
from dmix.mixing.delivery.step_plan import MixerState, PlanSettings, StreamSizes, plan_step
from dmix.training.run.decisions import recorded_decisions
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.files.events import EventLog, last_attempt, read_events
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.manifests import (
    CorpusVersion,
    DatasetManifest,
    DomainRows,
    InputFile,
    LabelFile,
    LabelPart,
    read_corpus_version,
    read_dataset_manifest,
    write_corpus_version,
    write_dataset_manifest,
)
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY, FIELDS

Figures = dict[str, float]
LABELS = DEFAULT_TAXONOMY.labels
SPACE = [[field, label] for field in FIELDS for label in LABELS]
TIME = "2026-01-01T00:00:00+00:00"
QUERIES = {
    "runs": "select count(*) from runs",
    "datasets": "select * from datasets",
    "last_mixtures": "select run_id, max(step) from mixture group by run_id",
    "domain_loss": "select domain, avg(loss) from domain_loss group by domain",
}


def inputs(count: int, warehouse: Warehouse) -> Figures:
    """Plans and publishes a version of `count` inputs of 160 kB, about a hundred a part."""
    return corpus(listing(count, size_bytes=160_000), warehouse, domains=1)


def parts(count: int, warehouse: Warehouse) -> Figures:
    """The same with a part for each input and all 26 domains in each."""
    return corpus(listing(count, size_bytes=16 << 20), warehouse, domains=len(LABELS))


def domains(count: int, warehouse: Warehouse) -> Figures:
    """The same with 2,000 parts of `count` domains each."""
    return corpus(listing(2000, size_bytes=16 << 20), warehouse, domains=count)


def corpus(found: list[InputFile], warehouse: Warehouse, *, domains: int) -> Figures:
    clock = Clock()
    _, plans = plan_parts(
        found,
        last=(),
        fingerprint=lambda group, piece: part_fingerprint(group, piece, settings_digest=""),
        part_bytes=16 << 20,
        pieces={},
    )
    clock.lap("plan_s")
    rows = [(LABELS[i % len(LABELS)], 10 + i) for i in range(domains)]
    made = tuple(
        LabelPart(
            fingerprint=plan.fingerprint,
            inputs=plan.inputs,
            files=(
                LabelFile(
                    name="0.parquet",
                    sha256=plan.fingerprint,
                    size_bytes=9,
                    domains=tuple(DomainRows(label=label, documents=n, text_bytes=n) for label, n in rows),
                ),
            ),
            rejected={},
        )
        for plan in plans
    )
    version = CorpusVersion(
        corpus="c",
        version=1,
        field="source",
        taxonomy=DEFAULT_TAXONOMY,
        classifier="embedded",
        classifier_fingerprint="0" * 64,
        parts=made,
        created_at=TIME,
    )
    clock.restart()
    path = write_corpus_version(warehouse, version)
    clock.lap("commit_s")
    read_corpus_version(warehouse, "c")
    clock.lap("read_s")
    return {**clock.figures, "parts": len(made), "manifest_mb": path.stat().st_size / 1e6}


def listing(count: int, *, size_bytes: int) -> list[InputFile]:
    return [
        InputFile(
            path=f"/data/corpus/shelf-{i // 1000:05}/file-{i:08}.jsonl.zst",
            name=f"shelf-{i // 1000:05}/file-{i:08}.jsonl.zst",
            size_bytes=size_bytes,
            sha256=digest_of(i),
            format="jsonl",
            compression="zstd",
        )
        for i in range(count)
    ]


def shards(count: int, warehouse: Warehouse) -> Figures:
    """Publishes a dataset of `count` shards over 52 streams, imports it and asks the catalog."""
    manifest = named(manifest_of([[65_000] * (count // 52)] * 52))
    clock = Clock()
    write_dataset_manifest(warehouse, manifest)
    clock.lap("commit_s")
    read_dataset_manifest(warehouse, manifest.dataset)
    clock.lap("read_s")
    size = (warehouse.stream(manifest.dataset) / "manifest.json").stat().st_size / 1e6
    return {**clock.figures, "manifest_mb": size, **asked(warehouse)}


def named(manifest: DatasetManifest) -> DatasetManifest:
    """The manifest with names and hashes of shards, as a real one has them."""
    streams = [
        dataclasses.replace(
            stream,
            files=(
                stream.files[0],
                *(
                    dataclasses.replace(file, name=f"shard.{i:05}.mds", size_bytes=2**26, sha256=digest_of(i))
                    for i, file in enumerate(stream.files[1:])
                ),
            ),
        )
        for stream in manifest.streams
    ]
    return dataclasses.replace(manifest, streams=tuple(streams))


def runs(count: int, warehouse: Warehouse) -> Figures:
    """Imports `count` finished runs of 20 steps over 52 domains and asks the catalog."""
    for number in range(count):
        write_run(warehouse, f"run-{number}", steps=20, done=True)
    return asked(warehouse)


def asked(warehouse: Warehouse) -> Figures:
    clock = Clock()
    sync(warehouse)
    clock.lap("sync_s")
    with Catalog.open_reader(warehouse) as catalog:
        clock.lap("open_reader_s")
        for name, query in QUERIES.items():
            catalog.query(query)
            clock.lap(f"{name}_s")
    return {**clock.figures, "catalog_mb": warehouse.catalog.stat().st_size / 1e6}


def steps(count: int, warehouse: Warehouse) -> Figures:
    """Reads, resumes and shows a run of `count` steps over 52 domains that is under way."""
    sync(warehouse)
    path = write_run(warehouse, "run", steps=count, done=False)
    clock = Clock()
    for _ in read_events(path):
        pass
    clock.lap("read_s")
    recorded_decisions(path, after=count - 1)
    EventLog(path, run_id="run", attempt=last_attempt(path) + 1)
    clock.lap("resume_s")
    with Catalog.open_reader(warehouse) as catalog:
        clock.lap("open_reader_s")
        catalog.query("select count(*) from mixture")
        clock.lap("count_mixture_s")
    return {**clock.figures, "events_mb": path.stat().st_size / 1e6}


def write_run(warehouse: Warehouse, run_id: str, *, steps: int, done: bool) -> Path:
    """The events of a run, written without a sync of each line."""
    common = {"run_id": run_id, "attempt": 1, "time": TIME}
    mixture = np.random.default_rng(0).dirichlet(np.ones(len(SPACE))).tolist()
    counts = [100] * len(SPACE)
    start = {"event": "run_started", **common, "kind": "guided", "controller": "naive", "config": {}}
    lines: list[dict[str, Any]] = [{**start, "space": SPACE, "host": "elsewhere", "pid": 1}]
    for step in range(1, steps + 1):
        decision = {"event": "decision", **common, "step": step, "asked_N": mixture, "planned_N": mixture}
        lines.append(
            {**decision, "planned_samples_N": counts, "reasons": {}, "remarks": [], "decided_to": step}
        )
        result = {"event": "step_done", **common, "step": step, "delivered_samples_N": counts}
        result |= {"delivered_tokens_N": counts, "passes_N": mixture, "loss_sum_N": mixture}
        lines.append({**result, "loss_tokens_N": counts, "loss": 3.0, "seconds": 1.0, "digest": "ab" * 32})
        lines.append({"event": "feedback", **common, "step": step, "scores": {"a": -1.0, "b": -2.0}})
    if done:
        lines.append({"event": "run_done", **common, "step": steps, "detail": ""})
    path = warehouse.run(run_id) / "events.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def plan_domains(count: int, _: Warehouse) -> Figures:
    """Plans steps of a million samples over `count` domains."""
    return planned(count, 1_000_000)


def plan_samples(count: int, _: Warehouse) -> Figures:
    """Plans steps of `count` samples over 1,152 domains."""
    return planned(1152, count)


def planned(domains: int, samples: int) -> Figures:
    streams = StreamSizes((np.full(1000, 65_000),) * domains, np.arange(domains) >= domains // 2)
    settings = PlanSettings(step_samples=samples, batch_size=100)
    weights = np.random.default_rng(0).dirichlet(np.ones(domains))
    state, clock = MixerState.start(domains), Clock()
    for _ in range(3):
        state = plan_step(weights, state, streams=streams, settings=settings).state_after
    clock.lap("plan_step_s")
    return {"plan_step_s": clock.figures["plan_step_s"] / 3}


class Clock:
    """Processor seconds of this process between laps."""

    def __init__(self) -> None:
        self.figures: Figures = {}
        self.restart()

    def restart(self) -> None:
        self._started = time.process_time()

    def lap(self, name: str) -> None:
        self.figures[name] = time.process_time() - self._started
        self.restart()


def curve(
    work: Callable[[int, Warehouse], Figures], sizes: Sequence[int], *, line_per: int
) -> Callable[[], dict[str, Any]]:
    """A row: the figures of each size, and their slopes."""

    def row() -> dict[str, Any]:
        measured = {size: alone(work, size) for size in sizes}
        slopes = {
            name: line_per * float(np.polyfit(sizes, [measured[size][name] for size in sizes], 1)[0])
            for name in measured[sizes[0]]
        }
        return {
            "sizes": {str(size): rounded(figures) for size, figures in measured.items()},
            "line_per": line_per,
            "line": rounded(slopes),
        }

    return row


def alone(work: Callable[[int, Warehouse], Figures], size: int) -> Figures:
    """What `work` gives in a process and a warehouse of its own, and the growth of its peak memory."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def measure_one() -> None:
        before = peak_mb()
        with tempfile.TemporaryDirectory(prefix="dmix-scale-") as folder:
            figures = work(size, Warehouse.at(folder))
        answers.put({**figures, "peak_mb": peak_mb() - before})

    child = context.Process(target=measure_one)
    child.start()
    figures: Figures = answer_of(child, answers)
    return figures


def rounded(figures: Figures) -> Figures:
    return {name: float(f"{value:.3g}") for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_row_options(parser)
    million = 1_000_000
    rows = {
        "inputs": curve(inputs, (1_000, 10_000, 50_000), line_per=million),
        "parts": curve(parts, (500, 2_000, 5_000), line_per=million),
        "domains": curve(domains, (1, 26, 104), line_per=1),
        "shards": curve(shards, (1_040, 10_400, 52_000), line_per=million),
        "runs": curve(runs, (50, 200), line_per=1_000),
        "steps": curve(steps, (1_000, 3_000, 10_000), line_per=10_000),
        "plan_domains": curve(plan_domains, (52, 288, 1_152), line_per=1_000),
        "plan_samples": curve(plan_samples, (10_000, 100_000, 1_000_000), line_per=million),
    }
    measure("scale", parser.parse_args(), size={}, rows=rows)


if __name__ == "__main__":
    main()
