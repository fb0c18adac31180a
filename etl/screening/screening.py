"""What the searches for duplicates and for evaluation items share: label files in, a screening out.

A screening has one Parquet file for each label file in which something was found. Tasks write them
under their final names, which follow from the label file, and with the same bytes in every attempt;
the manifest comes last (`dmix.warehouse_schema.files.screenings`). So a killed screening goes on where it
stopped, and readers see it whole or not at all.
"""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dmix.etl.publishing.publish import STAGING, attempt_folder
from dmix.etl.publishing.shard_inputs import RowRange, ShardInput, excluded_rows, label_path
from dmix.warehouse_schema.files.layout import Warehouse, storage_errors
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.manifests import (
    CorpusVersion,
    content_digest,
    corpus_versions,
    read_corpus_version,
)
from dmix.warehouse_schema.files.screenings import KINDS, Screening, find_screening, write_screening
from dmix.warehouse_schema.files.storage import Place
from dmix.warehouse_schema.taxonomy import FIELDS, slug

DIGESTS_LOCK = "digests"
"""Name of the lock that is held while digests of texts are written."""


@dataclass(frozen=True, kw_only=True)
class ScreenedFile:
    """One label file that is looked through.

    Attributes:
        corpus: Name of its corpus.
        name: Name of what is found in it, without an ending; unique among all label files.
        rows: All of its rows.
        domains: Its domains in the order of its rows, with the number of documents of each.
    """

    corpus: str
    name: str
    rows: RowRange
    domains: tuple[tuple[str, int], ...]


def in_reading_order(corpora: Sequence[CorpusVersion]) -> tuple[CorpusVersion, ...]:
    """Corpora in the order of datasets: source first, then by content, whatever order they came in."""
    return tuple(sorted(corpora, key=lambda c: (FIELDS.index(c.field), content_digest(c))))


def screened_files(warehouse: Warehouse, corpora: Sequence[CorpusVersion]) -> list[ScreenedFile]:
    """The label files of some versions that hold documents, in order."""
    return [
        ScreenedFile(
            corpus=corpus.corpus,
            name=digest_of([corpus.corpus, part.fingerprint, file.name])[:24],
            rows=RowRange(
                path=str(label_path(warehouse, corpus.corpus, part.fingerprint, file.name)),
                sha256=file.sha256,
                start=0,
                stop=sum(run.documents for run in file.domains),
                text_bytes=sum(run.text_bytes for run in file.domains),
            ),
            domains=tuple((run.label, run.documents) for run in file.domains),
        )
        for corpus in corpora
        for part in corpus.parts
        for file in part.files
        if file.domains
    ]


def screening_id(kind: str, corpora: Sequence[CorpusVersion], looked_for: object) -> str:
    """The id of what is found in some versions, first 16 digits of a hash.

    Args:
        kind: `duplicates` or `contamination`.
        corpora: What is looked through; their names are part of what is found.
        looked_for: Plain value of everything else that the findings follow from.
    """
    content = sorted([corpus.corpus, content_digest(corpus)] for corpus in corpora)
    return digest_of([kind, content, looked_for])[:16]


def corpus_names(corpora: Sequence[CorpusVersion]) -> tuple[str, ...]:
    """The versions as `name@vK`."""
    return tuple(f"{corpus.corpus}@v{corpus.version}" for corpus in corpora)


def publish_findings(folder: Path, file: ScreenedFile, found: pa.Table) -> None:
    """Makes the findings of one label file appear in the folder of a screening, with their domains.

    Args:
        folder: Of the screening.
        file: The label file.
        found: A finding a row; its column `row` is the row of the document in the label file, from 0.

    Raises:
        StorageError: If the disk is full or refuses.
    """
    ends = np.cumsum([documents for _, documents in file.domains])
    runs = np.searchsorted(ends, found.column("row").to_numpy(), side="right")
    domains = pa.array([file.domains[run][0] for run in runs], pa.string())
    with storage_errors(str(folder)), attempt_folder(folder) as attempt:
        path = attempt / f"{file.name}.parquet"
        pq.write_table(found.append_column("domain", domains), path, compression="zstd")
        path.replace(folder / path.name)


