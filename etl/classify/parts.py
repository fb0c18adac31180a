"""Parts of a corpus: which inputs become one, which exist already, and how a new one appears.

A part is known by a fingerprint of the content of its inputs and of everything that the labels
depend on, so it is made once. Small inputs share a part; a large one is cut into pieces
(`dmix.etl.reading.pieces`) that are parts of their own, so that a killed job goes on inside it. Parts of
the last version whose inputs are all still there are kept as they are; what is new, changed, or
left over from a part that lost an input is grouped in the order of the names. So a new file never
redoes an old one, and a changed or removed small file redoes at most the part that it was in.

Publication: a task's attempt writes into a folder of its own; its files are renamed to their
final names, which the fingerprint and their number give; its record is written last. Records
wait in `.staging/done` until a version names the part. Attempts of one part write the same bytes
to the same names, so whoever comes last changes nothing.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dmix.etl.publishing.publish import publish_files, records_folder
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_json, read_json
from dmix.warehouse_schema.files.manifest_json import digest_of, record_from_json
from dmix.warehouse_schema.files.manifests import InputFile, LabelPart, Piece, check_part
from dmix.warehouse_schema.files.storage import Place, size_of

FORMAT = 2
"""Part of every fingerprint; one more for every change of the bytes that come out of a part."""
PARQUET_FORMAT = 4
"""The same for a part with a Parquet file. 3: ids of text columns are that text, as in JSON Lines. 4: times
of a zone that this machine does not know cost no row."""


Identity = tuple[str, str, str, str]
"""Name, hash, format and compression of an input."""


@dataclass(frozen=True, kw_only=True)
class PartPlan:
    """A part that is to be made.

    Attributes:
        piece: Which stretch of its one input it holds; None for all of its inputs.
    """

    fingerprint: str
    inputs: tuple[InputFile, ...]
    piece: Piece | None = None

    @property
    def size_bytes(self) -> int:
        """Stored bytes, about the same for all pieces of an input."""
        return sum(source.size_bytes for source in self.inputs) // (self.piece.count if self.piece else 1)


@dataclass(frozen=True, kw_only=True)
class CorpusFolders:
    """Folders of the parts of one corpus.

    Attributes:
        labels: `labels/<corpus>`.
        rejects: `rejects/<corpus>`.
    """

    labels: Place
    rejects: Place

    @classmethod
    def of(cls, warehouse: Warehouse, corpus: str) -> "CorpusFolders":
        return cls(labels=warehouse.label_data(corpus), rejects=warehouse.reject_data(corpus))

    def part(self, fingerprint: str) -> Place:
        return self.labels / "parts" / fingerprint

    def part_rejects(self, fingerprint: str) -> Place:
        return self.rejects / fingerprint


def part_fingerprint(inputs: Sequence[InputFile], piece: Piece | None = None, *, settings_digest: str) -> str:
    """Hash of the inputs and settings of a part, without the folders of the inputs."""
    content = [[s.name, s.size_bytes, s.sha256, s.format, s.compression] for s in inputs]
    parquet = any(source.format == "parquet" for source in inputs)
    whole = [PARQUET_FORMAT if parquet else FORMAT, settings_digest, content]
    return digest_of([*whole, piece.start, piece.stop, piece.first] if piece else whole)


def plan_parts(
    inputs: Sequence[InputFile],
    *,
    last: Sequence[LabelPart],
    fingerprint: Callable[[Sequence[InputFile], Piece | None], str],
    part_bytes: int,
    pieces: Mapping[Identity, Sequence[Piece]],
) -> tuple[list[LabelPart], list[PartPlan]]:
    """(parts of the last version that stay, parts that the other inputs become).

    Args:
        inputs: All inputs that the next version shall have.
        last: Parts of the last version whose files are in place.
        fingerprint: Of a part with these inputs, under the settings of now.
        part_bytes: Inputs below this size share a part of at most this size.
        pieces: Where large inputs are cut; an input that is not among them stays whole.
    """
    open_inputs = {input_identity(source): source for source in inputs}
    usable = [part for part in last if part.fingerprint == fingerprint(part.inputs, part.piece)]
    kept = []
    for group in _groups_of_inputs(usable):
        keys = [input_identity(source) for source in group[0].inputs]
        if all(key in open_inputs for key in keys):
            live = tuple(open_inputs.pop(key) for key in keys)
            kept += [dataclasses.replace(part, inputs=live) for part in group]
    plans = [
        PartPlan(fingerprint=fingerprint((source,), piece), inputs=(source,), piece=piece)
        for key, source in sorted(open_inputs.items())
        for piece in pieces.get(key, ())
    ]
    whole = (source for key, source in open_inputs.items() if not pieces.get(key))
    plans += [
        PartPlan(fingerprint=fingerprint(group, None), inputs=group)
        for group in _grouped(sorted(whole, key=lambda s: s.name), part_bytes)
    ]
    # an input of which a piece was lost makes that one alone
    found = {part.fingerprint: part for part in usable if part.piece}
    kept += [
        dataclasses.replace(found[plan.fingerprint], inputs=plan.inputs)
        for plan in plans
        if plan.fingerprint in found
    ]
    return kept, [plan for plan in plans if plan.fingerprint not in found]


def _groups_of_inputs(parts: Sequence[LabelPart]) -> Iterable[list[LabelPart]]:
    """Parts that hold their inputs in full: one alone, or all the pieces of one input."""
    pieces: dict[Identity, list[LabelPart]] = {}
    for part in parts:
        if part.piece is None:
            yield [part]
        else:
            pieces.setdefault(input_identity(part.inputs[0]), []).append(part)
    for group in pieces.values():
        if len(group) == group[0].piece.count:  # type: ignore[union-attr]
            yield group


def part_in_place(folders: CorpusFolders, part: LabelPart) -> bool:
    """True if all files of a part are there in full size."""
    labels, rejects = folders.part(part.fingerprint), folders.part_rejects(part.fingerprint)
    return all(size_of(labels / file.name) == file.size_bytes for file in part.files) and all(
        size_of(rejects / file.name) == file.size_bytes for file in part.reject_files
    )


def finished_part(folders: CorpusFolders, plan: PartPlan) -> LabelPart | None:
    """A part that an earlier, unfinished job has made, if all of it is there."""
    try:
        part = record_from_json(LabelPart, read_json(_record(folders, plan.fingerprint)))
        check_part(part, _record(folders, plan.fingerprint))
    except (NotFoundError, InputError, KeyError, TypeError):
        return None
    if part.fingerprint != plan.fingerprint:
        return None
    part = dataclasses.replace(part, inputs=plan.inputs)
    return part if part_in_place(folders, part) else None


def publish_part(folders: CorpusFolders, part: LabelPart, *, labels: Path, rejects: Path) -> None:
    """Moves the files of an attempt to their final names and leaves the record of the part.

    Args:
        folders: Where to.
        part: What the files are.
        labels: Folder of the attempt with the label files.
        rejects: Folder of the attempt with the reject files.
    """
    publish_files(rejects, part.reject_files, into=folders.part_rejects(part.fingerprint))
    publish_files(labels, part.files, into=folders.part(part.fingerprint))
    publish_json(_record(folders, part.fingerprint), dataclasses.asdict(part))


def _record(folders: CorpusFolders, fingerprint: str) -> Place:
    return records_folder(folders.labels) / f"{fingerprint}.json"


def input_identity(source: InputFile) -> Identity:
    """The identity of an input, whatever its folder."""
    return source.name, source.sha256, source.format, source.compression


def _grouped(inputs: Iterable[InputFile], part_bytes: int) -> list[tuple[InputFile, ...]]:
    """Large inputs alone, small ones together in order, up to `part_bytes` a group."""
    groups: list[tuple[InputFile, ...]] = []
    small: list[InputFile] = []
    size_bytes = 0
    for source in inputs:
        if source.size_bytes >= part_bytes:
            groups.append((source,))
            continue
        if small and size_bytes + source.size_bytes > part_bytes:
            groups.append(tuple(small))
            small, size_bytes = [], 0
        small.append(source)
        size_bytes += source.size_bytes
    if small:
        groups.append(tuple(small))
    return groups
