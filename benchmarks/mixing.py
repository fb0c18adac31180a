"""What exact mixing costs, as ratios measured in one run on one machine.

    python benchmarks/mixing.py [--samples 40000] [--out FILE.json]

Throughput against plain StreamingDataset with fixed proportions, and against interleave_datasets
of Hugging Face where `datasets` is installed; opening; the cost of planning a step; resuming at
step 2 and at step 10,000; memory for 100 million samples, on an index without shards.
"""

import argparse
import importlib.util
import json
import multiprocessing
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from streaming import MDSWriter, Stream, StreamingDataset
from torch.utils.data import DataLoader

from dmix.mixing.dataset import MixedDataset
from dmix.mixing.loader import MixedLoader
from dmix.mixing.plan import MixerState, PlanSettings, StreamSizes, plan_step
from dmix.warehouse_schema.manifests import DatasetManifest, StreamEntry, StreamFile, TokenizerFile
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY, FIELDS, slug

SEQ_LEN = 512
BATCH = 64
DOMAINS = [(field, label) for field in FIELDS for label in DEFAULT_TAXONOMY.labels]
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=40_000, help="samples of 512 tokens to read")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="dmix-bench-") as folder:
        manifest = write_streams(Path(folder, "streams"), samples=arguments.samples)
        figures = {
            "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "throughput": throughput(manifest, Path(folder, "streams")),
            "startup": starting_up(manifest, Path(folder, "streams")),
            "planning": planning(),
            "resume": resuming(manifest, Path(folder, "streams")),
            "memory": memory(Path(folder, "index")),
        }
    print(json.dumps(figures, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


def throughput(manifest: DatasetManifest, folder: Path) -> dict[str, Any]:
    """Samples a second in this process, and with two loader workers; medians of three rounds."""
    figures: dict[str, Any] = {}
    for workers in (0, 2):
        ours, plain = [], []
        for _ in range(REPEATS):  # taking turns, so that a busy machine slows both
            ours.append(mixed_rate(manifest, folder, workers))
            plain.append(streaming_rate(manifest, folder, workers))
        figures[f"workers_{workers}"] = {
            "mixed_samples_per_second": round(statistics.median(ours)),
            "streaming_samples_per_second": round(statistics.median(plain)),
            "ratio": round(statistics.median(a / b for a, b in zip(ours, plain, strict=True)), 2),
        }
    figures["interleave_datasets"] = interleaving(manifest, folder)
    return figures


def interleaving(manifest: DatasetManifest, folder: Path) -> dict[str, Any]:
    """Samples a second of Hugging Face's interleave_datasets in this process, beside ours."""
    if importlib.util.find_spec("datasets") is None:
        return {"skipped": "the package datasets is not installed"}
    ours = [mixed_rate(manifest, folder, 0) for _ in range(REPEATS)]
    theirs = [interleave_rate(manifest, folder) for _ in range(REPEATS)]
    return {
        "samples_per_second": round(statistics.median(theirs)),
        "ratio": round(statistics.median(ours) / statistics.median(theirs), 2),
    }


def mixed_rate(manifest: DatasetManifest, folder: Path, workers: int) -> float:
    dataset = MixedDataset(manifest, folder)
    total = len(dataset) // (4 * BATCH) * BATCH
    chosen = PlanSettings(step_samples=total, batch_size=BATCH, exhaustion="redistribute")
    loader = MixedLoader(dataset, settings=chosen, num_workers=workers)
    weights = dataset.sizes.samples_N / dataset.sizes.samples_N.sum()

    def batches() -> Iterable[Any]:
        while not loader.finished:
            loader.begin_step(weights)
            yield from loader

    rate = rate_of(batches())
    dataset.close()
    return rate


def streaming_rate(manifest: DatasetManifest, folder: Path, workers: int) -> float:
    return rate_of(DataLoader(plain_streaming(manifest, folder), batch_size=BATCH, num_workers=workers))


def plain_streaming(manifest: DatasetManifest, folder: Path) -> StreamingDataset:
    """StreamingDataset over all streams, in fixed proportions that are those of the data."""
    samples = sum(stream.samples for stream in manifest.streams)
    streams = [
        Stream(local=str(folder / stream.path), proportion=stream.samples / samples)
        for stream in manifest.streams
        if stream.samples
    ]
    return StreamingDataset(streams=streams, batch_size=BATCH, shuffle=True)


def interleave_rate(manifest: DatasetManifest, folder: Path) -> float:
    import datasets  # type: ignore[import-not-found]

    dataset = MixedDataset(manifest, folder)
    parts, weights = [], []
    for index, size in enumerate(dataset.sizes.samples_N.tolist()):
        first = int(dataset.sizes.offsets_N[index])
        tokens = dataset.__getitems__(list(range(first, first + size)))["input_ids"].numpy()
        parts.append(datasets.Dataset.from_dict({"input_ids": tokens}).with_format("torch"))
        weights.append(size / len(dataset))
    dataset.close()
    mixed = datasets.interleave_datasets(parts, probabilities=weights, seed=0)
    return rate_of(DataLoader(mixed, batch_size=BATCH))


def rate_of(batches: Iterable[Any]) -> float:
    """Samples a second from the second batch on."""
    seen, started = 0, 0.0
    for batch in batches:
        if not started:
            started = time.perf_counter()
            continue
        seen += len(next(iter(batch.values())))
    return seen / (time.perf_counter() - started)


def starting_up(manifest: DatasetManifest, folder: Path) -> dict[str, Any]:
    """Milliseconds from nothing to the first batch, beside plain StreamingDataset."""

    def ours() -> None:
        dataset = MixedDataset(manifest, folder)
        loader = MixedLoader(dataset, settings=PlanSettings(step_samples=16 * BATCH, batch_size=BATCH))
        loader.begin_step(dataset.sizes.samples_N / len(dataset))
        next(iter(loader))
        dataset.close()

    def theirs() -> None:
        next(iter(DataLoader(plain_streaming(manifest, folder), batch_size=BATCH)))

    pairs = [(seconds(ours), seconds(theirs)) for _ in range(9)]
    mixed, plain = (1000 * statistics.median(times) for times in zip(*pairs, strict=True))
    return {
        "mixed_ms": round(mixed, 1),
        "streaming_ms": round(plain, 1),
        "ratio": round(mixed / plain, 2),
    }


def planning() -> dict[str, Any]:
    """Milliseconds to plan a step of R = 64,000 over N = 52 domains, ids included."""
    rng = np.random.default_rng(0)
    shards = tuple(np.full(rng.integers(1, 60), 65_000) for _ in DOMAINS)
    streams = StreamSizes(shards, np.arange(52) >= 26)
    chosen = PlanSettings(step_samples=64_000, batch_size=BATCH, exhaustion="redistribute")
    state, times = MixerState.start(52), []
    for _ in range(30):
        weights = rng.dirichlet(np.ones(52))
        started = time.perf_counter()
        plan = plan_step(weights, state, streams=streams, settings=chosen)
        times.append(1000 * (time.perf_counter() - started))
        state = plan.state_after
    return {
        "step_samples": 64_000,
        "domains": 52,
        "median_ms": round(statistics.median(times), 1),
        "least_ms": round(min(times), 1),
    }


def resuming(manifest: DatasetManifest, folder: Path) -> dict[str, Any]:
    """Milliseconds from a saved state to the first batch, opening the dataset included."""
    dataset = MixedDataset(manifest, folder)
    chosen = PlanSettings(step_samples=16 * BATCH, batch_size=BATCH, exhaustion="repeat", max_passes=10_000)
    weights = dataset.sizes.samples_N / len(dataset)
    loader = MixedLoader(dataset, settings=chosen)
    saved = {}
    for step in (2, 10_000):
        drawn = np.floor(weights * (step - 1) * chosen.step_samples).astype(np.int64)
        sizes = np.maximum(dataset.sizes.samples_N, 1)
        loader.state = MixerState(
            step=step - 1, carry_N=np.zeros(52), cursor_N=drawn % sizes, pass_N=drawn // sizes
        )
        loader.begin_step(weights)
        next(iter(loader))
        saved[step] = json.dumps(loader.state_dict())
        loader.plan = None
    dataset.close()

    def resume(step: int) -> None:
        opened = MixedDataset(manifest, folder)
        resumed = MixedLoader(opened, settings=chosen)
        resumed.load_state_dict(json.loads(saved[step]))
        next(iter(resumed))
        opened.close()

    pairs = [(seconds(lambda: resume(2)), seconds(lambda: resume(10_000))) for _ in range(9)]
    early, late = (1000 * statistics.median(times) for times in zip(*pairs, strict=True))
    return {
        "step_2_ms": round(early, 1),
        "step_10000_ms": round(late, 1),
        "ratio": round(late / early, 2),
        "state_bytes": {str(step): len(text) for step, text in saved.items()},
    }


def memory(folder: Path) -> dict[str, Any]:
    """Growth of a process in MB: opening 1 and 100 million samples, then after 300 and 600 steps."""
    context = multiprocessing.get_context("fork")
    figures = {}
    for millions in (1, 100):
        manifest = write_index(folder / str(millions), samples=millions * 10**6)
        answers = context.Queue()
        child = context.Process(target=measure_memory, args=(manifest, folder / str(millions), answers))
        child.start()
        names = ("opened_mb", "after_300_steps_mb", "after_600_steps_mb")
        figures[f"{millions}_million_samples"] = dict(zip(names, answers.get(timeout=300), strict=True))
        child.join()
    return figures


def measure_memory(manifest: DatasetManifest, folder: Path, answers: Any) -> None:
    """Puts the growth of this process's peak memory into the queue; the process is a fresh fork."""
    before = peak_mb()
    dataset = MixedDataset(manifest, folder)
    grown = [peak_mb() - before]
    chosen = PlanSettings(step_samples=6_400, batch_size=BATCH, exhaustion="repeat", max_passes=100)
    weights = dataset.sizes.samples_N / len(dataset)
    state = MixerState.start(52)
    for _ in range(2):
        for _ in range(300):
            state = plan_step(weights, state, streams=dataset.sizes, settings=chosen).state_after
        grown.append(peak_mb() - before)
    dataset.close()
    answers.put([round(mb, 1) for mb in grown])


def seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_streams(folder: Path, *, samples: int) -> DatasetManifest:
    """Random tokens in 52 streams of unequal size."""
    rng = np.random.default_rng(0)
    sizes = np.maximum(1, (rng.dirichlet(np.full(52, 2.0)) * samples).astype(np.int64)).tolist()

    def write(domain: int) -> StreamEntry:
        field, label = DOMAINS[domain]
        path = f"{field}/{slug(label)}"
        tokens = np.random.default_rng(domain).integers(0, 8192, (sizes[domain], SEQ_LEN)).astype(np.uint16)
        column = {"tokens": f"ndarray:uint16:{SEQ_LEN}"}
        with MDSWriter(out=str(folder / path), columns=column, size_limit=2**20) as writer:
            for row in tokens:
                writer.write({"tokens": row})
        index = json.loads((folder / path / "index.json").read_text())
        return entry(domain, [shard["samples"] for shard in index["shards"]])

    with ThreadPoolExecutor(8) as pool:
        return manifest_of(list(pool.map(write, range(52))))


def write_index(folder: Path, *, samples: int) -> DatasetManifest:
    """Indices of 52 streams whose shards of 65,000 samples do not exist."""
    shard, entries = 65_000, []
    for domain, (field, label) in enumerate(DOMAINS):
        size = samples // 52
        shards = [shard] * (size // shard) + ([size % shard] if size % shard else [])
        path = folder / field / slug(label)
        path.mkdir(parents=True)
        described = [
            {
                "column_encodings": [f"ndarray:uint16:{SEQ_LEN}"],
                "column_names": ["tokens"],
                "column_sizes": [2 * SEQ_LEN],
                "compression": None,
                "format": "mds",
                "hashes": [],
                "raw_data": {"basename": f"shard.{i:05}.mds", "bytes": 2 * SEQ_LEN * count, "hashes": {}},
                "samples": count,
                "size_limit": 2**26,
                "version": 2,
                "zip_data": None,
            }
            for i, count in enumerate(shards)
        ]
        (path / "index.json").write_text(json.dumps({"version": 2, "shards": described}))
        entries.append(entry(domain, shards))
    return manifest_of(entries)


def entry(domain: int, shards: list[int]) -> StreamEntry:
    field, label = DOMAINS[domain]
    files = [StreamFile(name="index.json", size_bytes=0, sha256="", samples=0)]
    files += [StreamFile(name="", size_bytes=0, sha256="", samples=count) for count in shards]
    return StreamEntry(
        field=field,
        domain=label,
        path=f"{field}/{slug(label)}",
        documents=0,
        samples=sum(shards),
        tokens=sum(shards) * SEQ_LEN,
        tail_tokens=0,
        files=tuple(files),
    )


def manifest_of(entries: list[StreamEntry]) -> DatasetManifest:
    return DatasetManifest(
        dataset="benchmark",
        name="",
        taxonomy=DEFAULT_TAXONOMY,
        tokenizer=TokenizerFile(name="none", sha256="", vocab_size=8192, eot_id=0),
        seq_len=SEQ_LEN,
        token_dtype="uint16",
        seed=0,
        corpora=(),
        streams=tuple(entries),
        created_at=datetime.now(UTC).isoformat(),
    )


if __name__ == "__main__":
    main()