def finish_screening(warehouse: Warehouse, screening: Screening) -> Screening:
    """Publishes the manifest and removes what no reader needs."""
    write_screening(warehouse, screening)
    folder = warehouse.screening(screening.kind, screening.screening)
    for path in folder.glob("*.parquet"):
        if path.stem not in screening.files:
            path.unlink(missing_ok=True)
    shutil.rmtree(folder / STAGING, ignore_errors=True)
    return screening


def without_found(
    shard_inputs: Mapping[tuple[str, str], tuple[ShardInput, ...]],
    *,
    warehouse: Warehouse,
    corpora: Sequence[CorpusVersion],
    screenings: Sequence[Screening],
) -> dict[tuple[str, str], tuple[ShardInput, ...]]:
    """The shard inputs of a dataset, with the rows that screenings found and that are left out."""
    excluded = _finding_files(warehouse, corpora, screenings)

    def told(rows: RowRange) -> RowRange:
        paths = excluded.get(rows.path, ())
        return dataclasses.replace(rows, excluded=paths) if paths else rows

    return {
        key: tuple(
            dataclasses.replace(shard_input, ranges=tuple(told(rows) for rows in shard_input.ranges))
            for shard_input in group
        )
        for key, group in shard_inputs.items()
    }


def excluded_documents(
    warehouse: Warehouse, corpora: Sequence[CorpusVersion], screenings: Sequence[Screening]
) -> dict[str, int]:
    """Documents that at least one of the screenings found, by corpus."""
    return {
        version.corpus: sum(
            len(excluded_rows(paths)) for paths in _finding_files(warehouse, [version], screenings).values()
        )
        for version in corpora
    }


def started_screenings(warehouse: Warehouse) -> list[tuple[str, str]]:
    """(kind, id) of all screenings that have a folder, finished or not; links are none."""
    return [
        (kind, folder.name)
        for kind in KINDS
        for folder in sorted((warehouse.root / kind).glob("[!.]*"))
        if folder.is_dir() and not folder.is_symlink() and slug(folder.name) == folder.name
    ]


def unnamed_in_screening(warehouse: Warehouse, kind: str, screening: str) -> list[Place]:
    """What may be removed of a screening: all of it, if it has no manifest."""
    folder = warehouse.screening(kind, screening)
    if find_screening(warehouse, kind, screening) is None:
        return [folder]
    return [*sorted(folder.glob(".*"))]


def stale_digests(warehouse: Warehouse) -> list[Place]:
    """What no job needs among the digests of texts: those of label files that no version names."""
    live = {
        file.rows.sha256
        for corpus in warehouse.names("labels", "v*.json", links=False)
        for number in corpus_versions(warehouse, corpus)
        for file in screened_files(warehouse, [read_corpus_version(warehouse, corpus, number)])
    }
    digests = sorted(warehouse.text_digests.glob("*.parquet"))
    stale = [path for path in digests if path.name.partition("-")[0] not in live]
    return [*stale, *sorted(warehouse.text_digests.glob(".*"))]


def _finding_files(
    warehouse: Warehouse, corpora: Sequence[CorpusVersion], screenings: Sequence[Screening]
) -> dict[str, tuple[str, ...]]:
    """Paths of the finding files of each label file in which something was found."""
    paths: dict[str, tuple[str, ...]] = {}
    for file in screened_files(warehouse, corpora):
        for screening in screenings:
            if file.name in screening.files:
                path = warehouse.screening(screening.kind, screening.screening) / f"{file.name}.parquet"
                paths[file.rows.path] = (*paths.get(file.rows.path, ()), str(path))
    return paths
