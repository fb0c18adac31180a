"""The text of a setting: documents held out as items, the rest cut to the supplies it asks for.

Corpora are JSON Lines, plain or gzip, small enough to be read whole. A record has `text`, and
perhaps an `id`; parts of one document have ids `name-hash-part` with a hash of 12 hexadecimal
digits, and all of them go the same way. Which documents are taken depends on hashes alone.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dmix.mixing.space.domains import Vector
from dmix.mixing.trajectories.objectives import read_records
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import publish_bytes
from dmix.warehouse_schema.sizes import num_text

Record = dict[str, Any]
CountTokens = Callable[[Sequence[str]], Sequence[int]]


@dataclass(frozen=True, eq=False)
class CorpusText:
    """One corpus file in memory.

    Attributes:
        name: Stem of the file.
        field: `source` or `target`.
        records: In the order in which they are taken.
        tokens_R: Tokens of each record, end of text included.
    """

    name: str
    field: str
    records: Sequence[Record]
    tokens_R: Vector

    @property
    def tokens(self) -> int:
        return int(self.tokens_R.sum())

    def first(self, tokens: float) -> Sequence[Record]:
        """The first records that hold about `tokens` tokens, at least one."""
        nearest = int(np.abs(np.cumsum(self.tokens_R) - tokens).argmin())
        return self.records[: nearest + 1]


def corpus_files(data: Path, globs: Sequence[str]) -> dict[str, Path]:
    """Files by stem (name up to the first dot), sorted.

    Raises:
        NotFoundError: If a glob matches nothing.
        InputError: If two files share a stem.
    """
    found: dict[str, Path] = {}
    for pattern in globs:
        files = sorted(path for path in data.glob(pattern) if path.is_file())
        if not files:
            raise NotFoundError(
                f"no file matches {data / pattern}; give the folder of the corpora with --data"
            )
        for path in files:
            stem = path.name.partition(".")[0]
            if stem in found:
                raise InputError(f"{found[stem]} and {path} both have the name {stem!r}; rename one")
            found[stem] = path
    return dict(sorted(found.items()))


def records_of(path: Path) -> Iterator[Record]:
    """As `read_records`; each record gets an id if it has none."""
    for number, record in read_records(path):
        yield {"id": f"{path.name.partition('.')[0]}-{number}", **record}


def document_of(record_id: str) -> str:
    """The document that a record is part of: the text before the part in an id `name-hash-part[-hash]`."""
    return re.sub(r"(?<=-[0-9a-f]{12})-\d+(-[0-9a-f]{6})?$", "", record_id)


def in_hash_order(records: Sequence[Record], *, seed: int, of: Callable[[str], str]) -> list[Record]:
    """Records in an order that depends on the seed and on `of` their ids alone."""
    return sorted(records, key=lambda r: (hash_of(f"{seed}/{of(str(r['id']))}"), str(r["id"])))


def hash_of(text: str) -> bytes:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).digest()


def read_corpus(path: Path, *, field: str, seed: int) -> list[Record]:
    """Records with text, in hash order, with the columns `field` and `origin` filled in."""
    stem = path.name.partition(".")[0]
    records = [
        {"field": field, "origin": stem, **record}
        for record in records_of(path)
        if isinstance(record.get("text"), str) and record["text"].strip()
    ]
    if not records:
        raise InputError(
            f"{path} has no record with text; remove the file, or give other files in the setting"
        )
    return in_hash_order(records, seed=seed, of=document_of)


def split_supply(
    sizes: Mapping[str, float], *, total: float, fixed: Mapping[str, float], exponent: float
) -> dict[str, float]:
    """How many tokens each corpus gives, so that the field gives `total`.

    Corpora in `fixed` give what it says; the others share the rest by size to the power of
    `exponent`, and what one cannot give goes to those that can.

    Args:
        sizes: Tokens that each corpus has.
        total: Tokens wanted.
        fixed: Tokens of some corpora.
        exponent: 1 for shares by size, 0 for equal ones.

    Raises:
        InputError: If there are not enough tokens.
    """
    short = [name for name, wanted in fixed.items() if wanted > sizes[name]]
    if short or sum(sizes.values()) < total:
        name = short[0] if short else "the field"
        have = sizes[short[0]] if short else sum(sizes.values())
        want = fixed[short[0]] if short else total
        raise InputError(
            f"{name} has {num_text(round(have), 'token')}, but the setting needs {want:,.0f}; lower its "
            "supply or add text"
        )
    given = dict(fixed)
    sharing = [name for name in sizes if name not in fixed]
    while sharing:
        left = max(0.0, total - sum(given.values()))
        weights = {name: sizes[name] ** exponent for name in sharing}
        shares = {name: left * weight / sum(weights.values()) for name, weight in weights.items()}
        full = {name: sizes[name] for name in sharing if shares[name] > sizes[name]}
        given |= full or shares
        sharing = [name for name in sharing if name not in given]
    return given


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Publishes records as JSON Lines."""
    publish_bytes(path, b"".join(json.dumps(r, ensure_ascii=False).encode() + b"\n" for r in records))
