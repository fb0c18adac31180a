"""`dmix etl shard`: corpora to one MDS stream a (field, domain), published by one manifest.

The driver plans shard inputs, lets Spark make their parts, packs the tails of each domain into one
last part, writes the indexes itself, and the manifest last. See `shard_inputs` for what a shard input
is, `shard_tasks` for what a worker does, `publish` for the protocol between them.
"""

import dataclasses
import hashlib
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from dmix.etl.publishing.publish import ShardInputRecord, attempt_folder, publish_files, read_record
from dmix.etl.publishing.shard_inputs import ShardInput, check_label_files
from dmix.etl.publishing.unnamed import remove_unnamed_streams
from dmix.etl.screening.screening import excluded_documents, without_found
from dmix.etl.shard.mds import ShardWriter
from dmix.etl.shard.packing import cut_samples
from dmix.etl.shard.plan import ShardPlan, plan_dataset, published_dataset, references, shared_inputs
from dmix.etl.shard.settings import ShardSettings
from dmix.etl.shard.tasks import (
    ShardJob,
    Work,
    encode_shard_input,
    run_shard_inputs,
    stream_path,
)
from dmix.etl.spark.executors import ExecutorLike
from dmix.warehouse_schema.errors import InputError, StorageError, VerificationError
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes, storage_errors
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifests import (
    CorpusVersion,
    DatasetManifest,
    StreamEntry,
    StreamFile,
    write_dataset_manifest,
)
from dmix.warehouse_schema.files.names import refuse_links
from dmix.warehouse_schema.files.screenings import Screening
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text, size_text
from dmix.warehouse_schema.taxonomy import FIELDS

if TYPE_CHECKING:
    from dmix.etl.screening.ngrams import EvaluationItem

logger = logging.getLogger(__name__)

__all__ = ["ShardSettings", "shard_dataset"]


def shard_dataset(
    executor: ExecutorLike,
    warehouse: Warehouse,
    *,
    corpora: Sequence[CorpusVersion],
    settings: ShardSettings,
    progress: Progress,
    items: "Sequence[EvaluationItem]" = (),
    work: Work = encode_shard_input,
) -> DatasetManifest:
    """Makes a dataset, or finds it made; a killed call is taken up where it stopped.

    Args:
        corpora: Versions of one taxonomy, of one field or both.
        progress: Receives lines for people.
        items: Evaluation items that must not stand in the training text.
        work: What a task does with a shard input.

    Raises:
        InputError: If corpora or settings do not fit, or hold too little text for one sample.
        NotFoundError: If the tokenizer or a label file does not exist.
        LockHeldError: If another process is making the same dataset.
        VerificationError: If label files are damaged, or counts do not add up.
        StorageError: If the disk is full.
    """
    plan = plan_dataset(warehouse, corpora=corpora, settings=settings, items=items)
    for line in shared_inputs(corpora):
        progress(line)
    with held_lock(warehouse.lock_of("dataset", plan.dataset), what=f"dataset {plan.dataset}", of_job=True):
        refuse_links(warehouse.stream(plan.dataset))
        found = published_dataset(warehouse, plan)
        if found is not None:
            _screen(executor, warehouse, plan, progress)
            remove_unnamed_streams(warehouse.stream_data(found.dataset), found)
            progress(f"dataset {found.dataset} exists already with these settings; nothing to do")
            return found
        check_label_files(warehouse, plan.corpora)
        screenings = _screen(executor, warehouse, plan, progress)
        excluded = excluded_documents(warehouse, plan.corpora, screenings)
        for version in plan.corpora if screenings else ():
            progress(
                f"{version.corpus}: {excluded[version.corpus]:,} of "
                f"{num_text(version.documents, 'document')} left out of the training samples, because "
                f"{_why_left_out(plan)}"
            )
        shard_inputs = without_found(
            plan.shard_inputs, warehouse=warehouse, corpora=plan.corpora, screenings=screenings
        )
        plan = dataclasses.replace(plan, shard_inputs=shard_inputs)
        return _make(executor, warehouse, plan, excluded=sum(excluded.values()), progress=progress, work=work)


def _why_left_out(plan: ShardPlan) -> str:
    """Which documents a dataset leaves out, in words."""
    reasons = (["they are copies of others"] if plan.drop_duplicates else []) + (
        ["they contain text of evaluation items"] if plan.items and plan.remove_contaminated else []
    )
    return " or ".join(reasons)


def _screen(
    executor: ExecutorLike, warehouse: Warehouse, plan: ShardPlan, progress: Progress
) -> list[Screening]:
    """Looks for what the plan asks for; returns the screenings whose findings are to be left out."""
    leave_out = []
    if plan.drop_duplicates:
        from dmix.etl.screening.duplicates import find_duplicates

        leave_out.append(find_duplicates(executor, warehouse, corpora=plan.corpora, progress=progress))
    if plan.items:
        from dmix.etl.screening.contamination import find_contamination

        found = find_contamination(
            executor, warehouse, corpora=plan.corpora, items=plan.items, progress=progress
        )
        if plan.remove_contaminated:
            leave_out.append(found)
    return leave_out


