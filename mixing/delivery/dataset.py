"""The streams of a dataset as batches by sample id, and the loader that a step is read through.

Ids travel from a batch sampler in the main process through the loader's index queues, so a new
mixture reaches running workers without shared memory, and nothing is read beyond the step: the
sampler ends where the step ends. Shapes: b samples of a rank's slice of a batch, L tokens.
"""

import logging
import operator
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from dmix.mixing.delivery.mds import TOKEN_COLUMN, map_tokens, token_layout
from dmix.mixing.delivery.shared_streams import CACHE_WAIT_SECONDS, INDEX, OpenStreams
from dmix.mixing.delivery.step_plan import PlanSettings, StepPlan, StreamSizes, check_settings
from dmix.warehouse_schema.errors import InputError, StorageError, VerificationError
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.files.names import refuse_links
from dmix.warehouse_schema.files.processes import obey_parent, start_tracker, starting_workers
from dmix.warehouse_schema.files.weights import file_digest
from dmix.warehouse_schema.sizes import num_text

logger = logging.getLogger(__name__)

Batch = dict[str, torch.Tensor]
Ids = NDArray[np.int64]

_EVICTION_RETRIES = 32
_MOST_MAPS = 4096
_SHARD_REMOTE = 1


class NoSuchSampleError(InputError, IndexError):
    """A sample id outside of the dataset; ends a loop over it as Python expects."""


