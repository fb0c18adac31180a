"""What exact mixing costs, as ratios measured in one run on one machine: `make bench-mixing`.

    python -m benchmarks.mixing [--samples 40000] [--only PATTERN] [--again] [--results FOLDER]

Every row goes into `benchmarks/results/mixing-<machine>-<date>.json` as soon as it is known, with
the load of the machine before it; rows that are there for this commit are not measured again.
Both sides of a ratio take turns, so that a busy machine slows both. Names with `processor` are times
on the processor, of loader workers too, which a busy machine leaves nearly as they are.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import psutil
import torch
from benchmarks import mixing_costs
from benchmarks.mixing_streams import write_streams
from benchmarks.rows import add_row_options, measure
from streaming import Stream, StreamingDataLoader, StreamingDataset
from torch.utils.data import DataLoader, Dataset

from dmix.mixing.delivery.dataset import MixedDataset
from dmix.mixing.delivery.loader import MixedLoader
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.warehouse_schema.files.manifests import DatasetManifest

BATCH = 64
REPEATS = 3

Row = Callable[[DatasetManifest, Path], dict[str, Any]]
Rates = tuple[float, float]
"""Samples a second, and samples a second of processor time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=40_000, help="samples of 512 tokens to read")
    add_row_options(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="dmix-bench-") as name:
        folder = Path(name)
        # written when the first row asks for them
        streams = cache(partial(write_streams, folder, samples=arguments.samples))
        rows = {name: partial(_measured, row, streams, folder) for name, row in ROWS.items()}
        measure("mixing", arguments, size={"samples": arguments.samples}, rows=rows)


def _measured(row: Row, streams: Callable[[], DatasetManifest], folder: Path) -> dict[str, Any]:
    return row(streams(), folder)


def beside_streaming(
    manifest: DatasetManifest, folder: Path, *, workers: int, by_batch: bool
) -> dict[str, Any]:
    """Against StreamingDataset in its default use: its own loader, sample by sample, shuffled."""
    ours = by_batch_rate if by_batch else one_by_one_rate
    return in_turns(
        partial(ours, manifest, folder, workers), partial(streaming_rate, manifest, folder, workers)
    )


def beside_interleaving(manifest: DatasetManifest, folder: Path) -> dict[str, Any]:
    """Against interleave_datasets of Hugging Face, in memory and in this process."""
    return in_turns(partial(by_batch_rate, manifest, folder, 0), partial(interleave_rate, manifest, folder))


def in_turns(ours: Callable[[], Rates], theirs: Callable[[], Rates]) -> dict[str, Any]:
    """Samples a second of both sides, and the median of the ratios of rounds, by either clock."""
    figures: dict[str, Any] = {}
    rounds = [(ours(), theirs()) for _ in range(REPEATS)]
    for prefix, clock in (("", 0), ("processor_", 1)):
        pairs = [(mine[clock], others[clock]) for mine, others in rounds]
        mine, others = zip(*pairs, strict=True)
        figures[f"samples_per_{prefix}second"] = round(statistics.median(mine))
        figures[f"their_samples_per_{prefix}second"] = round(statistics.median(others))
        figures[f"{prefix}ratio"] = round(statistics.median(a / b for a, b in pairs), 2)
    return figures


def by_batch_rate(manifest: DatasetManifest, folder: Path, workers: int) -> Rates:
    """A run of four steps with natural shares."""
    with MixedDataset(manifest, folder) as dataset:
        total = len(dataset) // (4 * BATCH) * BATCH
        chosen = PlanSettings(step_samples=total, batch_size=BATCH, exhaustion="redistribute")
        loader = MixedLoader(dataset, settings=chosen, num_workers=workers)
        weights = dataset.sizes.samples_N / dataset.sizes.samples_N.sum()

        def batches() -> Iterable[Any]:
            while not loader.finished:
                loader.begin_step(weights)
                yield from loader

        return rates_of(batches())


class OneByOne(Dataset):
    """A dataset without its reading by the batch, so that torch asks for sample after sample."""

    def __init__(self, dataset: MixedDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, index: int) -> np.ndarray:
        # two bytes a token, as Streaming returns them: they have to come out of a loader worker
        return self._dataset[index]["input_ids"].numpy().astype(np.uint16)


