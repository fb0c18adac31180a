"""Finds exact duplicates within and across corpora: documents with the same normal form.

Two jobs. The first, a task a label file, reads the texts and writes a 128-bit digest of the normal
form of each (`screening.words`) under `duplicates/.digests`, once for all screenings. The second lets
Spark, or DuckDB where there is no Spark, sort the documents by digest; of those that share one, the first
by (corpus, path, position) is kept, and the others are what is found. Only digests, ids and places are
sorted, no text, and what does not fit into memory goes to disk, so that neither many documents nor a text
that comes a million times need memory: a task holds `BATCH_BYTES` of text some ten times, and the findings
of one label file.

A text without any word is compared as it stands.
"""

import functools
import hashlib
import itertools
import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dmix.etl.publishing.publish import STAGING, attempt_folder
from dmix.etl.publishing.shard_inputs import check_label_files, read_rows
from dmix.etl.screening.screening import (
    DIGESTS_LOCK,
    ScreenedFile,
    corpus_names,
    finish_screening,
    in_reading_order,
    publish_findings,
    screened_files,
    screening_id,
)
from dmix.etl.screening.words import VERSION as WORDS_VERSION
from dmix.etl.screening.words import normal_texts
from dmix.etl.spark.executors import ExecutorLike, session_of
from dmix.etl.spark.masters import worker_errors
from dmix.etl.spark.tasks import reported, run_tasks
from dmix.warehouse_schema.files.layout import Warehouse, storage_errors
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifests import CorpusVersion
from dmix.warehouse_schema.files.names import refuse_links
from dmix.warehouse_schema.files.screenings import Screening, find_screening
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

KIND = "duplicates"
VERSION = 1
"""Part of the id; one more for every change of what is found or kept."""

BATCH_BYTES = 1 << 20
_SORT_MEMORY = "1GB"
"""What sorting digests may take where this process does it; the rest goes to disk."""
_DOCUMENTS_A_PARTITION = 250_000
_FILES_A_TASK = 8
_DIGEST_BYTES = 16

_DIGESTS = pa.schema(
    {"high": pa.int64(), "low": pa.int64(), "id": pa.string(), "path": pa.string(), "position": pa.int64()}
)
_PLACES_SCHEMA = pa.schema(
    {
        "high": pa.int64(),
        "low": pa.int64(),
        "corpus": pa.string(),
        "path": pa.string(),
        "position": pa.int64(),
        "document_id": pa.string(),
        "file": pa.int64(),
        "row": pa.int64(),
    }
)
_PLACES = ", ".join(
    f"{column.name} {'long' if pa.types.is_integer(column.type) else 'string'}" for column in _PLACES_SCHEMA
)
_FIRST = ("corpus", "path", "position", "document_id")


def duplicates_rule(corpora: Sequence[CorpusVersion]) -> list[Any]:
    """What a dataset without duplicates follows from, beside the content of its corpora."""
    # the names say which copy is the first
    return [VERSION, WORDS_VERSION, [corpus.corpus for corpus in in_reading_order(corpora)]]


def duplicates_id(corpora: Sequence[CorpusVersion]) -> str:
    """The id of the screening of some corpora for duplicates."""
    return screening_id(KIND, corpora, [VERSION, WORDS_VERSION])


def find_duplicates(
    executor: ExecutorLike, warehouse: Warehouse, *, corpora: Sequence[CorpusVersion], progress: Progress
) -> Screening:
    """All duplicates of some corpora; those that were found before are not looked for again.

    Raises:
        NotFoundError: If a label file is missing.
        VerificationError: If one is damaged.
        LockHeldError: If another process looks for the same.
        StorageError: If the disk is full or refuses.
    """
    screening = duplicates_id(corpora)
    with held_lock(warehouse.lock_of("screening", screening), what=f"screening {screening}", of_job=True):
        known = find_screening(warehouse, KIND, screening)
        if known is not None:
            progress(f"duplicates: {_summary(known.found, known.documents)} (from an earlier search)")
            return known
        check_label_files(warehouse, corpora)
        files = screened_files(warehouse, corpora)
        with held_lock(warehouse.lock_of("screening", DIGESTS_LOCK), what="the digests of texts"):
            refuse_links(warehouse.text_digests)
            _digest_files(executor, warehouse, files, progress)
        found = _find(executor, warehouse, files, folder=warehouse.screening(KIND, screening))
        progress(f"duplicates: {_summary(sum(found.values()), _documents(files))}")
        return finish_screening(
            warehouse,
            Screening(
                kind=KIND,
                screening=screening,
                corpora=corpus_names(corpora),
                documents=_documents(files),
                found=sum(found.values()),
                files=found,
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            ),
        )


