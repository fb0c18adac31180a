"""What a call of `dmix etl classify` would do: its inputs, read and hashed, and the parts they need."""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dmix.etl.classifiers.interface import Classifier
from dmix.etl.classifiers.registry import ClassifierSpec, classifier_spec, make_classifier
from dmix.etl.classify.parts import (
    CorpusFolders,
    Identity,
    PartPlan,
    finished_part,
    input_identity,
    part_fingerprint,
    part_in_place,
    plan_parts,
)
from dmix.etl.classify.settings import ClassifySettings
from dmix.etl.reading.documents import Columns
from dmix.etl.reading.input_records import InputRecords
from dmix.etl.reading.inspection import Inspection, hashed, inspect_and_cut
from dmix.etl.reading.sources import FoundFile, find_files
from dmix.etl.spark.executors import ExecutorLike, OnSpark, as_executor
from dmix.etl.spark.pool import worker_pool
from dmix.etl.spark.tasks import completed_tasks, grouped, reported, run_tasks
from dmix.etl.templates.alternatives import Alternatives
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifest_json import digest_of, record_from_json
from dmix.warehouse_schema.files.manifests import (
    CorpusVersion,
    InputFile,
    LabelPart,
    Piece,
    corpus_versions,
    read_corpus_version,
)
from dmix.warehouse_schema.files.storage import is_url
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text, size_text

_INSPECT_BYTES = 128 << 20
_INSPECT_FILES = 500
_LOOK_HERE_BYTES = 64 << 20
"""Inputs of so few bytes are looked at by worker processes of the driver, also where Spark labels them."""


@dataclass(frozen=True, kw_only=True)
class CorpusRequest:
    """What one corpus shall hold.

    Attributes:
        inputs: Files, folders and globs; all of the corpus, unless `add`.
        add: Keep the inputs of the last version, too.
    """

    corpus: str
    field: str
    inputs: tuple[str, ...]
    add: bool = False


@dataclass(frozen=True, kw_only=True)
class CorpusPlan:
    """What is to be done for one corpus.

    Attributes:
        request: What was asked for.
        last: Its newest version, if there is one.
        inputs: All inputs that the next version will have.
        kept: Parts that exist already, in that version or from an unfinished job.
        to_do: Parts that have to be made.
        skipped: What was left out of folders, by ending or name (`FoundFiles`).
        records: What was known about the inputs.
        inspected: The files that this call names, with what was found in them.
    """

    request: CorpusRequest
    last: CorpusVersion | None
    inputs: tuple[InputFile, ...]
    kept: tuple[LabelPart, ...]
    to_do: tuple[PartPlan, ...]
    skipped: Mapping[str, int]
    records: InputRecords
    inspected: tuple[tuple[FoundFile, Inspection], ...]


