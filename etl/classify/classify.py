"""`dmix etl classify`: raw files become versions of corpora.

The driver finds and names the inputs, tasks hash and check them, the driver plans parts and
drops those that exist (`dmix.etl.classify.plan`), one task makes each of the others
(`dmix.etl.classify.label_tasks`), and the driver publishes a version that lists them. All corpora of one
call share a Spark job and, under `--taxonomy from-data`, one taxonomy, since a dataset needs the
same labels in both fields.
"""

import dataclasses
import functools
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dmix.etl.classifiers.interface import Classifier
from dmix.etl.classifiers.registry import ClassifierSpec, make_classifier
from dmix.etl.classify.label_tasks import LabelJob, label_part, try_input
from dmix.etl.classify.parts import CorpusFolders, PartPlan
from dmix.etl.classify.plan import CorpusPlan, CorpusRequest, columns_read, plan_corpora, requested_classifier
from dmix.etl.classify.settings import ClassifySettings
from dmix.etl.publishing.mirror import copy_rejects
from dmix.etl.publishing.publish import STAGING
from dmix.etl.publishing.rejects import REASONS
from dmix.etl.spark.executors import ExecutorLike
from dmix.etl.spark.tasks import metered, reported, run_tasks
from dmix.etl.synthetic.inputs import generation_of
from dmix.etl.templates.unread import REMEDIES, columns_of_record, text_flag
from dmix.warehouse_schema.errors import DmixError, InputError
from dmix.warehouse_schema.files.layout import Warehouse, checked_name, storage_errors
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifest_json import digest_of, record_from_json
from dmix.warehouse_schema.files.manifests import (
    CorpusVersion,
    LabelPart,
    corpus_versions,
    read_corpus_version,
    write_corpus_version,
)
from dmix.warehouse_schema.files.names import refuse_links
from dmix.warehouse_schema.files.storage import RemotePath
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text, size_text
from dmix.warehouse_schema.taxonomy import FIELDS, Taxonomy, taxonomy_from_labels

logger = logging.getLogger(__name__)

Work = Callable[[PartPlan, LabelJob], dict[str, Any]]

MOST_LABELS = 4096
"""A dataset has a stream for each label and field."""

LOCK_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class CorpusOutcome:
    """What became of one corpus.

    Attributes:
        version: Its newest version.
        published: True if this call published it, False if nothing had changed.
        plan: What was done.
    """

    version: CorpusVersion
    published: bool
    plan: CorpusPlan


def classify_corpora(
    executor: ExecutorLike,
    warehouse: Warehouse,
    requests: Sequence[CorpusRequest],
    *,
    settings: ClassifySettings,
    progress: Progress,
    work: Work = label_part,
) -> list[CorpusOutcome]:
    """Classifies what is new in some corpora and publishes a version of each that changed.

    Args:
        requests: The corpora, each named once.
        settings: How the documents are read and get their domain.
        progress: Told what happens, a line at a time.
        work: What a task does with a part.

    Raises:
        InputError: If inputs, settings or an existing corpus do not fit, or no document was taken.
        NotFoundError: If an input does not exist.
        LockHeldError: If another process writes one of the corpora.
        StorageError: If the disk is full or refuses.
    """
    spec = requested_classifier(warehouse, settings)
    classifier = make_classifier(spec)
    with ExitStack() as locks:
        for request in sorted(requests, key=lambda r: r.corpus):
            lock = warehouse.lock_of("corpus", request.corpus)
            what = f"corpus {request.corpus} of {warehouse.root}"
            locks.enter_context(held_lock(lock, what=what, timeout_seconds=LOCK_SECONDS, of_job=True))
            refuse_links(warehouse.labels(request.corpus))
            refuse_links(warehouse.rejects(request.corpus))
            _clear_staging(warehouse, request.corpus, everything=False)
        plans = plan_corpora(executor, warehouse, requests, settings=settings, progress=progress)
        for plan in plans:
            plan.records.keep(plan.inspected)
        jobs = [_job(warehouse, plan, spec, classifier, settings) for plan in plans]
        made = _make_parts(executor, plans, jobs, work=work, progress=progress)
        parts = {
            plan.request.corpus: tuple(sorted((*plan.kept, *new), key=_part_order))
            for plan, new in zip(plans, made, strict=True)
        }
        for plan, job in zip(plans, jobs, strict=True):
            _check_documents(plan, parts[plan.request.corpus], job.folders)
        taxonomy = classifier.taxonomy or _taxonomy_of(plans, parts, classifier)
        return [
            _publish(warehouse, plan, parts[plan.request.corpus], classifier=classifier, taxonomy=taxonomy)
            for plan in plans
        ]