def _summary(found: int, documents: int) -> str:
    return f"{found:,} of {num_text(documents, 'document')} have the same words as an earlier one"


def files_to_digest(warehouse: Warehouse, files: Iterable[ScreenedFile]) -> list[ScreenedFile]:
    """Label files whose texts have no digests yet, each content once."""
    missing = {file.rows.sha256: file for file in files if not _digests_of(warehouse, file).is_file()}
    return list(missing.values())


def text_digests(texts: Sequence[str]) -> np.ndarray:
    """Digest of the normal form of each text, int64, shape (texts, 2)."""
    normal = normal_texts(texts)
    content, start, digests = normal.content.tobytes(), 0, []
    for text, end in zip(texts, normal.ends_D.tolist(), strict=True):
        # the mark keeps a text without words apart from one whose words are its raw text
        part = content[start:end] if end > start else b"\0" + text.encode("utf-8", "replace")
        digests.append(hashlib.blake2b(part, digest_size=_DIGEST_BYTES).digest())
        start = end
    return np.frombuffer(b"".join(digests), dtype=">i8").astype(np.int64).reshape(-1, 2)


def _documents(files: Iterable[ScreenedFile]) -> int:
    return sum(file.rows.documents for file in files)


def _digests_of(warehouse: Warehouse, file: ScreenedFile) -> Path:
    return warehouse.text_digests / f"{file.rows.sha256}-{VERSION}.{WORDS_VERSION}.parquet"


def _digest_files(
    executor: ExecutorLike, warehouse: Warehouse, files: Sequence[ScreenedFile], progress: Progress
) -> None:
    """Writes the digests of all label files that have none."""
    todo = sorted(files_to_digest(warehouse, files), key=lambda file: -file.rows.text_bytes)
    megabytes = sum(file.rows.text_bytes for file in todo) / 1e6
    known = len(files) - len(todo)
    before = f"; {known:,} of {len(files):,} label files read before, or equal to others" if known else ""
    progress(f"duplicates: reading {megabytes:,.1f} MB of text{before}")

    def line(seconds: float) -> str | None:
        done = sum(file.rows.text_bytes for file in todo if _digests_of(warehouse, file).is_file()) / 1e6
        return f"read {done:,.1f} of {megabytes:,.1f} MB ({done / seconds:,.1f} MB/s)" if done else None

    with reported(progress, line):
        digest = functools.partial(_digest_file, warehouse=warehouse)
        run_tasks(executor, digest, todo, size_bytes=sum(file.rows.text_bytes for file in todo))
    shutil.rmtree(warehouse.text_digests / STAGING, ignore_errors=True)


def _digest_file(file: ScreenedFile, warehouse: Warehouse) -> int:
    """Writes the digests of one label file in the order of its rows; returns how many."""
    path = _digests_of(warehouse, file)
    with storage_errors(str(path)), attempt_folder(path.parent) as attempt:
        with pq.ParquetWriter(attempt / path.name, _DIGESTS, compression="zstd") as writer:
            columns = ("id", "path", "position", "text")
            for _, batch in read_rows(file.rows, columns=columns, batch_bytes=BATCH_BYTES):
                digest_D2 = text_digests(batch.column("text").to_pylist())
                places = [batch.column(name).cast(_DIGESTS.field(name).type) for name in columns[:-1]]
                writer.write_batch(
                    pa.RecordBatch.from_arrays(
                        [pa.array(digest_D2[:, 0]), pa.array(digest_D2[:, 1]), *places], schema=_DIGESTS
                    )
                )
        (attempt / path.name).replace(path)
    return file.rows.documents


def _find(
    executor: ExecutorLike, warehouse: Warehouse, files: Sequence[ScreenedFile], *, folder: Path
) -> dict[str, int]:
    """Writes the findings of every label file; returns their number where there are any."""
    digests = [(number, file.corpus, str(_digests_of(warehouse, file))) for number, file in enumerate(files)]
    session = session_of(executor, size_bytes=sum(file.rows.text_bytes for file in files))
    write = functools.partial(_write_copies, files=list(files), folder=folder)
    if session is None:
        with storage_errors(str(folder)), attempt_folder(folder) as spill:
            found = [batch.to_pylist()[0] for batch in write(_copies_here(digests, spill=spill))]
    else:
        copies = _copies_on_spark(
            session, digests, partitions=1 + _documents(files) // _DOCUMENTS_A_PARTITION
        )
        with worker_errors():
            rows = copies.mapInArrow(write, "file long, found long").collect()
        found = sorted((row.asDict() for row in rows), key=lambda row: row["file"])
    return {files[row["file"]].name: row["found"] for row in found}


