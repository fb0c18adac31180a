"""Finds evaluation items in the text of corpora (`dmix.etl.screening.ngrams` says what is looked for).

A Spark task a label file; what it finds is a row a document and item. The items come in as an
argument, since environments are read in a layer above.
"""

import functools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dmix.etl.publishing.shard_inputs import check_label_files, read_rows
from dmix.etl.screening.ngrams import EvaluationItem, NgramIndex, items_digest
from dmix.etl.screening.screening import (
    ScreenedFile,
    corpus_names,
    finish_screening,
    publish_findings,
    screened_files,
    screening_id,
)
from dmix.etl.screening.words import normal_texts
from dmix.etl.spark.executors import ExecutorLike
from dmix.etl.spark.tasks import reported, run_tasks
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifests import CorpusVersion
from dmix.warehouse_schema.files.screenings import Screening, find_screening
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

KIND = "contamination"
BATCH_BYTES = 1 << 20

_FOUND = pa.schema(
    {
        "corpus": pa.string(),
        "path": pa.string(),
        "position": pa.int64(),
        "document_id": pa.string(),
        "objective": pa.string(),
        "item_id": pa.string(),
        "overlap": pa.float64(),
        "row": pa.int64(),
    }
)


def contamination_id(corpora: Sequence[CorpusVersion], items: Sequence[EvaluationItem]) -> str:
    """The id of the screening of some corpora for items."""
    return screening_id(KIND, corpora, items_digest(items))


def find_contamination(
    executor: ExecutorLike,
    warehouse: Warehouse,
    *,
    corpora: Sequence[CorpusVersion],
    items: Sequence[EvaluationItem],
    progress: Progress,
) -> Screening:
    """All documents of some corpora that hold an item; what was found before is not looked for again.

    Raises:
        InputError: If there are no items.
        NotFoundError: If a label file is missing.
        VerificationError: If one is damaged.
        LockHeldError: If another process looks for the same.
        StorageError: If the disk is full or refuses.
    """
    if not items:
        raise InputError(
            "there are no evaluation items to search for; give an environment file with objectives"
        )
    screening = contamination_id(corpora, items)
    with held_lock(warehouse.lock_of("screening", screening), what=f"screening {screening}", of_job=True):
        known = find_screening(warehouse, KIND, screening)
        if known is not None:
            progress(f"evaluation items: {_summary(known)} (from an earlier search)")
            return known
        check_label_files(warehouse, corpora)
        files = screened_files(warehouse, corpora)
        folder = warehouse.screening(KIND, screening)
        _search_files(executor, files, items, folder=folder, progress=progress)
        found = {file.name: pq.read_table(_findings(folder, file), columns=["row"]) for file in files}
        made = Screening(
            kind=KIND,
            screening=screening,
            corpora=corpus_names(corpora),
            documents=sum(file.rows.documents for file in files),
            found=sum(pc.count_distinct(table.column("row")).as_py() for table in found.values()),
            files={name: len(table) for name, table in found.items() if len(table)},
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            items=len(items),
            items_too_short=len(NgramIndex(items).too_short),
            items_sha256=items_digest(items),
        )
        progress(f"evaluation items: {_summary(made)}")
        return finish_screening(warehouse, made)


def files_to_search(folder: Path, files: Iterable[ScreenedFile]) -> list[ScreenedFile]:
    """Label files that a screening in `folder` has not looked through yet."""
    return [file for file in files if not _findings(folder, file).is_file()]


def _search_files(
    executor: ExecutorLike,
    files: Sequence[ScreenedFile],
    items: Sequence[EvaluationItem],
    *,
    folder: Path,
    progress: Progress,
) -> None:
    """Leaves the findings of every label file in `folder`, also where there are none."""
    todo = sorted(files_to_search(folder, files), key=lambda file: -file.rows.text_bytes)
    megabytes = sum(file.rows.text_bytes for file in todo) / 1e6
    known = len(files) - len(todo)
    before = f"; {known:,} of {len(files):,} label files searched before" if known else ""
    progress(
        f"evaluation items: searching {megabytes:,.1f} MB of text for {num_text(len(items), 'item')}{before}"
    )

    def line(seconds: float) -> str | None:
        done = sum(file.rows.text_bytes for file in todo if _findings(folder, file).is_file()) / 1e6
        return f"searched {done:,.1f} of {megabytes:,.1f} MB ({done / seconds:,.1f} MB/s)" if done else None

    with reported(progress, line):
        search = functools.partial(_search_file, items=tuple(items), folder=folder)
        run_tasks(executor, search, todo, size_bytes=sum(file.rows.text_bytes for file in todo))


def _search_file(file: ScreenedFile, items: tuple[EvaluationItem, ...], folder: Path) -> int:
    """Publishes what one label file holds of the items; returns the number of findings."""
    index = _index(items)
    found: list[dict[str, Any]] = []
    columns = ("id", "path", "position", "text")
    for first, batch in read_rows(file.rows, columns=columns, batch_bytes=BATCH_BYTES):
        for match in index.matches(normal_texts(batch.column("text").to_pylist())):
            item = items[match.item]
            place = {name: batch.column(name)[match.text].as_py() for name in ("path", "position")}
            found.append(
                {
                    "corpus": file.corpus,
                    **place,
                    "document_id": batch.column("id")[match.text].as_py(),
                    "objective": item.objective,
                    "item_id": item.item_id,
                    "overlap": match.overlap,
                    "row": first + match.text,
                }
            )
    publish_findings(folder, file, pa.Table.from_pylist(found, schema=_FOUND))
    return len(found)


@functools.lru_cache(maxsize=1)
def _index(items: tuple[EvaluationItem, ...]) -> NgramIndex:
    """The index of some items, made once a worker process."""
    return NgramIndex(items)


def _findings(folder: Path, file: ScreenedFile) -> Path:
    return folder / f"{file.name}.parquet"


def _summary(screening: Screening) -> str:
    short = f"; too short for the search: {screening.items_too_short:,}" if screening.items_too_short else ""
    listed = (
        ". The view 'contamination' lists them; 'overlap' is the share of the item that the document contains"
        if screening.found
        else ""
    )
    return (
        f"{screening.found:,} of {num_text(screening.documents, 'document')} contain an item or 13 "
        f"consecutive words of one ({num_text(screening.items, 'item')} searched{short}){listed}"
    )