def plan_corpora(
    executor: ExecutorLike,
    warehouse: Warehouse,
    requests: Sequence[CorpusRequest],
    *,
    settings: ClassifySettings,
    progress: Progress,
) -> list[CorpusPlan]:
    """What `classify_corpora` would do; reads and hashes every input, writes nothing.

    Raises:
        InputError: If an input is not what its ending says, or an existing corpus does not fit.
        NotFoundError: If an input does not exist.
    """
    spec = requested_classifier(warehouse, settings)
    classifier = make_classifier(spec)
    columns = columns_read(settings, classifier)
    fingerprint = functools.partial(part_fingerprint, settings_digest=_digest(settings, classifier))
    asked = []
    for request in requests:
        last = _last_version(warehouse, request)
        if request.add and last is not None:
            _check_same_settings(last, fingerprint, classifier)
        old = [source for part in last.parts for source in part.inputs] if request.add and last else []
        taken = {source.name: source.path for source in old}
        records = InputRecords(
            warehouse.input_records(request.corpus),
            columns=[*columns.required, *("+".join(shape) for shape in columns.text_shapes)],
            piece_bytes=settings.piece_bytes,
            part_bytes=settings.part_bytes,
        )
        found = find_files(request.inputs, taken=taken, not_below=warehouse.root)
        asked.append((request, last, old, records, found))
    _refuse_shared_files({request.field: found.files for request, *_, found in asked})
    inspections = _inspected(
        executor,
        [(found.files, records) for _, _, _, records, found in asked],
        settings=settings,
        columns=columns,
        progress=progress,
    )
    plans = []
    for (request, last, old, records, found), inspected in zip(asked, inspections, strict=True):
        inputs = _with_old(old, [inspection.source for inspection in inspected])
        pieces = _pieces(inputs, inspected, last.parts if request.add and last else ())
        folders = CorpusFolders.of(warehouse, request.corpus)
        usable = [part for part in last.parts if part_in_place(folders, part)] if last else []
        kept, to_do = plan_parts(
            inputs, last=usable, fingerprint=fingerprint, part_bytes=settings.part_bytes, pieces=pieces
        )
        finished = {plan.fingerprint: finished_part(folders, plan) for plan in to_do}
        plans.append(
            CorpusPlan(
                request=request,
                last=last,
                inputs=inputs,
                kept=(*kept, *(part for part in finished.values() if part is not None)),
                to_do=tuple(plan for plan in to_do if finished[plan.fingerprint] is None),
                skipped=found.skipped,
                records=records,
                inspected=tuple(zip(found.files, inspected, strict=True)),
            )
        )
    return plans


def _refuse_shared_files(files: Mapping[str, Sequence[FoundFile]]) -> None:
    """Refuses a file that is an input of both fields: it would be known already and yet to be learned."""
    field_of: dict[str, str] = {}
    for field, found in files.items():
        for file in found:
            real = file.path if is_url(file.path) else os.path.realpath(file.path)
            other = field_of.setdefault(real, field)
            if other != field:
                raise InputError(
                    f"{file.path} is an input of both fields, {other} and {field}; leave the file out of "
                    "one field"
                )


def requested_classifier(warehouse: Warehouse, settings: ClassifySettings) -> ClassifierSpec:
    """The classifier that settings name, distilled ones being those of the warehouse.

    Raises:
        InputError: If it is unknown, or taxonomy or fallback do not go with it.
        NotFoundError: If a file that it needs does not exist.
    """
    return classifier_spec(
        settings.classifier,
        taxonomy=settings.taxonomy,
        distilled=warehouse.classifiers,
        fallback=settings.fallback,
        margin=settings.margin,
    )


def columns_read(settings: ClassifySettings, classifier: Classifier) -> Columns:
    """What the job reads of a record."""
    return Columns.of(settings, id=settings.id_column, others=classifier.columns)


def _digest(settings: ClassifySettings, classifier: Classifier) -> str:
    """Hash of all settings that a part's bytes depend on, beside its inputs."""
    columns = columns_read(settings, classifier)
    return digest_of([classifier.fingerprint, columns.identity, settings.max_document_bytes])


def _last_version(warehouse: Warehouse, request: CorpusRequest) -> CorpusVersion | None:
    if not corpus_versions(warehouse, request.corpus):
        return None
    last = read_corpus_version(warehouse, request.corpus)
    if last.field != request.field:
        raise InputError(
            f"corpus {request.corpus!r} has the field {last.field}, not {request.field}; choose another "
            "--name"
        )
    return last


def _check_same_settings(last: CorpusVersion, fingerprint: functools.partial, classifier: Classifier) -> None:
    if any(part.fingerprint != fingerprint(part.inputs, part.piece) for part in last.parts):
        differs = (
            "--text-column, --template, --id-column, --taxonomy, --max-document-bytes or the version of the "
            "classifier"
            if last.classifier == classifier.name
            else f"classifier {last.classifier!r} (now {classifier.name!r})"
        )
        raise InputError(
            f"corpus {last.corpus!r} has other settings than this command: {differs}. To add files, repeat "
            "the flags of the command that made the corpus. Otherwise, leave --add out and give all inputs, "
            "or choose another --name"
        )