class MixedDataset(Dataset):
    """All samples of a dataset by global id, read by the batch.

    Works in a plain DataLoader, by id or as an iterable; `build_dataloader` reads by the batch. It holds
    shared memory and file descriptors until `close`, or the end of a `with` statement:

        with MixedDataset(manifest, warehouse.stream(manifest.dataset)) as dataset:
            ...

    Args:
        manifest: The published dataset.
        local: Folder of its streams (`warehouse.stream(manifest.dataset)`), or an empty cache
            folder on this machine if `remote` is given.
        remote: URL of its streams, for example `s3://bucket/streams/<dataset>`.
        cache_limit: Most bytes that the cache may hold, a number or text such as "20gb"; older
            shards are removed to stay below it. Shards that several processes download at the
            same moment come on top.
        cache_wait_seconds: How long to wait for a cache that another run on this machine uses.

    Attributes:
        manifest: As given.
        sizes: Samples of each domain and shard.

    Raises:
        VerificationError: If the streams hold other samples than the manifest states.
        LockHeldError: If another run uses the cache and does not end in time.
        InputError: If the cache limit is smaller than Streaming can work with.
        StorageError: If an index cannot be read or downloaded.
    """

    def __init__(
        self,
        manifest: DatasetManifest,
        local: str | Path,
        *,
        remote: str | None = None,
        cache_limit: str | int | None = None,
        cache_wait_seconds: float = CACHE_WAIT_SECONDS,
    ) -> None:
        local = Path(local)
        if remote is None:
            refuse_links(local)
        self.manifest = manifest
        self.sizes = StreamSizes.of_manifest(manifest)
        folders = [stream.path for stream in manifest.streams if stream.samples]
        self._streams = OpenStreams(
            folders,
            local=local,
            remote=remote,
            cache_limit=cache_limit,
            cache_wait_seconds=cache_wait_seconds,
            index_sha256={
                stream.path: file.sha256
                for stream in manifest.streams
                for file in stream.files
                if file.name == INDEX
            },
        )
        self._streaming = self._streams.dataset
        self._samples = int(self.sizes.samples_N.sum())
        self._shard_begins = self._streaming.sample_offset_per_shard
        self._shard_domains = self.sizes.domains_of(self._shard_begins)
        # plain numbers, since a lookup in an array takes ten times as long for a single sample
        self._begins, self._domains = self._shard_begins.tolist(), self._shard_domains.tolist()
        # A mapped file keeps its space after eviction, so maps are kept only where none happens.
        self._maps: dict[int, NDArray] | None = None if cache_limit else {}
        # shards of a cache are held against the manifest, once in each process and after each download
        self._stated = self._stated_hashes() if remote is not None else None
        self._held: dict[int, tuple[int, ...]] = {}
        self._fixed = [token_layout(reader) for reader in self._streaming.shards]
        self._closed = False
        try:
            self._check_against_manifest(remote or str(local))
        except VerificationError:
            self.close()
            raise

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> Batch:
        """One sample: `input_ids` (L,), `labels` (L,), `sample_ids` (), `domains` ().

        Raises as `batch`, which is many times faster per sample, and an IndexError where there is no
        such sample.
        """
        index = operator.index(index)  # 1.5 and "1" are no ids
        if not 0 <= index < self._samples:
            samples = num_text(self._samples, "sample")
            raise NoSuchSampleError(f"sample {index} does not exist: the dataset has {samples}")
        self._check(index, index)
        shard = bisect_right(self._begins, index) - 1
        tokens = self._read(shard, index - self._begins[shard])
        input_ids = torch.from_numpy(tokens.astype(np.int64))
        return {
            "input_ids": input_ids,
            "labels": input_ids,
            "sample_ids": torch.tensor(index),
            "domains": torch.tensor(self._domains[shard]),
        }

    def __iter__(self) -> Iterator[Batch]:
        """All samples in the order of their ids, one pass."""
        return (self[index] for index in range(self._samples))

    def __getitems__(self, ids: Sequence[int] | Ids) -> list[Batch]:
        """The samples one by one, for a DataLoader that collates them itself; raises as `batch`."""
        batch = self.batch(ids)
        return [{name: tensor[row] for name, tensor in batch.items()} for row in range(len(ids))]

    def __getstate__(self) -> None:
        """Refuses to be pickled: shared memory and descriptors belong to this process and its forks.

        Raises:
            InputError: Always.
        """
        raise InputError(
            "dmix cannot send a MixedDataset to another process; use a DataLoader with "
            "multiprocessing_context='fork', or open the dataset in that process"
        )

    def batch(self, ids: Sequence[int] | Ids) -> Batch:
        """The samples in the order of their ids, collated.

        Returns:
            `input_ids` int64 (b, L), `labels` (the same tensor), `sample_ids` int64 (b,),
            `domains` int64 (b,).

        Raises:
            StorageError: If a shard cannot be read or downloaded.
            VerificationError: If a shard is not what the index says.
            InputError: If the dataset was closed or has no such ids.
        """
        given = np.array(ids)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise InputError(
                f"sample ids are {given.dtype} of shape {given.shape}, expected whole numbers in a row"
            )
        ids = np.array(given, dtype=np.int64)  # a copy, since the batch is handed out
        self._check(*((ids.min(), ids.max()) if len(ids) else (0, 0)))
        shards = np.searchsorted(self._shard_begins, ids, side="right") - 1
        rows = ids - self._shard_begins[shards]
        tokens = np.empty((len(ids), self.manifest.seq_len), dtype=self.manifest.token_dtype)
        order = np.argsort(shards, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(shards[order])) + 1):
            if len(group):
                tokens[group] = self._read(int(shards[group[0]]), rows[group])
        return _unpack(tokens, ids, self._shard_domains[shards])

    def close(self) -> None:
        """Gives back shared memory, descriptors, mapped files and the lock of the cache.

        Calling it again does nothing. Loader workers that still run keep what they were forked with.
        """
        self._closed, self._maps = True, None
        self._streams.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forget_connections(self) -> None:
        """For a process that was forked: never use the parent's network connections."""
        self._streams.forget_connections()

    def _check(self, least: int, most: int) -> None:
        """Raises an InputError unless ids from `least` to `most` can be read."""
        if self._closed:
            raise InputError("the dataset is closed; open the dataset again to read from it")
        if not 0 <= least <= most < self._samples:
            raise InputError(
                f"sample ids {least} to {most} were requested, but the dataset has "
                f"{num_text(self._samples, 'sample')}"
            )

    def _check_against_manifest(self, where: str) -> None:
        """Raises a VerificationError unless the indices describe what the manifest states."""
        stated = np.concatenate([shards for shards in self.sizes.shard_samples if len(shards)])
        if not np.array_equal(stated, self._streaming.samples_per_shard):
            raise VerificationError(
                f"the streams of dataset {self.manifest.dataset} in {where} have "
                f"{num_text(self._streaming.num_samples, 'sample')} in "
                f"{num_text(self._streaming.num_shards, 'shard')}, but the manifest says {stated.sum()} in "
                f"{len(stated)}; run 'dmix etl verify'"
            )
        wanted = (np.dtype(self.manifest.token_dtype).newbyteorder("<"), self.manifest.seq_len)
        for layout in self._fixed:
            if layout not in (wanted, None):
                raise VerificationError(
                    f"a shard of dataset {self.manifest.dataset} in {where} has rows of {layout[1]} "
                    f"{layout[0].name}, but the manifest says {wanted[1]} {wanted[0].name}; run 'dmix "
                    "etl verify'"
                )

    def _read(self, shard: int, rows: Ids | int) -> NDArray:
        """Token rows of one shard, or a single one; another process may evict it at any time."""
        for _ in range(_EVICTION_RETRIES):
            try:
                self._check_hash(shard)
                tokens = self._token_rows(shard, rows)
            except FileNotFoundError:
                self._fetch(shard)
            else:
                if self._streaming.cache_limit:
                    self._streaming._shard_access_times[shard] = time.time_ns()
                return tokens
        raise StorageError(
            f"the cache is too small: {_EVICTION_RETRIES} times, shard {shard} disappeared before dmix "
            "read it; raise cache_limit, or lower loader_workers in the training file"
        )

    def _token_rows(self, shard: int, rows: Ids | int) -> NDArray:
        if self._maps is not None and shard in self._maps:
            return self._maps[shard][rows]
        reader, layout = self._streaming.shards[shard], self._fixed[shard]
        if layout is None:  # rows of no fixed length in the file: Streaming decodes them one by one
            if isinstance(rows, int):
                return reader[rows][TOKEN_COLUMN]
            return np.stack([reader[int(row)][TOKEN_COLUMN] for row in rows])
        path = Path(reader.dirname, reader.split, reader.raw_data.basename)
        mapped = map_tokens(path, samples=len(reader), dtype=layout[0], length=layout[1])
        if self._maps is not None:
            if len(self._maps) >= _MOST_MAPS:  # the kernel allows some 65,000 maps a process
                self._maps.clear()
            self._maps[shard] = mapped
        return mapped[rows]

    def _stated_hashes(self) -> list[dict[str, str]]:
        """SHA-256 of each file of a shard's stream, by name, as the manifest says; one entry a shard."""
        by_stream = [
            {file.name: file.sha256 for file in stream.files}
            for stream in self.manifest.streams
            if stream.samples
        ]
        return [by_stream[stream] for stream in self._streaming.stream_per_shard]

    def _check_hash(self, shard: int) -> None:
        """Holds a downloaded shard against the manifest; another one is downloaded again, once.

        Raises:
            FileNotFoundError: If it is not in the cache.
            VerificationError: If the store itself has another one.
        """
        if self._stated is None:
            return
        reader = self._streaming.shards[shard]
        name = reader.raw_data.basename
        path = Path(reader.dirname, reader.split, name)
        for attempt in (1, 2):
            found = path.lstat()
            seen = (found.st_ino, found.st_size, found.st_mtime_ns)
            if self._held.get(shard) == seen:
                return
            wanted = self._stated[shard].get(name, "none")
            if not path.is_symlink() and file_digest(path) == wanted:
                self._held[shard] = seen
                return
            if attempt == 1:
                logger.warning("%s differs from the manifest; dmix downloads it again", path)
                path.unlink(missing_ok=True)
                self._streaming._shard_states[shard] = _SHARD_REMOTE
                self._fetch(shard)
        raise VerificationError(
            f"the downloaded shard {name} of {reader.dirname} differs from the manifest of dataset "
            f"{self.manifest.dataset} (SHA-256 {wanted[:16]}…); run 'dmix etl verify'"
        )

    def _fetch(self, shard: int) -> None:
        """Downloads or unpacks a shard, unless another process is at it; then waits for that."""
        try:
            self._streaming.prepare_shard(shard)
        except Exception as error:
            # Streaming leaves the shard marked as under way, and others would wait for ever.
            self._streaming._shard_states[shard] = _SHARD_REMOTE
            stream = self._streaming.streams[self._streaming.stream_per_shard[shard]]
            raise StorageError(
                f"shard {self._streaming.shards[shard].raw_data.basename} of "
                f"{stream.remote or stream.local} cannot be read: {error}; run 'dmix etl verify' to "
                "check the dataset"
            ) from error


