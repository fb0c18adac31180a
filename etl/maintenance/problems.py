"""What verifying a warehouse finds."""

from dataclasses import dataclass

from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.storage import Place


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that does not agree.

    Attributes:
        kind: `missing`, `size`, `hash`, `header`, `index`, `count`, `orphan`, `manifest`, `link` or
            `catalog`.
        path: File or folder, relative to the warehouse, or its URL.
        detail: What was found and what was expected.
    """

    kind: str
    path: str
    detail: str


def orphan_at(warehouse: Warehouse, path: Place) -> Problem:
    """A file that no manifest names."""
    return problem_at(
        warehouse, "orphan", path, "the file belongs to no manifest; run 'dmix etl gc' to remove it"
    )


def problem_at(warehouse: Warehouse, kind: str, path: Place, detail: str) -> Problem:
    """A problem, its path relative to the warehouse."""
    return Problem(kind=kind, path=warehouse.relative(path), detail=detail)