def _copies_on_spark(
    spark: "SparkSession", digests: Sequence[tuple[int, str, str]], *, partitions: int
) -> "DataFrame":
    """All documents whose text came before, with the first one, in partitions sorted by label file."""
    from pyspark.sql import Window, functions

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from _read_digests(digests[index] for index in batch.column(0).to_pylist())

    same_text = Window.partitionBy("high", "low").orderBy("corpus", "path", "position", "row")
    first = [functions.first(name).over(same_text).alias(f"first_{name}") for name in _FIRST]
    return (
        spark.range(0, len(digests), 1, -(-len(digests) // _FILES_A_TASK))
        .mapInArrow(read, _PLACES)
        .repartition(partitions, "high", "low")
        .select("*", *first, functions.row_number().over(same_text).alias("copy"))
        .where("copy > 1")
        .drop("high", "low", "copy")
        .repartition(partitions, "file")
        .sortWithinPartitions("file", "row")
    )


def _copies_here(digests: Sequence[tuple[int, str, str]], *, spill: Path) -> Iterator[pa.RecordBatch]:
    """The same rows, in the order of the label files, by DuckDB in this process.

    Args:
        digests: Digest files as (number, corpus, path).
        spill: Folder for what does not fit into memory.
    """
    import duckdb

    first = ", ".join(f"first_value({name}) over same_text as first_{name}" for name in _FIRST)
    settings = {"temp_directory": str(spill), "memory_limit": _SORT_MEMORY, "threads": 1}
    with duckdb.connect(config=settings) as connection:
        connection.register(
            "digests", pa.RecordBatchReader.from_batches(_PLACES_SCHEMA, _read_digests(digests))
        )
        found = connection.sql(
            f"select corpus, path, position, document_id, file, row, {first} from digests"
            " window same_text as (partition by high, low order by corpus, path, position, row)"
            " qualify row_number() over same_text > 1 order by file, row"
        )
        yield from found.to_arrow_reader()


def _read_digests(digests: Iterable[tuple[int, str, str]]) -> Iterator[pa.RecordBatch]:
    """A row for each document of some digest files, given as (number, corpus, path)."""
    for number, corpus, path in digests:
        row = 0
        for found in pq.ParquetFile(path).iter_batches():
            yield _with_place(found, corpus=corpus, file=number, row=row)
            row += found.num_rows


def _with_place(found: pa.RecordBatch, *, corpus: str, file: int, row: int) -> pa.RecordBatch:
    count = found.num_rows
    return pa.RecordBatch.from_pydict(
        {
            "high": found.column("high"),
            "low": found.column("low"),
            "corpus": pa.array([corpus] * count, pa.string()),
            "path": found.column("path"),
            "position": found.column("position"),
            "document_id": found.column("id"),
            "file": pa.array(np.full(count, file)),
            "row": pa.array(np.arange(row, row + count)),
        },
        schema=_PLACES_SCHEMA,
    )


def _write_copies(
    batches: Iterator[pa.RecordBatch], files: Sequence[ScreenedFile], folder: Path
) -> Iterator[pa.RecordBatch]:
    """Writes copies that are sorted by label file, a Parquet file each; yields (file, found)."""
    waiting: list[pa.RecordBatch] = []
    current = -1

    def flush() -> pa.RecordBatch:
        table = pa.Table.from_batches(waiting).drop_columns(["file"])
        waiting.clear()
        publish_findings(folder, files[current], table)
        return pa.RecordBatch.from_pydict({"file": [current], "found": [len(table)]})

    for batch in batches:
        numbers = batch.column("file").to_numpy()
        borders = np.flatnonzero(np.diff(numbers)) + 1
        for start, stop in itertools.pairwise([0, *borders.tolist(), len(numbers)]):
            if start == stop:
                continue
            if waiting and numbers[start] != current:
                yield flush()
            current = int(numbers[start])
            waiting.append(batch.slice(start, stop - start))
    if waiting:
        yield flush()