def _make(
    executor: ExecutorLike,
    warehouse: Warehouse,
    plan: ShardPlan,
    *,
    excluded: int,
    progress: Progress,
    work: Work,
) -> DatasetManifest:
    """Makes the streams of a plan and publishes them; `excluded` documents are left out."""
    start = time.perf_counter()
    folder = warehouse.stream_data(plan.dataset)
    job = plan.job(folder)
    for place in {folder, warehouse.stream(plan.dataset)}:
        publish_bytes(place / "tokenizer.json", plan.tokenizer.json_bytes)
    pending = [shard_input for shard_input in plan.all_shard_inputs if _record(job, shard_input) is None]
    done = len(plan.all_shard_inputs) - len(pending)
    groups = num_text(len(plan.all_shard_inputs), "group")
    before = f"; {done:,} of {groups} of documents are done already" if done else ""
    progress(
        f"dataset {plan.dataset}: {size_text(plan.text_bytes)} of text to encode with tokenizer "
        f"{plan.tokenizer.name}{before}"
    )
    if pending:
        seconds = run_shard_inputs(executor, pending, job=job, progress=progress, work=work)
        logger.info("seconds of all workers: %s", seconds)
        progress(_speed(pending, time.perf_counter() - start))
    manifest = DatasetManifest(
        dataset=plan.dataset,
        name=plan.name,
        taxonomy=plan.taxonomy,
        tokenizer=plan.tokenizer_file,
        seq_len=plan.format.seq_len,
        token_dtype=plan.format.dtype,
        seed=plan.seed,
        corpora=references(plan),
        streams=tuple(
            _finished_stream(job, field, label, plan.shard_inputs.get((field, label), ()))
            for field in FIELDS
            for label in plan.taxonomy.labels
        ),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=plan.settings,
        kept_out=plan.kept_out,
    )
    _check_counts(manifest, plan.corpora, excluded=excluded)
    write_dataset_manifest(warehouse, manifest)
    remove_unnamed_streams(folder, manifest)
    return manifest


def _record(job: ShardJob, shard_input: ShardInput) -> ShardInputRecord | None:
    return read_record(
        job.folder, shard_input.fingerprint, stream=job.stream(shard_input.field, shard_input.domain)
    )


def _finished_stream(
    job: ShardJob, field: str, domain: str, shard_inputs: Sequence[ShardInput]
) -> StreamEntry:
    """Packs the tails of a domain in shard input order, writes its index, and says what it holds.

    Raises:
        StorageError: If what a task left has vanished.
        VerificationError: If tokens were lost or made up.
    """
    stream = job.stream(field, domain)
    records = [_record(job, shard_input) for shard_input in shard_inputs]
    done = [record for record in records if record is not None]
    if len(done) < len(records):
        raise StorageError(
            f"files of {field}/{domain} disappeared from {job.folder} during the job; run the command again"
        )
    tails = [np.frombuffer(record.tail, dtype=job.format.dtype) for record in done]
    empty = np.empty(0, dtype=job.format.dtype)
    samples_KL, rest = cut_samples(empty, np.concatenate([empty, *tails]), seq_len=job.format.seq_len)
    shards = [file for record in done for file in record.files]
    if len(samples_KL):
        with storage_errors(str(job.folder)), attempt_folder(job.folder) as folder:
            writer = ShardWriter(folder, format=job.format, part=len(shard_inputs))
            writer.write(samples_KL)
            files = writer.finish()
            publish_files(folder, files, into=stream)
            shards.extend(files)
    samples = sum(file.samples for file in shards)
    encoded = sum(record.tokens for record in done)
    if encoded != samples * job.format.seq_len + len(rest):
        raise VerificationError(
            f"{field}/{domain}: dmix encoded {num_text(encoded, 'token')}, but wrote "
            f"{num_text(samples, 'sample')} and "
            f"{num_text(len(rest), 'left-over token')}; remove {job.folder} and run the command again"
        )
    index = []
    if shards:
        content = job.format.index_bytes(shards)
        publish_bytes(stream / "index.json", content)
        sha256 = hashlib.sha256(content).hexdigest()
        index = [StreamFile(name="index.json", size_bytes=len(content), sha256=sha256, samples=0)]
    return StreamEntry(
        field=field,
        domain=domain,
        path=stream_path(field, domain),
        documents=sum(record.documents for record in done),
        samples=samples,
        tokens=samples * job.format.seq_len,
        tail_tokens=len(rest),
        files=(*index, *shards),
    )


def _check_counts(manifest: DatasetManifest, corpora: Sequence[CorpusVersion], *, excluded: int) -> None:
    """Returns if the dataset holds its corpora's documents, less the excluded ones, and some sample."""
    encoded, labelled = sum(s.documents for s in manifest.streams), sum(c.documents for c in corpora)
    if encoded != labelled - excluded:
        raise VerificationError(
            f"dmix encoded {num_text(encoded, 'document')}, but the corpora have {labelled:,} minus "
            f"{excluded:,} "
            "left out; run 'dmix etl verify'"
        )
    if not any(stream.samples for stream in manifest.streams):
        longest = max(stream.tail_tokens for stream in manifest.streams)
        raise InputError(
            f"no domain has enough text for one sample: the largest has {num_text(longest, 'token')}, and "
            f"--seq-len is {manifest.seq_len:,}; lower --seq-len or add text"
        )


def _speed(shard_inputs: Sequence[ShardInput], wall_seconds: float) -> str:
    """A line about speed, over all workers."""
    megabytes = sum(shard_input.text_bytes for shard_input in shard_inputs) / 1e6
    return f"encoded {megabytes:,.1f} MB in {wall_seconds:,.1f} s ({megabytes / wall_seconds:,.1f} MB/s)"
