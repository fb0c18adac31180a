"""The catalog, made again or taken elsewhere: `dmix catalog`."""

from collections import Counter
from pathlib import Path

from dmix.cli.show.result import Result
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text


def rebuild_catalog(
    warehouse: Warehouse, *, lock_seconds: float = 10.0, dry_run: bool = False, progress: Progress
) -> Result:
    """Makes the catalog again from the manifests, events and Parquet files of the warehouse.

    Args:
        warehouse: What the catalog is about.
        lock_seconds: Seconds to wait for another process that writes the catalog.
        dry_run: Count the files, and write nothing.
        progress: Receives lines for people.

    Raises:
        LockHeldError: If another process writes the catalog for longer.
    """
    from dmix.warehouse_schema.catalog.sync import rebuild
    from dmix.warehouse_schema.catalog.units import published_units

    counts = Counter(unit.kind for unit in published_units(warehouse.require()).values())
    if not dry_run:
        rebuild(warehouse, lock_seconds=lock_seconds)
    result = Result({"catalog": str(warehouse.catalog), "files": dict(counts), "dry_run": dry_run})
    verb = "would rebuild" if dry_run else "rebuilt"
    progress(f"{verb} {warehouse.catalog} from {num_text(counts.total(), 'file')}")
    result.table(["kind", "files"], sorted(counts.items()))
    return result


def export_catalog(warehouse: Warehouse, *, out: Path, dry_run: bool = False, progress: Progress) -> Result:
    """Writes every public view as a Parquet file, with the current state of unfinished runs.

    Args:
        warehouse: What the catalog is about.
        out: Folder for the files.
        dry_run: Count the rows, and write nothing.
        progress: Receives lines for people.
    """
    from dmix.warehouse_schema.catalog.catalog import Catalog, export_views
    from dmix.warehouse_schema.catalog.migrate import quoted_name

    if dry_run:
        with Catalog.open_reader(warehouse) as reader:
            rows = {
                view: reader.query(f"select count(*) from {quoted_name(view)}")[1][0][0]
                for view in reader.views()
            }
    else:
        rows = export_views(warehouse, out)
    result = Result({"out": str(out), "rows": rows, "dry_run": dry_run})
    progress(f"{'would write' if dry_run else 'wrote'} {len(rows)} Parquet files to {out}")
    result.table(["view", "rows"], list(rows.items()))
    return result