def one_by_one_rate(manifest: DatasetManifest, folder: Path, workers: int) -> Rates:
    """The same samples in the order of one plan, each read and collated by itself."""
    with MixedDataset(manifest, folder) as dataset:
        total = len(dataset) // BATCH * BATCH
        chosen = PlanSettings(step_samples=total, batch_size=BATCH, exhaustion="redistribute")
        plan = MixedLoader(dataset, settings=chosen).begin_step(dataset.sizes.samples_N / len(dataset))
        ids = plan.ids.tolist()
        return rates_of(DataLoader(OneByOne(dataset), batch_size=BATCH, sampler=ids, num_workers=workers))


def streaming_rate(manifest: DatasetManifest, folder: Path, workers: int) -> Rates:
    dataset = plain_streaming(manifest, folder)
    return rates_of(StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers))


def plain_streaming(manifest: DatasetManifest, folder: Path) -> StreamingDataset:
    """StreamingDataset over all streams, in fixed proportions that are those of the data."""
    samples = sum(stream.samples for stream in manifest.streams)
    streams = [
        Stream(local=str(folder / stream.path), proportion=stream.samples / samples)
        for stream in manifest.streams
        if stream.samples
    ]
    return StreamingDataset(streams=streams, batch_size=BATCH, shuffle=True)


def interleave_rate(manifest: DatasetManifest, folder: Path) -> Rates:
    parts, weights = [], []
    with MixedDataset(manifest, folder) as dataset:
        for index, size in enumerate(dataset.sizes.samples_N.tolist()):
            first = int(dataset.sizes.offsets_N[index])
            tokens = dataset.batch(list(range(first, first + size)))["input_ids"].numpy()
            parts.append(datasets.Dataset.from_dict({"input_ids": tokens}).with_format("torch"))
            weights.append(size / len(dataset))
    mixed = datasets.interleave_datasets(parts, probabilities=weights, seed=0)
    return rates_of(DataLoader(mixed, batch_size=BATCH))


def rates_of(batches: Iterable[Any]) -> Rates:
    """Both rates from the second batch on."""
    seen, started, processor_started = 0, 0.0, 0.0
    for batch in batches:
        if not started:
            started, processor_started = time.perf_counter(), processor_seconds()
            continue
        seen += len(batch) if isinstance(batch, torch.Tensor) else len(next(iter(batch.values())))
    return seen / (time.perf_counter() - started), seen / (processor_seconds() - processor_started)


def processor_seconds() -> float:
    """Processor time of this process and of its children, those that live and those that ended."""
    own = os.times()
    children = [child.cpu_times() for child in psutil.Process().children()]
    return sum(own[:4]) + sum(times.user + times.system for times in children)


def starting_up(manifest: DatasetManifest, folder: Path) -> dict[str, Any]:
    """Milliseconds from nothing to the first batch, beside plain StreamingDataset."""

    def ours() -> None:
        with MixedDataset(manifest, folder) as dataset:
            loader = MixedLoader(dataset, settings=PlanSettings(step_samples=16 * BATCH, batch_size=BATCH))
            loader.begin_step(dataset.sizes.samples_N / len(dataset))
            next(iter(loader))

    def theirs() -> None:
        dataset = plain_streaming(manifest, folder)
        next(iter(StreamingDataLoader(dataset, batch_size=BATCH)))
        dataset._iterator.exit()  # its threads would go on through our turn

    return mixing_costs.compared("mixed", ours, "streaming", theirs)


ROWS: dict[str, Row] = {
    **{
        f"throughput/{'by-batch' if by_batch else 'one-by-one'}/workers-{workers}": partial(
            beside_streaming, workers=workers, by_batch=by_batch
        )
        for by_batch in (True, False)
        for workers in (0, 2)
    },
    "throughput/interleave-datasets": beside_interleaving,
    "start-up": starting_up,
    "re-weighting": mixing_costs.reweighting,
    "resume/loader": mixing_costs.resuming_a_loader,
    "resume/run": mixing_costs.resuming_a_run,
    "memory": mixing_costs.memory,
}


if __name__ == "__main__":
    main()
