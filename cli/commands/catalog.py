"""`dmix catalog`: make the catalog again, or take it elsewhere."""

from collections import Counter
from pathlib import Path

import click

from dmix.cli.show.options import FiniteFloat, config_option, dry_run_option, json_option, warehouse_option
from dmix.cli.show.output import say, show_json, show_table
from dmix.warehouse_schema.files.layout import Warehouse


@click.group()
def catalog() -> None:
    """Rebuild or export the catalog.

    Example: dmix catalog rebuild --warehouse ./warehouse
    """


@catalog.command()
@config_option
@warehouse_option
@click.option(
    "--lock-seconds",
    type=FiniteFloat(min=0),
    default=10.0,
    show_default=True,
    help="Seconds to wait for another process that writes the catalog.",
)
@json_option
@dry_run_option
def rebuild(
    warehouse: Warehouse, lock_seconds: float, as_json: bool, dry_run: bool, config: str | None
) -> None:
    """Rebuild the catalog from the manifests, events and Parquet files of the warehouse.

    Example: dmix catalog rebuild
    """
    from dmix.warehouse_schema.catalog import catalog as library
    from dmix.warehouse_schema.catalog.units import published_units

    counts = Counter(unit.kind for unit in published_units(warehouse.require()).values())
    if not dry_run:
        library.rebuild(warehouse, lock_seconds=lock_seconds)
    say(f"{'would rebuild' if dry_run else 'rebuilt'} {warehouse.catalog} from {counts.total()} files")
    if as_json:
        show_json({"catalog": str(warehouse.catalog), "files": dict(counts), "dry_run": dry_run})
    else:
        show_table(["kind", "files"], sorted(counts.items()))


@catalog.command()
@config_option
@warehouse_option
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files.",
)
@json_option
@dry_run_option
def export(warehouse: Warehouse, out: Path, as_json: bool, dry_run: bool, config: str | None) -> None:
    """Write every public view as DIR/<view>.parquet, with the current state of unfinished runs.

    Example: dmix catalog export --out catalog-parquet
    """
    from dmix.warehouse_schema.catalog.catalog import Catalog, export_views

    if dry_run:
        with Catalog.open_reader(warehouse) as reader:
            rows = {view: reader.query(f"select count(*) from {view}")[1][0][0] for view in reader.views()}
    else:
        rows = export_views(warehouse, out)
    say(f"{'would write' if dry_run else 'wrote'} {len(rows)} Parquet files to {out}")
    if as_json:
        show_json({"out": str(out), "rows": rows, "dry_run": dry_run})
    else:
        show_table(["view", "rows"], list(rows.items()))
