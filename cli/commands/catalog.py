"""`dmix catalog`: make the catalog again, or take it elsewhere."""

import click

from dmix.cli.show.options import FiniteFloat, warehouse_options
from dmix.cli.show.outputs import OutputPath
from dmix.cli.show.workflow import Workflow, calls_workflow


@click.group()
def catalog() -> None:
    """Rebuild or export the catalog, the database that 'dmix sql' reads.

    Example: dmix catalog rebuild --warehouse ./warehouse
    """


@catalog.command()
@warehouse_options
@click.option(
    "--lock-seconds",
    type=FiniteFloat(min=0),
    default=10.0,
    show_default=True,
    help="Number of seconds to wait if another process writes the catalog.",
)
@calls_workflow
def rebuild() -> Workflow:
    """Make the catalog again from the files of the warehouse.

    Example: dmix catalog rebuild
    """
    from dmix.cli.workflows.data.catalog import rebuild_catalog

    return rebuild_catalog


@catalog.command()
@warehouse_options
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=OutputPath(file_okay=False),
    help="Folder for the Parquet files.",
)
@calls_workflow
def export() -> Workflow:
    """Write every view of the catalog as DIR/<view>.parquet. The files include unfinished runs.

    Example: dmix catalog export --out catalog-parquet
    """
    from dmix.cli.workflows.data.catalog import export_catalog

    return export_catalog
