"""Screenings: what was found in the text of corpora before it is trained on.

A screening looks through fixed versions of corpora for exact duplicates, or for evaluation items
(`KINDS`). It lies in `<kind>/<id>/`: one Parquet file for each label file in which something was
found (columns as in the tables of the catalog, and `row`, the document's row in the label file), and
`manifest.json`, which is written last. Its id follows from what was looked through and for, so a
screening is never made twice.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_json
from dmix.warehouse_schema.files.manifest_json import record_from_json, with_digest
from dmix.warehouse_schema.files.names import refuse_links
from dmix.warehouse_schema.text_files import read_json_object

FORMAT = 1
KINDS = ("duplicates", "contamination")


@dataclass(frozen=True, kw_only=True)
class Screening:
    """The manifest of a screening.

    Attributes:
        kind: `duplicates` or `contamination`.
        screening: Its id.
        corpora: What was looked through, as `name@vK`, in order.
        documents: Documents that were read.
        found: Documents in which something was found; of duplicates, all copies but the first.
        files: Rows of each Parquet file, by its name without the ending.
        items: Evaluation items that were looked for; 0 for duplicates.
        items_too_short: Those of them with too few words to be looked for.
        items_sha256: Hash of the items and of how they are looked for; empty for duplicates.
        created_at: ISO 8601, UTC.
    """

    kind: str
    screening: str
    corpora: tuple[str, ...]
    documents: int
    found: int
    files: Mapping[str, int]
    created_at: str
    items: int = 0
    items_too_short: int = 0
    items_sha256: str = ""


def write_screening(warehouse: Warehouse, screening: Screening) -> Path:
    """Publishes a screening; this is the step that makes its files visible."""
    path = warehouse.screening(screening.kind, screening.screening) / "manifest.json"
    publish_json(path, with_digest({"format": FORMAT, **dataclasses.asdict(screening)}))
    return path


def find_screening(warehouse: Warehouse, kind: str, screening: str) -> Screening | None:
    """A published screening; None if there is none.

    Raises:
        InputError: If its folder holds links.
    """
    path = warehouse.screening(kind, screening) / "manifest.json"
    refuse_links(path.parent)
    try:
        return load_screening(path)
    except NotFoundError:
        return None


def load_screening(path: Path) -> Screening:
    """The screening of the manifest at `path`.

    Raises:
        NotFoundError: If there is no such file.
        InputError: If it is damaged or from a newer dmix.
    """
    value = read_json_object(path)
    value.pop("digest", None)
    found = value.pop("format", None)
    if found != FORMAT:
        raise InputError(f"{path} has format {found!r}, but this dmix reads {FORMAT}; update dmix")
    try:
        return record_from_json(Screening, value)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error!r}); remove its folder, then run 'dmix etl duplicates' or "
            "'dmix etl contamination' again"
        ) from None