def _with_old(old: Sequence[InputFile], new: Sequence[InputFile]) -> tuple[InputFile, ...]:
    """All inputs; a file that was an input before keeps its name, which is part of ids."""
    inputs = {source.path: source for source in old}
    for source in new:
        known = inputs.get(source.path, source)
        inputs[source.path] = dataclasses.replace(source, name=known.name)
    return tuple(inputs.values())


def _pieces(
    inputs: Sequence[InputFile], inspected: Sequence[Inspection], last: Sequence[LabelPart]
) -> dict[Identity, tuple[Piece, ...]]:
    """Where inputs are cut: as was just found, or, of inputs that are gone, as they were cut before."""
    found = {inspection.source.path: inspection.pieces for inspection in inspected}
    pieces: dict[Identity, tuple[Piece, ...]] = {}
    for part in last:
        if part.piece is not None and part.inputs[0].path not in found:
            key = input_identity(part.inputs[0])
            pieces[key] = (*pieces.get(key, ()), part.piece)
    for source in inputs:
        if source.path in found:
            pieces[input_identity(source)] = found[source.path]
    return pieces


def _inspected(
    executor: ExecutorLike,
    asked: Sequence[tuple[Sequence[FoundFile], InputRecords]],
    *,
    settings: ClassifySettings,
    columns: Columns,
    progress: Progress,
) -> list[list[Inspection]]:
    """What is in the files of each request: as known from before, or read by tasks of some files each."""
    known = [[records.known(file) for file in files] for files, records in asked]
    unknown = [
        file
        for (files, _), before in zip(asked, known, strict=True)
        for file, inspection in zip(files, before, strict=True)
        if inspection is None
    ]
    groups = grouped(
        unknown, size_of=lambda file: file.size_bytes, most_bytes=_INSPECT_BYTES, most=_INSPECT_FILES
    )
    size_bytes = sum(file.size_bytes for file in unknown)
    if unknown:
        progress(f"checking {num_text(len(unknown), 'new file')} ({size_text(size_bytes)})")
    inspect = functools.partial(
        _inspect_files,
        required=columns.required,
        shapes=columns.text_shapes,
        read=columns.alternatives,
        id_column=columns.id,
        part_bytes=settings.part_bytes,
        piece_bytes=settings.piece_bytes,
    )
    where = as_executor(executor)
    if isinstance(where, OnSpark) and size_bytes <= _LOOK_HERE_BYTES:
        where = worker_pool()  # a Spark job of its own takes longer to start than this to look

    def line(seconds: float) -> str | None:
        done = completed_tasks(where)
        return f"read {done} of {num_text(len(groups), 'group')} of files" if done else None

    with reported(progress, line):
        values = run_tasks(where, inspect, groups, size_bytes=size_bytes, died=lambda _: None)
    for number, group in enumerate(groups):
        if values[number] is None:  # one of them ended its worker; that one is not cut
            alone = [[file] for file in group]
            found = run_tasks(where, inspect, alone, size_bytes=size_bytes, died=_unreadable)
            values[number] = [value for one in found for value in one]
    read = iter(record_from_json(Inspection, value) for group in values for value in group)
    return [[inspection or next(read) for inspection in before] for before in known]


def _unreadable(files: Sequence[FoundFile]) -> list[dict[str, Any]]:
    """The inspection of a file that ends whatever process looks into it: its bytes are hashed, no more."""
    return [dataclasses.asdict(Inspection(source=hashed(file), pieces=())) for file in files]


def _inspect_files(
    files: Sequence[FoundFile],
    *,
    required: Sequence[str],
    shapes: Sequence[Sequence[str]],
    read: Alternatives | None,
    id_column: str | None,
    part_bytes: int,
    piece_bytes: int,
) -> list[dict[str, Any]]:
    return [
        dataclasses.asdict(
            inspect_and_cut(
                file,
                columns=required,
                shapes=shapes,
                read=read,
                id_column=id_column,
                piece_bytes=piece_bytes if file.size_bytes >= part_bytes else None,
            )
        )
        for file in files
    ]
