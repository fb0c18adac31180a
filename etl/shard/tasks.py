"""One Spark task a shard input: read texts, encode, cut, write shards, publish them, leave a record.

The driver sends shard inputs and gets timings back; everything that must survive a kill goes through
the record files (`dmix.etl.publishing.publish`).
"""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np

from dmix.etl.publishing.publish import (
    ShardInputRecord,
    attempt_folder,
    publish_files,
    recorded,
    write_record,
)
from dmix.etl.publishing.shard_inputs import ShardInput, read_texts
from dmix.etl.shard.mds import ShardFormat, ShardWriter
from dmix.etl.shard.packing import cut_samples, with_end_of_text
from dmix.etl.spark.executors import ExecutorLike
from dmix.etl.spark.tasks import grouped, reported, run_tasks
from dmix.etl.text.tokens import Tokenizer, kept_tokenizer
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import storage_errors
from dmix.warehouse_schema.files.manifests import TokenizerFile
from dmix.warehouse_schema.files.storage import Place
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import size_text
from dmix.warehouse_schema.taxonomy import slug

BATCH_BYTES = 8 << 20
"""Text that a worker holds and encodes at once, unless one document is longer."""

_TASK_BYTES = 4 << 20
_LEAST_TASK_BYTES = 128 << 10
_TASKS = 16
_TASK_INPUTS = 256
"""Shard inputs that are smaller share a Spark task: with thousands of tiny domains, starting tasks would
cost more than their work. Little text still becomes some tasks, so that every core has one. What a shard
input becomes does not depend on it."""


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """What every task of a dataset's job knows.

    Attributes:
        folder: Folder of the dataset; holds `tokenizer.json` already.
        written: Special tokens that text becomes.
    """

    folder: Place
    tokenizer: TokenizerFile
    format: ShardFormat
    written: tuple[str, ...] = ()

    def stream(self, field: str, domain: str) -> Place:
        """Folder of the stream of one (field, domain)."""
        return self.folder / stream_path(field, domain)


def stream_path(field: str, domain: str) -> str:
    """Path of a stream below its dataset's folder."""
    return f"{field}/{slug(domain)}"


@dataclass(kw_only=True)
class StageSeconds:
    """Time that one or many shard inputs spent in each stage, in seconds of a worker."""

    read: float = 0.0
    encode: float = 0.0
    write: float = 0.0

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Adds the duration of the `with` block to `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + time.perf_counter() - start)


Work = Callable[[ShardInput, ShardJob], StageSeconds]


def encode_shard_input(shard_input: ShardInput, job: ShardJob) -> StageSeconds:
    """Makes the shards and the record of one shard input; running it again gives the same bytes.

    Raises:
        InputError: If the tokenizer returns ids beyond its vocabulary.
        NotFoundError: If a label file is missing.
        VerificationError: If a label file is not what its manifest says.
        StorageError: If the disk is full or refuses.
    """
    seconds = StageSeconds()
    tokenizer = _tokenizer(job.folder / "tokenizer.json", job.tokenizer, job.written)
    documents, tokens = 0, 0
    rest = np.empty(0, dtype=job.format.dtype)
    with storage_errors(str(job.folder)), attempt_folder(job.folder) as folder:
        writer = ShardWriter(folder, format=job.format, part=shard_input.index)
        batches = read_texts(shard_input, batch_bytes=BATCH_BYTES)
        while True:
            with seconds.measure("read"):
                texts = next(batches, None)
            if texts is None:
                break
            with seconds.measure("encode"):
                encoded = encode_documents(tokenizer, texts, dtype=job.format.dtype)
            with seconds.measure("write"):
                samples_KL, rest = cut_samples(rest, encoded, seq_len=job.format.seq_len)
                writer.write(samples_KL)
            documents += len(texts)
            tokens += len(encoded)
        with seconds.measure("write"):
            files = writer.finish()
            publish_files(folder, files, into=job.stream(shard_input.field, shard_input.domain))
            write_record(
                job.folder,
                ShardInputRecord(
                    fingerprint=shard_input.fingerprint,
                    documents=documents,
                    tokens=tokens,
                    tail=rest.tobytes(),
                    files=files,
                ),
            )
    return seconds


def encode_documents(tokenizer: Tokenizer, texts: Sequence[str], *, dtype: str) -> np.ndarray:
    """Tokens of the texts in order, end-of-text after each, as stored.

    Raises:
        InputError: If the tokenizer returns ids beyond its vocabulary.
    """
    ids_T, lengths_D = tokenizer.encode(texts)
    highest = int(ids_T.max(initial=0))
    if highest >= tokenizer.vocab_size:
        raise InputError(
            f"tokenizer {tokenizer.name!r} returned id {highest:,}, but its vocabulary has only "
            f"{tokenizer.vocab_size:,} ids; give a correct tokenizer.json"
        )
    return with_end_of_text(ids_T, lengths_D, eot_id=tokenizer.eot_id, dtype=dtype)


def run_shard_inputs(
    executor: ExecutorLike,
    shard_inputs: Sequence[ShardInput],
    *,
    job: ShardJob,
    progress: Progress,
    work: Work = encode_shard_input,
) -> StageSeconds:
    """Runs `work` on every shard input, the largest first, tiny ones together; returns the time it took.

    Raises:
        DmixError: One that a task raised.
    """
    order = sorted(shard_inputs, key=lambda shard_input: -shard_input.text_bytes)
    total_bytes = sum(shard_input.text_bytes for shard_input in shard_inputs)

    def line(seconds: float) -> str | None:
        known = recorded(job.folder)
        done = [shard_input for shard_input in shard_inputs if shard_input.fingerprint in known]
        done_bytes = sum(shard_input.text_bytes for shard_input in done)
        return (
            f"encoded {size_text(done_bytes)} of {size_text(total_bytes)} "
            f"({size_text(round(done_bytes / seconds))}/s)"
            if done
            else None
        )

    with reported(progress, line):
        most_bytes = min(_TASK_BYTES, max(_LEAST_TASK_BYTES, total_bytes // _TASKS))
        groups = grouped(order, size_of=lambda s: s.text_bytes, most_bytes=most_bytes, most=_TASK_INPUTS)
        spent = run_tasks(
            executor, functools.partial(_timed, job=job, work=work), groups, size_bytes=total_bytes
        )
    times = [one for group in spent for one in group]
    return StageSeconds(**{stage: sum(one[stage] for one in times) for stage in ("read", "encode", "write")})


def _timed(shard_inputs: Sequence[ShardInput], job: ShardJob, work: Work) -> list[dict[str, float]]:
    return [asdict(work(shard_input, job)) for shard_input in shard_inputs]


@functools.lru_cache(maxsize=2)
def _tokenizer(path: Place, file: TokenizerFile, written: tuple[str, ...]) -> Tokenizer:
    """The dataset's tokenizer, loaded once a worker process."""
    return kept_tokenizer(file.name, path.read_bytes(), file.eot_token or None, written)
