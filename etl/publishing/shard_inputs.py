"""Which rows of which label files become one shard input of a stream, and how a worker reads them.

A shard input is the unit of work, of retry and of reuse after a kill. Its borders follow from the
manifests of the corpora and from `split_bytes` alone, never from cores or executors, so that
the shards are the same bytes wherever they are made.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dmix.warehouse_schema.errors import NotFoundError, VerificationError, first_line
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.manifests import CorpusVersion
from dmix.warehouse_schema.files.names import refuse_links
from dmix.warehouse_schema.files.storage import Place, is_url, parquet_input, read_errors, size_of
from dmix.warehouse_schema.light_arrow import compute
from dmix.warehouse_schema.sizes import num_text


@dataclass(frozen=True, kw_only=True)
class RowRange:
    """Rows `start` to `stop` (exclusive) of one label file, all of one domain.

    Attributes:
        sha256: Hash of the file, as its manifest says.
        text_bytes: UTF-8 bytes of the rows' texts; an estimate where a run of rows was cut.
        excluded: Parquet files whose column `row` numbers rows of the file that are left out.
    """

    path: str
    sha256: str
    start: int
    stop: int
    text_bytes: int
    excluded: tuple[str, ...] = ()

    @property
    def documents(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True)
class ShardInput:
    """Consecutive documents of one (field, domain).

    Attributes:
        index: Position among the shard inputs of its domain; part of the shards' names.
        ranges: Rows in reading order.
    """

    field: str
    domain: str
    index: int
    ranges: tuple[RowRange, ...]

    @property
    def documents(self) -> int:
        return sum(rows.documents for rows in self.ranges)

    @property
    def text_bytes(self) -> int:
        return sum(rows.text_bytes for rows in self.ranges)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the content of the shard input, without the folder of the warehouse."""
        ranges = [[rows.sha256, rows.start, rows.stop] for rows in self.ranges]
        return digest_of([self.field, self.domain, self.index, ranges])


def plan_shard_inputs(
    warehouse: Warehouse, *, corpora: Sequence[CorpusVersion], split_bytes: int
) -> dict[tuple[str, str], tuple[ShardInput, ...]]:
    """The shard inputs of every (field, domain) that has documents.

    Args:
        corpora: Versions in the order in which their documents follow each other.
        split_bytes: Bytes of text that a shard input holds at most, unless one document is longer
            or the documents of a long run of rows differ much in length.
    """
    ranges: dict[tuple[str, str], list[RowRange]] = {}
    for corpus in corpora:
        for domain, rows in _domain_rows(warehouse, corpus):
            ranges.setdefault((corpus.field, domain), []).extend(_cut(rows, split_bytes))
    return {
        (field, domain): tuple(
            ShardInput(field=field, domain=domain, index=index, ranges=group)
            for index, group in enumerate(_grouped(pieces, split_bytes))
        )
        for (field, domain), pieces in ranges.items()
    }


def label_paths(warehouse: Warehouse, corpus: CorpusVersion) -> Iterator[tuple[Place, int]]:
    """Place and size in bytes of every label file of a version, in order."""
    for part in corpus.parts:
        for file in part.files:
            yield label_path(warehouse, corpus.corpus, part.fingerprint, file.name), file.size_bytes


def label_path(warehouse: Warehouse, corpus: str, fingerprint: str, name: str) -> Place:
    """Path of a label file of a part."""
    return warehouse.label_data(corpus) / "parts" / fingerprint / name


def check_label_files(warehouse: Warehouse, corpora: Sequence[CorpusVersion]) -> None:
    """Returns if every label file is there in full size.

    Raises:
        NotFoundError: If one is missing.
        VerificationError: If one has another size than its manifest says.
        InputError: If one is a link.
    """
    for corpus in corpora:
        refuse_links(warehouse.labels(corpus.corpus))
        for path, size_bytes in label_paths(warehouse, corpus):
            found = size_of(path)
            if found is None:
                raise NotFoundError(
                    f"label file {path} of corpus {corpus.corpus!r} version {corpus.version} is missing;"
                    " restore it from a copy, or run 'dmix etl classify' again with the same inputs"
                )
            if found != size_bytes:
                raise _damaged(
                    str(path), f"the file has {num_text(found, 'byte')}, but the manifest says {size_bytes:,}"
                )


def read_texts(shard_input: ShardInput, *, batch_bytes: int) -> Iterator[list[str]]:
    """The texts of a shard input in order, less those of excluded rows, in lists of about `batch_bytes`.

    Raises:
        NotFoundError: If a label file is missing.
        VerificationError: If a file does not hold the rows that its manifest names.
    """
    for rows in shard_input.ranges:
        excluded = excluded_rows(rows.excluded)
        for first, batch in read_rows(rows, columns=("label", "text"), batch_bytes=batch_bytes):
            labels = batch.column("label")
            if labels.type != pa.string():
                labels = labels.cast(pa.string())
            of_domain = compute("equal", labels, pa.scalar(shard_input.domain, pa.string()))
            if of_domain.true_count < len(of_domain):
                wrong = f"rows {rows.start} to {rows.stop} are not all of {shard_input.domain!r}"
                raise _damaged(rows.path, wrong)
            texts = batch.column("text")
            if len(excluded):
                numbers = np.arange(first, first + len(texts))
                texts = texts.filter(pa.array(~np.isin(numbers, excluded)))
            if len(texts):
                yield texts.to_pylist()


