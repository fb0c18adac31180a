"""One pass over the shards of a dataset: what `dmix.mixing.effects.counts` needs of each domain.

Tasks are groups of shards of one domain; their counts add up. They run in threads here, since
sorting, which takes most of the time, holds no interpreter lock, or wherever the caller runs them.
A few samples of each domain are looked at first: their tokens tell how to interpolate.
"""

import base64
import io
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dmix.mixing.delivery.mds import map_tokens
from dmix.mixing.effects.counts import CountModel, ScoredTokens
from dmix.mixing.effects.ngrams import (
    Integers,
    NgramCounts,
    Wanted,
    components,
    count_rows,
    fitted_weights,
    interpolated,
)
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest, StreamEntry
from dmix.warehouse_schema.files.processes import cores
from dmix.warehouse_schema.files.storage import is_url, open_place

# Tokens of a domain that decide how its n-grams are interpolated, and the largest part of it they are.
_HELD_TOKENS = 4096
_HELD_SHARE = 0.1
_TASK_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class CountTask:
    """Some shards of one domain; small, and sent to other processes.

    Attributes:
        domain: Index in the domain space.
        files: Path or URL, and samples, of each shard.
        dtype: numpy name of the stored ids.
        length: Tokens a sample.
    """

    domain: int
    files: tuple[tuple[str, int], ...]
    dtype: str
    length: int


# Counts of tasks, in their order.
RunTasks = Callable[[Callable[[CountTask], NgramCounts], Sequence[CountTask]], list[NgramCounts]]


def in_threads(count: Callable[[CountTask], NgramCounts], tasks: Sequence[CountTask]) -> list[NgramCounts]:
    """Runs tasks in threads of this process, one for each core."""
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(count, tasks))


def count_model(
    warehouse: Warehouse, manifest: DatasetManifest, tokens: ScoredTokens, *, run: RunTasks = in_threads
) -> CountModel:
    """The counts of a dataset on the scored tokens of items.

    Args:
        warehouse: Where the dataset is.
        manifest: The dataset.
        tokens: Of the items.
        run: Runs the tasks.
    """
    active = [index for index, stream in enumerate(manifest.streams) if stream.samples]
    held = {index: _held_rows(warehouse, manifest, manifest.streams[index]) for index in active}
    vocab_size = manifest.tokenizer.vocab_size
    wanted = Wanted.of_pairs(
        np.concatenate([tokens.previous_R, *(rows[:, :-1].ravel() for rows in held.values())]),
        np.concatenate([tokens.token_R, *(rows[:, 1:].ravel() for rows in held.values())]),
        vocab_size=vocab_size,
    )
    tasks = count_tasks(warehouse, manifest)
    totals = {index: NgramCounts.nothing(wanted) for index in active}
    for task, counts in zip(tasks, run(partial(count_files, wanted=wanted), tasks), strict=True):
        totals[task.domain] = totals[task.domain] + counts
    places = wanted.places(tokens.previous_R, tokens.token_R)
    columns = []
    for index in active:
        parts_R3, known_R = components(totals[index], places)
        weights_3 = _weights(held[index], totals[index], wanted)
        columns.append(interpolated(parts_R3, known_R, weights_3).astype(np.float32))
    return CountModel(
        tokens=tokens,
        active=np.array(active),
        size=len(manifest.streams),
        p_RA=np.stack(columns, axis=1),
        alpha_D=np.ones(len(tokens.slices)),
    )


def count_tasks(warehouse: Warehouse, manifest: DatasetManifest) -> list[CountTask]:
    """The shards of a dataset as tasks of at most 64 MB, or one shard."""
    tasks = []
    for index, stream in enumerate(manifest.streams):
        groups: list[list[tuple[str, int]]] = []
        room = 0
        for path, samples, size_bytes in _shards(warehouse, manifest, stream):
            if not groups or size_bytes > room:
                groups.append([])
                room = _TASK_BYTES
            groups[-1].append((path, samples))
            room -= size_bytes
        tasks += [
            CountTask(domain=index, files=tuple(group), dtype=manifest.token_dtype, length=manifest.seq_len)
            for group in groups
        ]
    return tasks


