"""The work of one Spark task: read the inputs of a part, label them, write and publish the part.

Memory of a task: `CHUNK_BYTES` of text about three times, and six times the longest document
(its line, its text, its Arrow copies), ten times where its text holds characters that Python
stores in four bytes. `max_document_bytes` bounds the longest document.
"""

import dataclasses
import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dmix.etl.classifiers.interface import MISSING_LABEL, Classifier, Labels
from dmix.etl.classifiers.registry import ClassifierSpec, make_classifier
from dmix.etl.classify.parts import CorpusFolders, PartPlan, finished_part, publish_part
from dmix.etl.publishing.labels import SCHEMA, LabelWriter
from dmix.etl.publishing.publish import attempt_folder
from dmix.etl.publishing.rejects import PREFIX_CHARACTERS, Reject, RejectWriter
from dmix.etl.reading.documents import Columns, Document
from dmix.etl.reading.records import read_documents, read_piece
from dmix.etl.spark.tasks import Meter
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import storage_errors
from dmix.warehouse_schema.files.manifests import LabelPart
from dmix.warehouse_schema.light_arrow import array_of

BATCH_DOCUMENTS = 2048
BATCH_BYTES = 8 << 20
"""A classifier gets so many documents at once, or so much text. Its batches lie within one."""


@dataclass(frozen=True, kw_only=True)
class LabelJob:
    """What every task of a corpus knows.

    Attributes:
        folders: Where parts go.
        meters: Folder on the driver's machine through which tasks tell how far they are.
        classifier: How to make the classifier.
        classifier_fingerprint: Of the classifier that the driver sees.
        columns: What is read of a record.
        max_document_bytes: Longest document that is taken.
    """

    folders: CorpusFolders
    meters: Path
    classifier: ClassifierSpec
    classifier_fingerprint: str
    columns: Columns
    max_document_bytes: int


def label_part(plan: PartPlan, job: LabelJob, *, deadly: Collection[str] = ()) -> dict[str, Any]:
    """Makes and publishes a part; running it again gives the same bytes. Returns its plain form.

    Args:
        plan: The part.
        job: What every task of the corpus knows.
        deadly: Paths of inputs that end the process that reads them: each becomes one reject, unread.

    Raises:
        InputError: If an input cannot be read, or the worker's classifier is another one.
        NotFoundError: If an input vanished.
        StorageError: If the disk is full or refuses.
    """
    classifier = make_classifier(job.classifier)
    if classifier.fingerprint != job.classifier_fingerprint:
        raise InputError(
            f"classifier {classifier.name!r} differs between this worker and the driver; install the "
            "same weights on both"
        )
    done = finished_part(job.folders, plan)
    if done is not None:  # by an attempt whose job went down with another part
        return dataclasses.asdict(done)
    with storage_errors(str(job.folders.labels)), attempt_folder(job.folders.labels) as folder:
        labels, rejects = folder / "labels", folder / "rejects"
        for new in (labels, rejects):
            new.mkdir()
        part = _label_inputs(plan, job, classifier, labels=labels, rejects=rejects, deadly=deadly)
        publish_part(job.folders, part, labels=labels, rejects=rejects)
    return dataclasses.asdict(part)


def try_input(plan: PartPlan, job: LabelJob) -> bool:
    """Labels what would become a part and keeps nothing of it; True if the process outlives that."""
    with storage_errors(str(job.folders.labels)), attempt_folder(job.folders.labels) as folder:
        silent = dataclasses.replace(job, meters=folder / "meters")
        _label_inputs(plan, silent, make_classifier(job.classifier), labels=folder, rejects=folder, deadly=())
    return True


def _label_inputs(
    plan: PartPlan,
    job: LabelJob,
    classifier: Classifier,
    *,
    labels: Path,
    rejects: Path,
    deadly: Collection[str],
) -> LabelPart:
    """Writes the files of a part into two folders."""
    taxonomy = classifier.taxonomy
    label_writer = LabelWriter(labels, labels=taxonomy.labels if taxonomy else None)
    reject_writer = RejectWriter(rejects)
    meter = Meter(job.meters / f"{plan.fingerprint}.meter")
    batch: list[Document] = []
    batch_bytes = fallback_documents = 0

    def flush() -> None:
        nonlocal fallback_documents
        table, refused, asked = label_batch(batch, classifier)
        label_writer.add(table)
        for reject in refused:
            reject_writer.add(reject)
        fallback_documents += asked
        batch.clear()

    read = functools.partial(read_piece, piece=plan.piece) if plan.piece else read_documents
    for source in plan.inputs:
        if source.path in deadly:
            position = plan.piece.first if plan.piece else 1
            reject_writer.add(
                Reject(source.name, position, "worker_died", "dmix read nothing after this place", "")
            )
            continue
        for entry in read(
            source, columns=job.columns, max_document_bytes=job.max_document_bytes, meter=meter
        ):
            if isinstance(entry, Reject):
                reject_writer.add(entry)
                continue
            if batch and (len(batch) >= BATCH_DOCUMENTS or batch_bytes + entry.size_bytes > BATCH_BYTES):
                flush()
                batch_bytes = 0
            batch.append(entry)
            batch_bytes += entry.size_bytes
    if batch:
        flush()
    meter.tell()
    reject_files = reject_writer.close()
    return LabelPart(
        fingerprint=plan.fingerprint,
        inputs=plan.inputs,
        files=label_writer.close(),
        rejected=dict(sorted(reject_writer.counts.items())),
        reject_files=reject_files,
        piece=plan.piece,
        fallback_documents=fallback_documents,
    )


def label_batch(documents: Sequence[Document], classifier: Classifier) -> tuple[pa.Table, list[Reject], int]:
    """(rows of a label file, rejects, how many a fallback was asked about) of some documents, in order."""
    ids, texts, _, paths, positions, values = zip(*documents, strict=True)
    records = {column: [value[i] for value in values] for i, column in enumerate(classifier.columns)}
    found = classifier.classify(texts, records)
    names = _names(found, classifier)
    table = pa.Table.from_arrays(
        [
            pa.array(ids, pa.string()),
            pa.array(texts, pa.string()),
            pa.array(paths, pa.string()),
            pa.array(positions, pa.int64()),
            pa.array(names, pa.string()),
            array_of(_rounded(found.probability)),
            array_of(_rounded(found.margin)),
        ],
        schema=SCHEMA,
    )
    refused = [
        _refused(documents[row], int(found.index[row])) for row, name in enumerate(names) if name is None
    ]
    asked = 0 if found.by_fallback is None else int(found.by_fallback.sum())
    return (table.filter(pa.array(found.index >= 0)) if refused else table), refused, asked


def _names(found: Labels, classifier: Classifier) -> list[str | None]:
    known = found.names
    if known is None:
        assert classifier.taxonomy is not None
        known = classifier.taxonomy.labels
    return [known[index] if index >= 0 else None for index in found.index.tolist()]


def _rounded(values: np.ndarray) -> np.ndarray:
    # sums in another order differ in the last bits; label files must not
    return np.round(values.astype(np.float64), 4).astype(np.float32)


def _refused(document: Document, index: int) -> Reject:
    reason = "missing_label" if index == MISSING_LABEL else "unknown_label"
    detail = ", ".join(repr(value)[:PREFIX_CHARACTERS] for value in document.values)
    prefix = document.text[:PREFIX_CHARACTERS]
    return Reject(document.path, document.position, reason, f"label {detail}", prefix)
