"""Files of documents that a model wrote: one Parquet file a block, which says what it is.

A block is published whole or not at all, under a name that its first index gives, so files of a
run are exactly its finished blocks. Their bytes depend on the model, the settings and the indices
alone. What classification must know (that a model wrote this, and how much of what it wrote was
kept) stands in the metadata of each file, so that it goes along wherever the file goes.
"""

import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_bytes
from dmix.warehouse_schema.files.storage import parquet_input
from dmix.warehouse_schema.text_files import parse_json

if TYPE_CHECKING:
    # classification looks at blocks, and has no use for what writes them
    from dmix.etl.synthetic.generation import GeneratedDocument

FORMAT = 1
METADATA_KEY = b"dmix.synthetic"

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("index", pa.int64()),
        ("tokens", pa.int32()),
        ("ended", pa.bool_()),
        ("probability_low", pa.float32()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class BlockFacts:
    """What a block, or several, came to.

    Attributes:
        model: Hub id of the model, or the name of its folder.
        digest: Hash of all that the text depends on beside the indices.
        seed: Seed of the documents.
        max_tokens: Length cap of a document.
        quality: What judged the documents; `none` if nothing did.
        first: First index.
        stop: One more than the last.
        generated: Documents written.
        kept: Documents in the file: neither empty nor of low quality.
        empty: Documents without text.
        capped: Documents that the length cap ended.
        tokens: Tokens written.
        tokens_kept: Tokens of the documents in the file.
    """

    model: str
    digest: str
    seed: int
    max_tokens: int
    quality: str
    first: int
    stop: int
    generated: int
    kept: int
    empty: int
    capped: int
    tokens: int
    tokens_kept: int

    @property
    def share_kept(self) -> float:
        """Share of the written documents that were kept, 0 to 1."""
        return self.kept / self.generated if self.generated else 0.0


@dataclass(frozen=True, kw_only=True)
class BlockFile:
    """A block as an estimate names it.

    Attributes:
        name: Of the file.
        size_bytes: Its size.
        sha256: Hash of its bytes.
        documents: Rows in it.
    """

    name: str
    size_bytes: int
    sha256: str
    documents: int

    @classmethod
    def of(cls, path: Path) -> "BlockFile":
        """The block in a file."""
        content = path.read_bytes()
        rows = pq.read_metadata(path).num_rows
        return cls(
            name=path.name, size_bytes=len(content), sha256=sha256(content).hexdigest(), documents=rows
        )


def block_name(number: int) -> str:
    """File name of block `number`, from 0."""
    return f"block-{number:08d}.parquet"


def finished_blocks(folder: Path) -> list[int]:
    """Numbers of the blocks in a folder, ascending."""
    found = (re.fullmatch(r"block-(\d{8})\.parquet", path.name) for path in folder.glob("block-*.parquet"))
    return sorted(int(match[1]) for match in found if match)


def write_block(
    path: Path,
    documents: "Sequence[GeneratedDocument]",
    facts: BlockFacts,
    *,
    probability_low: NDArray[np.float32] | None = None,
) -> None:
    """Publishes the documents that are kept.

    Args:
        path: The file.
        documents: Documents that are kept.
        facts: Of the whole block.
        probability_low: Of each of the documents, shape (documents,); None if they were not judged.
    """
    table = pa.table(
        {
            "id": [f"{facts.digest[:12]}-{document.index}" for document in documents],
            "text": [document.text for document in documents],
            "index": [document.index for document in documents],
            "tokens": [document.tokens for document in documents],
            "ended": [document.ended for document in documents],
            "probability_low": pa.nulls(len(documents)) if probability_low is None else probability_low,
        },
        schema=_SCHEMA,
    )
    note = json.dumps({"format": FORMAT, **asdict(facts)}, sort_keys=True)
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: note}), sink, compression="zstd")
    publish_bytes(path, sink.getvalue())


def block_facts(path: Path | str) -> BlockFacts | None:
    """What a block's file says of itself; None if it is no such file. A string may be a URL.

    Raises:
        InputError: If a newer dmix wrote it.
        StorageError: If a remote store cannot be reached or refuses.
    """
    try:
        note = (pq.read_schema(parquet_input(str(path))).metadata or {}).get(METADATA_KEY)
    except (pa.ArrowInvalid, OSError):
        return None
    if note is None:
        return None
    try:
        facts = parse_json(note)
        found = facts.pop("format", None)
        if found != FORMAT:
            raise InputError(f"{path} has format {found!r}, but this dmix reads {FORMAT}; update dmix")
        told = BlockFacts(**facts)
        if any(type(getattr(told, field.name)) is not field.type for field in fields(told)):
            raise TypeError("counts are no numbers, or names no texts")
        return told
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error}); generate its documents again") from None


def require_facts(path: Path) -> BlockFacts:
    """What a block's file says of itself.

    Raises:
        InputError: If it is no such file, or a newer dmix wrote it.
    """
    found = block_facts(path)
    if found is None:
        raise InputError(f"{path} is not a block of documents; remove it and run the same command again")
    return found


def read_blocks(folder: Path, numbers: Iterable[int]) -> pa.Table:
    """The documents of some blocks, in their order."""
    tables = [pq.read_table(folder / block_name(n)).replace_schema_metadata(None) for n in numbers]
    return pa.concat_tables([_SCHEMA.empty_table(), *tables])


def total_facts(blocks: Sequence[BlockFacts]) -> BlockFacts:
    """Facts of several blocks of one generation as one, from the first index to the last."""
    counts = ("generated", "kept", "empty", "capped", "tokens", "tokens_kept")
    return replace(
        blocks[0],
        first=min(block.first for block in blocks),
        stop=max(block.stop for block in blocks),
        **{name: sum(getattr(block, name) for block in blocks) for name in counts},
    )
