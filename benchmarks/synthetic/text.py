"""Training text of the study: pieces of permissively licensed corpora, mixed by known shares."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.make_assets.tokenizer import END_OF_TEXT, train_tokenizer
from numpy.typing import NDArray
from tokenizers import Tokenizer

from dmix.etl.classifiers.embedded import EmbeddedClassifier
from dmix.warehouse_schema.errors import NotFoundError
from dmix.warehouse_schema.files.layout import publish_bytes
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY

VOCABULARY = 2048
"""Small, since a table of 8,192 ids would be most of each model and of its time."""

PIECE_TOKENS = 64
LEAST_TOKENS = 24

SHARES = {
    "standard_ebooks": 0.24,
    "medquad": 0.18,
    "us_code": 0.15,
    "python_peps": 0.12,
    "world_factbook": 0.10,
    "movie_reviews": 0.08,
    "dnd_srd": 0.06,
    "tatqa_reports": 0.04,
    "based_cooking": 0.03,
}
"""Share of the documents that each corpus gives; the classifier spreads each over several domains."""


@dataclass(frozen=True, eq=False)
class StudyText:
    """The documents that all models of the study are trained on.

    Attributes:
        tokens: Ids of each document, without the end of text.
        counts: Documents of each domain of the default taxonomy, int64, shape (26,).
        tokenizer_json: The tokenizer.
    """

    tokens: list[list[int]]
    counts: NDArray[np.int64]
    tokenizer_json: bytes


def study_text(data: Path, work: Path, *, documents: int) -> StudyText:
    """The documents, made once and then read from `work`.

    Args:
        data: Folder of the reference data.
        work: Where `text.parquet` and `tokenizer.json` are kept.
        documents: How many; larger than a corpus allows, its pieces come again.

    Raises:
        NotFoundError: If a corpus is not there.
    """
    stored, tokenizer_file = work / "text.parquet", work / "tokenizer.json"
    if not stored.is_file():
        _make(data, stored, tokenizer_file, documents=documents)
    table = pq.read_table(stored)
    counts = np.bincount(table["domain"].to_numpy(), minlength=len(DEFAULT_TAXONOMY))
    return StudyText(table["tokens"].to_pylist(), counts, tokenizer_file.read_bytes())


def _make(data: Path, stored: Path, tokenizer_file: Path, *, documents: int) -> None:
    rng = np.random.default_rng(0)
    texts = {origin: _texts(data, origin, rng) for origin in SHARES}
    # one corpus must not fill the vocabulary alone
    sample = [text for corpus in texts.values() for text in corpus[:150]]
    tokenizer_json = train_tokenizer(sample, vocab_size=VOCABULARY)
    tokenizer = Tokenizer.from_str(tokenizer_json.decode())
    pieces: list[list[int]] = []
    for origin, share in SHARES.items():
        pieces += _pieces(texts[origin], tokenizer, wanted=round(share * documents))
    pieces = [pieces[i] for i in rng.permutation(len(pieces))]
    decoded = [tokenizer.decode(ids) for ids in pieces]
    domain = EmbeddedClassifier().classify(decoded).index
    publish_bytes(tokenizer_file, tokenizer_json)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": decoded, "tokens": pieces, "domain": domain}), sink)
    publish_bytes(stored, sink.getvalue().to_pybytes())


def _texts(data: Path, origin: str, rng: np.random.Generator) -> list[str]:
    """The documents of a corpus in a random order."""
    path = data / "corpora" / "source" / f"{origin}.jsonl.gz"
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist; give the folder of the reference data with --data")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    return [texts[i] for i in rng.permutation(len(texts))]


def _pieces(texts: Sequence[str], tokenizer: Tokenizer, *, wanted: int) -> list[list[int]]:
    """The first pieces of the texts; if there are too few of them, they come again."""
    found: list[list[int]] = []
    for text in texts:
        if len(found) >= wanted:
            break
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        last = len(ids) - LEAST_TOKENS
        found += [ids[start : start + PIECE_TOKENS] for start in range(0, last + 1, PIECE_TOKENS)]
    return [found[i % len(found)] for i in range(wanted)]


def end_of_text_id(tokenizer_json: bytes) -> int:
    """Id of the token between documents, from which a model starts to write."""
    return int(json.loads(tokenizer_json)["model"]["vocab"][END_OF_TEXT])