def field_requests(
    warehouse: Warehouse,
    inputs: Mapping[str, Sequence[str]],
    *,
    name: str,
    add: bool,
    settings: ClassifySettings,
) -> list[CorpusRequest]:
    """Requests for the corpora `<name>-source` and `<name>-target`.

    A field without inputs is left alone, except where both share a taxonomy that comes from the
    data: then its parts get the labels of the other field, too.

    Args:
        inputs: Paths by field.
        name: First half of the corpora's names.
        add: Keep the inputs of the last versions.
        settings: How the documents get their domain.

    Raises:
        InputError: If the name cannot be one of a corpus, or the settings do not fit.
    """
    checked_name("corpus", name)
    requests = []
    for field in FIELDS:
        corpus = f"{name}-{field}"
        if inputs.get(field):
            requests.append(CorpusRequest(corpus=corpus, field=field, inputs=tuple(inputs[field]), add=add))
        elif corpus_versions(warehouse, corpus):
            spec = requested_classifier(warehouse, settings)
            version = read_corpus_version(warehouse, corpus)
            if spec.taxonomy is None and version.classifier_fingerprint == make_classifier(spec).fingerprint:
                requests.append(CorpusRequest(corpus=corpus, field=field, inputs=(), add=True))
    return requests


def _job(
    warehouse: Warehouse,
    plan: CorpusPlan,
    spec: ClassifierSpec,
    classifier: Classifier,
    settings: ClassifySettings,
) -> LabelJob:
    return LabelJob(
        folders=CorpusFolders.of(warehouse, plan.request.corpus),
        meters=warehouse.labels(plan.request.corpus) / STAGING / "meters",
        classifier=spec,
        classifier_fingerprint=classifier.fingerprint,
        columns=columns_read(settings, classifier),
        max_document_bytes=settings.max_document_bytes,
    )


def _make_parts(
    executor: ExecutorLike,
    plans: Sequence[CorpusPlan],
    jobs: Sequence[LabelJob],
    *,
    work: Work,
    progress: Progress,
) -> list[list[LabelPart]]:
    """Makes all parts that are to be made in one Spark job, the largest first."""
    items = [(part, index) for index, plan in enumerate(plans) for part in plan.to_do]
    items.sort(key=lambda item: _working_order(item[0]))
    kept = sum(len(plan.kept) for plan in plans)
    total_bytes = sum(part.size_bytes for part, _ in items)
    before = f"; {num_text(kept, 'other part')} of the text done before" if kept else ""
    progress(f"classifying {size_text(total_bytes)} in {num_text(len(items), 'part')}{before}")

    def line(seconds: float) -> str | None:
        done = sum(metered(job.meters) for job in jobs)
        if not done:
            return None
        return (
            f"classified {min(1.0, done / total_bytes):.0%}"
            f" ({size_text(done)} of {size_text(total_bytes)} as stored,"
            f" {size_text(round(done / seconds))}/s)"
        )

    for job in jobs:
        with storage_errors(str(job.meters)):
            job.meters.mkdir(parents=True, exist_ok=True)
    task = functools.partial(_make_part, jobs=tuple(jobs), work=work)
    with reported(progress, line):
        values = run_tasks(executor, task, items, size_bytes=total_bytes, died=lambda _: None)
        lost = [number for number, value in enumerate(values) if value is None]
        if lost:
            progress(
                f"{num_text(len(lost), 'part')} ended the process; dmix now tries the inputs of these "
                "parts "
                "one by one"
            )
            made_after = _without_deadly(executor, [items[number] for number in lost], jobs, progress)
            for number, value in zip(lost, made_after, strict=True):
                values[number] = value
    made: list[list[LabelPart]] = [[] for _ in plans]
    for (_, index), value in zip(items, values, strict=True):
        made[index].append(record_from_json(LabelPart, value))
    return made


def _without_deadly(
    executor: ExecutorLike,
    items: Sequence[tuple[PartPlan, int]],
    jobs: Sequence[LabelJob],
    progress: Progress,
) -> list[Any]:
    """Makes parts that have ended their workers; the inputs that do so alone become rejects."""
    alone = [
        (dataclasses.replace(plan, inputs=(source,)), index)
        for plan, index in items
        for source in plan.inputs
    ]
    outlived = run_tasks(
        executor, functools.partial(_try_input, jobs=tuple(jobs)), alone, died=lambda _: False
    )
    deadly = [plan.inputs[0] for (plan, _), fine in zip(alone, outlived, strict=True) if not fine]
    for source in deadly:
        progress(f"{source.path} ends the process that reads it; dmix rejects this file (reason worker_died)")
    work = functools.partial(label_part, deadly=frozenset(source.path for source in deadly))
    return run_tasks(executor, functools.partial(_make_part, jobs=tuple(jobs), work=work), items)


def _try_input(item: tuple[PartPlan, int], jobs: Sequence[LabelJob]) -> bool:
    plan, index = item
    return try_input(plan, jobs[index])


def _make_part(item: tuple[PartPlan, int], jobs: Sequence[LabelJob], work: Work) -> dict[str, Any]:
    plan, index = item
    return work(plan, jobs[index])


def _working_order(plan: PartPlan) -> tuple[int, str, int]:
    """The largest inputs first; pieces in order, since a compressed stream is read on from there."""
    total_bytes = sum(source.size_bytes for source in plan.inputs)
    return -total_bytes, plan.inputs[0].name, plan.piece.index if plan.piece else 0


