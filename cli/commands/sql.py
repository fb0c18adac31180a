"""`dmix sql`: one question to the catalog."""

import sys

import click

from dmix.cli.show.options import FiniteFloat, config_option, json_option, warehouse_option
from dmix.cli.show.output import show_rows
from dmix.warehouse_schema.files.layout import Warehouse


@click.command()
@config_option
@click.argument("query")
@warehouse_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "list", "json", "jsonl", "csv"]),
    default="table",
    show_default=True,
    help="What to print on stdout. A table cuts long cells; rows that do not fit as one are shown as a list.",
)
@json_option
@click.option(
    "--allow-io",
    is_flag=True,
    help="Let the query read files, and COPY (query) TO 'file' write one outside the warehouse.",
)
@click.option(
    "--memory-gb",
    type=FiniteFloat(min=0.5),
    help="Memory that the query may take, in GB; a quarter of the machine's if left out.",
)
def sql(
    query: str,
    *,
    warehouse: Warehouse,
    form: str,
    as_json: bool,
    allow_io: bool,
    memory_gb: float | None,
    config: str | None,
) -> None:
    """Ask the catalog a question in SQL (DuckDB's), QUERY or '-' for stdin.

    Runs that are under way are shown as they are now. "SHOW TABLES" names the views. What their
    columns mean is in the database too: "SELECT table_name, column_name, comment FROM
    duckdb_columns() WHERE database_name = current_database()".

    Example: dmix sql "SELECT corpus, version, documents FROM corpora"
    """
    from dmix.cli.workflows.runs import ask

    text = sys.stdin.read() if query == "-" else query
    columns, rows = ask(warehouse, text, allow_io=allow_io, memory_gb=memory_gb)
    show_rows(columns, rows, form="json" if as_json else form)