class StepBatchSampler(DistributedSampler):
    """This rank's slices of the global batches of one step: batch k is ids[kB:(k+1)B].

    A DistributedSampler because Composer accepts no other batch sampler on several ranks.

    Args:
        dataset: What is sampled.
        settings: R and B.
        rank: Of this process; None asks torch.distributed, 0 without it.
        world_size: Number of ranks; None asks torch.distributed, 1 without it.

    Raises:
        InputError: If the batch cannot be cut into equal slices (`check_settings`).
    """

    def __init__(
        self,
        dataset: MixedDataset,
        *,
        settings: PlanSettings,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        ready = distributed.is_available() and distributed.is_initialized()
        rank = rank if rank is not None else (distributed.get_rank() if ready else 0)
        world_size = world_size if world_size is not None else (distributed.get_world_size() if ready else 1)
        check_settings(settings, streams=dataset.sizes, world_size=world_size)
        super().__init__(dataset, num_replicas=world_size, rank=rank, shuffle=False)
        self.settings = settings
        self.batch_size = settings.batch_size // world_size
        self._plan: StepPlan | None = None
        self._first_batch = 0

    def set_plan(self, plan: StepPlan, first_batch: int = 0) -> None:
        """What the next iteration yields: the batches of a step from `first_batch` on.

        Raises:
            InputError: If the step has fewer batches.
        """
        batches = len(plan.ids) // self.settings.batch_size
        if len(plan.ids) % self.settings.batch_size or not 0 <= first_batch <= batches:
            raise InputError(
                f"step {plan.step} has {num_text(len(plan.ids), 'sample')}, {num_text(batches, 'batch')} of"
                f" {self.settings.batch_size}, so it has no batch {first_batch}; plan it with the"
                " settings of the sampler"
            )
        self._plan, self._first_batch = plan, first_batch

    def __iter__(self) -> Iterator[Ids]:
        if self._plan is None:
            raise InputError("the sampler has no plan yet; call set_plan() before each step")
        batches = self._plan.ids.reshape(-1, self.num_replicas, self.batch_size)
        yield from batches[self._first_batch :, self.rank]

    def __len__(self) -> int:
        """Batches that the next iteration yields; those of a full step before there is a plan."""
        if self._plan is None:
            return self.settings.step_samples // self.settings.batch_size
        return len(self._plan.ids) // self.settings.batch_size - self._first_batch


def build_dataloader(
    dataset: MixedDataset,
    sampler: StepBatchSampler,
    *,
    num_workers: int = 0,
    prefetch_factor: int | None = None,
    pin_memory: bool = False,
) -> DataLoader:
    """A loader whose every iteration is one step; its workers are forked once and kept.

    Args:
        dataset: What is read.
        sampler: Gets a new plan before each iteration.
        num_workers: Processes that read ahead within the step; 0 reads in this one.
        prefetch_factor: Batches that each worker reads ahead; None takes torch's 2.
        pin_memory: For copies to a GPU.
    """
    return _StepLoader(
        _ByBatch(dataset),
        batch_sampler=sampler,
        num_workers=num_workers,
        collate_fn=partial(_pack_in_worker, dtype=dataset.manifest.token_dtype),
        prefetch_factor=prefetch_factor,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        multiprocessing_context="fork" if num_workers else None,
        # torch draws a seed for the workers at every iteration; drawn from the global generator, it
        # would shift the dropout of a run that was resumed within a step
        generator=torch.Generator(),
        worker_init_fn=_start_worker,
    )


class _StepLoader(DataLoader):
    """A loader whose workers are out of reach of signals to their group: they still have batches to give."""

    def __iter__(self) -> Any:
        if self.num_workers:
            start_tracker()
        with starting_workers() if self.num_workers else nullcontext():
            return super().__iter__()


class _ByBatch(Dataset):
    """A dataset whose items come as whole batches, which spares taking them apart and together again."""

    def __init__(self, dataset: MixedDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, ids: Sequence[int] | Ids) -> Batch:
        return self.dataset.batch(ids)


class _Parcel:
    """A batch on its way from a worker: small arrays that become the batch where they arrive.

    Tensors would travel as one shared-memory file each, which costs milliseconds a batch where
    this costs microseconds, and as int64 they are four times as large.
    """

    def __init__(self, *arrays: NDArray) -> None:
        self._arrays = arrays

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, self._arrays


def _pack_in_worker(batch: Any, *, dtype: str) -> Any:
    """Collating: the dataset has done that, so a batch only needs packing where it has to travel."""
    if torch.utils.data.get_worker_info() is None:
        return batch
    tokens, ids, domains = (batch[name].numpy() for name in ("input_ids", "sample_ids", "domains"))
    return _Parcel(tokens.astype(dtype), ids, domains.astype(np.uint16))


def _unpack(tokens: NDArray, ids: Ids, domains: NDArray) -> Batch:
    """The batch of `MixedDataset.batch` out of its arrays."""
    input_ids = torch.from_numpy(tokens.astype(np.int64))
    return {
        "input_ids": input_ids,
        "labels": input_ids,
        "sample_ids": torch.from_numpy(ids),
        "domains": torch.from_numpy(domains.astype(np.int64)),
    }


def _start_worker(_: int) -> None:
    info = torch.utils.data.get_worker_info()
    assert info is not None and isinstance(info.dataset, _ByBatch)
    obey_parent()
    info.dataset.dataset.forget_connections()
