"""A random sample of the labelled documents of corpora, as features of the embedded kind of classifier.

Of each label, a number of documents at most: so the commonest label does not crowd out the others.
Runs of `BLOCK` neighbours in a file fall into one part together, since neighbours are often pieces of
one text. Memory: the features of the sample, some 2 KB a document. Shape: N documents.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from dmix.etl.classifiers.embedded import MAX_CHARACTERS
from dmix.etl.classifiers.features import WordTable, document_features
from dmix.etl.distilling.linear_training import FeatureRows
from dmix.etl.publishing.shard_inputs import RowRange, plan_shard_inputs, read_rows
from dmix.etl.text.tokens import Tokenizer
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import CorpusVersion
from dmix.warehouse_schema.taxonomy import Taxonomy

BLOCK = 16
PARTS = 10
"""A block falls into one of so many parts, by hash of its place."""

_BATCH_BYTES = 4 << 20
_WHOLE = 1 << 62


@dataclass(frozen=True, eq=False)
class LabelledSample:
    """N documents.

    Attributes:
        features: Of each document.
        labels_N: Index of the label of each, int64.
        parts_N: Part that each falls into, 0 to `PARTS` - 1, int64.
    """

    features: FeatureRows
    labels_N: NDArray[np.int64]
    parts_N: NDArray[np.int64]

    def of_parts(self, parts: Sequence[int]) -> NDArray[np.int64]:
        """Numbers of the documents of some parts."""
        return np.flatnonzero(np.isin(self.parts_N, parts))


def label_counts(corpora: Sequence[CorpusVersion], taxonomy: Taxonomy) -> NDArray[np.int64]:
    """Documents of each label in all corpora together, shape (labels,)."""
    counts = np.zeros(len(taxonomy), dtype=np.int64)
    for corpus in corpora:
        for label, documents in corpus.domain_documents().items():
            counts[taxonomy.index(label)] += documents
    return counts


def draw_sample(
    warehouse: Warehouse,
    corpora: Sequence[CorpusVersion],
    *,
    taxonomy: Taxonomy,
    documents_per_label: int,
    seed: int,
    tokenizer: Tokenizer,
) -> LabelledSample:
    """The sample; reads every run of rows in which a document was drawn.

    Args:
        warehouse: Where the label files lie.
        corpora: Versions whose labels are those of `taxonomy`.
        taxonomy: What labels count in.
        documents_per_label: Most documents of one label.
        seed: Of the draw.
        tokenizer: The one of the embedded classifier.

    Raises:
        NotFoundError: If a label file is missing.
        VerificationError: If one is damaged.
    """
    rng = np.random.default_rng(seed)
    table = WordTable.of(tokenizer.json_bytes)
    features: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    counts: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    labels: list[int] = []
    parts: list[int] = []
    for label, rows, picked in _drawn(_ranges(warehouse, corpora), taxonomy, documents_per_label, rng):
        for texts, places in _read(rows, picked):
            ids, lengths = tokenizer.encode([text[:MAX_CHARACTERS] for text in texts])
            found, offsets = document_features(ids, lengths, table=table)
            features.append(found)
            counts.append(np.diff(np.append(offsets, len(found))))
            labels += [label] * len(texts)
            parts += [_part(path, position) for path, position in places]
    count_N = np.concatenate(counts)
    return LabelledSample(
        FeatureRows(np.concatenate(features), (np.cumsum(count_N) - count_N).astype(np.int32)),
        np.array(labels, dtype=np.int64),
        np.array(parts, dtype=np.int64),
    )


def _ranges(warehouse: Warehouse, corpora: Sequence[CorpusVersion]) -> dict[str, list[RowRange]]:
    """The runs of rows of each label, in order."""
    ranges: dict[str, list[RowRange]] = {}
    for (_, label), shard_inputs in plan_shard_inputs(warehouse, corpora=corpora, split_bytes=_WHOLE).items():
        ranges.setdefault(label, []).extend(
            rows for shard_input in shard_inputs for rows in shard_input.ranges
        )
    return ranges


def _drawn(
    ranges: Mapping[str, Sequence[RowRange]], taxonomy: Taxonomy, most: int, rng: np.random.Generator
) -> Iterator[tuple[int, RowRange, NDArray[np.int64]]]:
    """(label, run of rows, numbers of the rows of its file that were drawn) for every run with some."""
    for index, label in enumerate(taxonomy.labels):
        runs = ranges.get(label, [])
        total = sum(rows.documents for rows in runs)
        picked = np.sort(rng.choice(total, most, replace=False)) if total > most else np.arange(total)
        begin = 0
        for rows in runs:
            low, high = np.searchsorted(picked, [begin, begin + rows.documents])
            if high > low:
                yield index, rows, picked[low:high] - begin + rows.start
            begin += rows.documents


def _read(rows: RowRange, picked: NDArray[np.int64]) -> Iterator[tuple[list[str], list[tuple[str, int]]]]:
    """(texts, places) of the picked rows of a run, in batches."""
    for first, batch in read_rows(rows, columns=("text", "path", "position"), batch_bytes=_BATCH_BYTES):
        inside = picked[(picked >= first) & (picked < first + batch.num_rows)] - first
        if len(inside):
            taken = batch.take(inside)
            places = zip(taken.column("path").to_pylist(), taken.column("position").to_pylist(), strict=True)
            yield taken.column("text").to_pylist(), list(places)


def _part(path: str, position: int) -> int:
    return sha256(f"{path}\0{position // BLOCK}".encode()).digest()[0] % PARTS