def count_files(task: CountTask, *, wanted: Wanted) -> NgramCounts:
    """Counts of the wanted n-grams in the shards of a task."""
    counts = NgramCounts.nothing(wanted)
    for path, samples in task.files:
        rows_SL = read_rows(path, samples=samples, dtype=task.dtype, length=task.length)
        counts = counts + count_rows(rows_SL, wanted)
    return counts


def counts_to_text(counts: NgramCounts) -> str:
    """Counts as text, for runners whose results are JSON."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        pairs=counts.pairs_K,
        contexts=counts.contexts_U,
        tokens=counts.tokens_U,
        total=np.array(counts.total),
    )
    return base64.b64encode(buffer.getvalue()).decode()


def counts_from_text(text: str) -> NgramCounts:
    """What `counts_to_text` wrote."""
    found: Any = np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)
    return NgramCounts(found["pairs"], found["contexts"], found["tokens"], int(found["total"]))


def read_rows(path: str, *, samples: int, dtype: str, length: int) -> Integers:
    """Token rows of a shard, shape (samples, length): mapped, or downloaded into memory.

    Raises:
        VerificationError: If the file is not what the manifest says.
        StorageError: If a remote store cannot be reached.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    if not is_url(path):
        return map_tokens(Path(path), samples=samples, dtype=kind, length=length)
    with tempfile.NamedTemporaryFile(prefix="dmix-shard-") as copy:
        with open_place(path) as stream:
            copy.write(stream.read())
        copy.flush()
        return np.array(map_tokens(Path(copy.name), samples=samples, dtype=kind, length=length))


def _shards(
    warehouse: Warehouse, manifest: DatasetManifest, stream: StreamEntry
) -> list[tuple[str, int, int]]:
    folder = warehouse.stream_data(manifest.dataset) / stream.path
    return [(str(folder / f.name), f.samples, f.size_bytes) for f in stream.files if f.samples]


def sample_rows(
    warehouse: Warehouse, manifest: DatasetManifest, stream: StreamEntry, number: int, *, most_shards: int = 4
) -> Integers:
    """At most `number` samples of a domain, evenly over some of its shards, shape (samples, length)."""
    shards = _shards(warehouse, manifest, stream)
    chosen = [shards[i] for i in evenly(len(shards), most_shards)]
    rows = [np.empty((0, manifest.seq_len), np.dtype(manifest.token_dtype))]
    for index, (path, samples, _) in enumerate(chosen):
        part = number * (index + 1) // len(chosen) - number * index // len(chosen)
        rows_SL = read_rows(path, samples=samples, dtype=manifest.token_dtype, length=manifest.seq_len)
        rows.append(np.array(rows_SL[evenly(samples, part)]))
    return np.concatenate(rows)


def _held_rows(warehouse: Warehouse, manifest: DatasetManifest, stream: StreamEntry) -> Integers:
    """Samples that decide how a domain is interpolated; at most a tenth, so a small domain has none."""
    wanted = min(-(-_HELD_TOKENS // manifest.seq_len), int(_HELD_SHARE * stream.samples))
    return sample_rows(warehouse, manifest, stream, wanted)


def evenly(size: int, number: int) -> list[int]:
    """At most `number` of `size` indices, evenly spaced."""
    number = min(size, number)
    return [(2 * i + 1) * size // (2 * number) for i in range(number)]


def _weights(held_SL: Integers, counts: NgramCounts, wanted: Wanted) -> np.ndarray:
    """Interpolation weights of a domain; its held-out samples are taken out of its counts."""
    places = wanted.places(held_SL[:, :-1].ravel(), held_SL[:, 1:].ravel())
    parts_T3, known_T = components(counts - count_rows(held_SL, wanted), places)
    return fitted_weights(parts_T3, known_T)