def read_rows(
    rows: RowRange, *, columns: Sequence[str], batch_bytes: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(number of its first row in the file, some columns) of batches of about `batch_bytes` of text.

    Raises:
        NotFoundError: If the label file is missing.
        VerificationError: If it does not hold the rows.
    """
    mean_bytes = max(1, rows.text_bytes // max(1, rows.documents))
    first = rows.start
    for batch in _read_batches(rows, columns, max(1, min(rows.documents, batch_bytes // mean_bytes))):
        yield first, batch
        first += batch.num_rows


def excluded_rows(paths: Sequence[str]) -> np.ndarray:
    """Numbers of the rows of a label file that are left out, sorted, each once.

    Args:
        paths: Parquet files with a column `row`, possibly none.
    """
    found = [pq.read_table(path, columns=["row"]).column("row").to_numpy() for path in paths]
    return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)


def _domain_rows(warehouse: Warehouse, corpus: CorpusVersion) -> Iterator[tuple[str, RowRange]]:
    for part in corpus.parts:
        for file in part.files:
            path = str(label_path(warehouse, corpus.corpus, part.fingerprint, file.name))
            start = 0
            for run in file.domains:
                stop = start + run.documents
                if run.documents:
                    yield (
                        run.label,
                        RowRange(
                            path=path, sha256=file.sha256, start=start, stop=stop, text_bytes=run.text_bytes
                        ),
                    )
                start = stop


def _cut(rows: RowRange, split_bytes: int) -> Iterator[RowRange]:
    """Pieces of equal numbers of rows, as many as `split_bytes` asks for."""
    pieces = min(rows.documents, max(1, -(-rows.text_bytes // split_bytes)))
    borders = [rows.documents * i // pieces for i in range(pieces + 1)]
    for start, stop in itertools.pairwise(borders):
        before, after = (rows.text_bytes * border // rows.documents for border in (start, stop))
        yield RowRange(
            path=rows.path,
            sha256=rows.sha256,
            start=rows.start + start,
            stop=rows.start + stop,
            text_bytes=after - before,
        )


def _grouped(pieces: Sequence[RowRange], split_bytes: int) -> Iterator[tuple[RowRange, ...]]:
    group: list[RowRange] = []
    size = 0
    for piece in pieces:
        if group and size + piece.text_bytes > split_bytes:
            yield tuple(group)
            group, size = [], 0
        group.append(piece)
        size += piece.text_bytes
    if group:
        yield tuple(group)


def _read_batches(rows: RowRange, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Rows `start` to `stop` of the file, from the row groups that hold them alone."""
    try:
        metadata, ends = _layout(rows.path, rows.sha256, _stamp(rows.path))
        with (
            read_errors(rows.path),
            pq.ParquetFile(parquet_input(rows.path), pre_buffer=is_url(rows.path), metadata=metadata) as file,
        ):
            groups, position = _row_groups(ends, rows)
            left = rows.documents
            for batch in file.iter_batches(
                batch_size=batch_rows, row_groups=groups, columns=list(columns), use_threads=False
            ):
                skip = max(0, rows.start - position)
                position += batch.num_rows
                if skip >= batch.num_rows:
                    continue
                piece = batch.slice(skip, left)
                left -= piece.num_rows
                yield piece
                if not left:
                    return
    except FileNotFoundError:
        raise NotFoundError(
            f"label file {rows.path} disappeared; run 'dmix etl verify' to list missing files"
        ) from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
        raise _damaged(rows.path, first_line(error)) from None
    raise _damaged(rows.path, f"the file ends before row {rows.stop}")


@functools.lru_cache(maxsize=2)
def _layout(path: str, sha256: str, stamp: tuple[int, ...]) -> tuple[pq.FileMetaData, np.ndarray]:
    """Footer of a label file, and the row after each row group.

    Kept for the next shard input: a file of thousands of domains has a row group for each, and every
    shard input of a domain would look through them all.
    """
    with read_errors(path), pq.ParquetFile(parquet_input(path)) as file:
        metadata = file.metadata
    rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return metadata, np.cumsum(rows, dtype=np.int64)


def _stamp(path: str) -> tuple[int, ...]:
    """What differs for a file that was changed in place; nothing for a remote one."""
    if is_url(path):
        return ()
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _row_groups(ends: np.ndarray, rows: RowRange) -> tuple[list[int], int]:
    """Row groups that hold a range, and the number of the first row in them."""
    first = int(np.searchsorted(ends, rows.start, side="right"))
    stop = int(np.searchsorted(ends, rows.stop, side="left")) + 1
    groups = list(range(first, min(stop, len(ends))))
    return groups, int(ends[first - 1]) if first else 0


def _damaged(path: str, what: str) -> VerificationError:
    return VerificationError(
        f"label file {path} is damaged: {what}. Restore the file from a copy, or remove it and run 'dmix "
        "etl classify' again with the same inputs. To list all damage, run 'dmix etl verify'"
    )