def _part_order(part: LabelPart) -> tuple[str, int, str]:
    """Parts stand in the order of their first inputs, however they came to be."""
    return (
        min(source.name for source in part.inputs),
        part.piece.index if part.piece else 0,
        part.fingerprint,
    )


def _check_documents(plan: CorpusPlan, parts: Sequence[LabelPart], folders: CorpusFolders) -> None:
    if any(part.documents for part in parts):
        return
    reasons = sum((Counter(part.rejected) for part in parts), Counter())
    if not reasons:
        raise InputError(
            f"the inputs of corpus {plan.request.corpus!r} contain no document; give other inputs"
        )
    reason, count = reasons.most_common(1)[0]
    listed = ", ".join(f"{name} {number:,}" for name, number in reasons.most_common())
    example = _example(parts, folders, reason)
    seen = f" (for example {example['path']}:{example['position']}: {example['detail']})" if example else ""
    remedy = REMEDIES.get(reason, "check the inputs")
    if reason == "missing_text":
        remedy = text_flag(columns_of_record(example.get("prefix", "")))
    raise InputError(
        f"dmix rejected every document of corpus {plan.request.corpus!r} (reasons: {listed}). {count:,} "
        f"times: {REASONS[reason]}{seen}; {remedy}"
    )


def _example(parts: Sequence[LabelPart], folders: CorpusFolders, reason: str) -> dict[str, Any]:
    """The first reject of a reason; empty if its file cannot be read."""
    part = next(part for part in parts if part.rejected.get(reason))
    for file in part.reject_files:
        try:
            content = (folders.part_rejects(part.fingerprint) / file.name).read_bytes()
            rejects = pq.read_table(pa.BufferReader(content))
        except (OSError, pa.ArrowException, DmixError):
            continue
        for row in rejects.to_pylist():
            if row["reason"] == reason:
                return row
    return {}


def _taxonomy_of(
    plans: Sequence[CorpusPlan], parts: Mapping[str, Sequence[LabelPart]], classifier: Classifier
) -> Taxonomy:
    """The labels of all parts, and those that earlier versions of added-to corpora had."""
    labels = {
        rows.label
        for found in parts.values()
        for part in found
        for file in part.files
        for rows in file.domains
    }
    for plan in plans:
        if plan.request.add and plan.last is not None:
            labels.update(plan.last.taxonomy.labels)
    if len(labels) > MOST_LABELS:
        raise InputError(
            f"{classifier.name} gives {num_text(len(labels), 'different label')}, expected at most "
            f"{MOST_LABELS:,}; use a column with topics, or give the valid labels with --taxonomy FILE"
        )
    # two sets of labels never share a name, which is the key of the catalog's domains
    name = f"{classifier.name.partition(':')[2]}-{digest_of(sorted(labels))[:8]}"
    return taxonomy_from_labels(name, labels)


def _publish(
    warehouse: Warehouse,
    plan: CorpusPlan,
    parts: tuple[LabelPart, ...],
    *,
    classifier: Classifier,
    taxonomy: Taxonomy,
) -> CorpusOutcome:
    """Writes the next version, unless it would be the last one again."""
    last, request = plan.last, plan.request
    if last is not None and _same(last, parts, classifier, taxonomy):
        _clear_staging(warehouse, request.corpus, everything=True)
        return CorpusOutcome(version=last, published=False, plan=plan)
    generation = generation_of(plan.inputs)
    version = CorpusVersion(
        corpus=request.corpus,
        version=last.version + 1 if last else 1,
        field=request.field,
        taxonomy=taxonomy,
        classifier=classifier.name,
        classifier_fingerprint=classifier.fingerprint,
        parts=parts,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        # inputs that --add keeps need not be there any more
        synthetic=generation is not None or (request.add and last is not None and last.synthetic),
        generation=generation,
    )
    copy_rejects(warehouse, version)
    write_corpus_version(warehouse, version)
    _clear_staging(warehouse, request.corpus, everything=True)
    logger.info("published version %d of corpus %s", version.version, version.corpus)
    return CorpusOutcome(version=version, published=True, plan=plan)


def _same(
    last: CorpusVersion, parts: Sequence[LabelPart], classifier: Classifier, taxonomy: Taxonomy
) -> bool:
    return (
        [part.fingerprint for part in last.parts] == [part.fingerprint for part in parts]
        and last.taxonomy == taxonomy
        and last.classifier == classifier.name
    )


def _clear_staging(warehouse: Warehouse, corpus: str, *, everything: bool) -> None:
    """Removes what attempts of killed jobs left; the records of finished parts only with `everything`."""
    staging = warehouse.labels(corpus) / STAGING
    for folder in [staging] if everything else [staging / "attempts", staging / "meters"]:
        with storage_errors(str(folder)):
            shutil.rmtree(folder, ignore_errors=True)
    remote = warehouse.label_data(corpus) / STAGING
    if everything and isinstance(remote, RemotePath):
        for file in remote.files():
            file.path.unlink()
