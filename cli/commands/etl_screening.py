"""`dmix etl duplicates` and `contamination`, and `--environment` of `dmix etl shard`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dmix.cli.show.options import (
    Command,
    config_option,
    dry_run_option,
    executor_options,
    json_option,
    warehouse_option,
)
from dmix.cli.show.output import say, show_json, show_table
from dmix.cli.workflows.data.kept_out import evaluation_items
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.sizes import size_text

if TYPE_CHECKING:
    from dmix.etl.screening.screening import ScreenedFile
    from dmix.etl.spark.executors import Automatic
    from dmix.warehouse_schema.files.manifests import CorpusVersion
    from dmix.warehouse_schema.files.screenings import Screening


def corpora_option(command: Command) -> Command:
    """`--corpus NAME[@vK]`, handed on as names for `resolve_corpora`."""
    return click.option(
        "--corpus",
        multiple=True,
        metavar="NAME[@vK]",
        help="Corpus to use; without @vK, its newest version. Repeat the flag for several. Default: the"
        " pair NAME-source and NAME-target, if the warehouse has one pair.",
    )(command)


@click.command()
@config_option
@warehouse_option
@corpora_option
@executor_options
@json_option
@dry_run_option
def duplicates(
    *,
    warehouse: Warehouse,
    corpus: tuple[str, ...],
    executor: "Automatic",
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Find documents with the same text, within and across corpora, for the view duplicates.

    The comparison ignores case, punctuation and white space. `dmix etl shard --drop-duplicates` keeps
    the first document by corpus, file and position. The command reads each label file only once.

    Example: dmix etl duplicates
    """
    from dmix.etl.screening.duplicates import files_to_digest, find_duplicates
    from dmix.etl.screening.screening import screened_files
    from dmix.etl.shard.plan import resolve_corpora
    from dmix.warehouse_schema.catalog.catalog import sync_at_end

    corpora = resolve_corpora(warehouse.require(), corpus)
    if dry_run:
        todo = files_to_digest(warehouse, screened_files(warehouse, corpora))
        _show_plan(corpora, todo, as_json=as_json)
        return
    found = find_duplicates(executor, warehouse, corpora=corpora, progress=say)
    imported = sync_at_end(warehouse, warn=say)
    _show(warehouse, found, _PAIRS if imported else None, as_json=as_json)


@click.command()
@config_option
@warehouse_option
@corpora_option
@click.option(
    "--environment",
    type=Path,
    required=True,
    metavar="FILE",
    help="Environment file with the items to look for.",
)
@executor_options
@json_option
@dry_run_option
def contamination(
    *,
    warehouse: Warehouse,
    corpus: tuple[str, ...],
    environment: Path,
    executor: "Automatic",
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Find evaluation items in the text of corpora, for the view contamination.

    A document contains an item if it has 13 consecutive words of it, or a whole question of 7 to 12
    words. The command looks for all items in the environment's files and ignores split and limit.

    Example: dmix etl contamination --environment environment.yaml
    """
    from dmix.etl.screening.contamination import contamination_id, files_to_search, find_contamination
    from dmix.etl.screening.screening import screened_files
    from dmix.etl.shard.plan import resolve_corpora
    from dmix.warehouse_schema.catalog.catalog import sync_at_end

    corpora = resolve_corpora(warehouse.require(), corpus)
    items = evaluation_items([environment])
    if dry_run:
        folder = warehouse.screening("contamination", contamination_id(corpora, items))
        _show_plan(corpora, files_to_search(folder, screened_files(warehouse, corpora)), as_json=as_json)
        return
    found = find_contamination(executor, warehouse, corpora=corpora, items=items, progress=say)
    imported = sync_at_end(warehouse, warn=say)
    _show(warehouse, found, _OBJECTIVES if imported else None, as_json=as_json)


_PAIRS = (
    "select corpus, first_corpus, count(distinct (path, position)) as documents from duplicates"
    " where screening = ? group by all order by documents desc, corpus, first_corpus"
)
_OBJECTIVES = (
    "select corpus, objective, count(distinct (path, position)) as documents,"
    " count(distinct item_id) as items, max(overlap) as highest_overlap from contamination"
    " where screening = ? group by all order by documents desc, corpus, objective"
)


def _show_plan(corpora: "Sequence[CorpusVersion]", todo: "Sequence[ScreenedFile]", *, as_json: bool) -> None:
    names = [f"{corpus.corpus}@v{corpus.version}" for corpus in corpora]
    text_bytes = sum(file.rows.text_bytes for file in todo)
    if as_json:
        documents = sum(corpus.documents for corpus in corpora)
        show_json(
            {
                "corpora": names,
                "documents": documents,
                "label_files_to_read": len(todo),
                "text_bytes_to_read": text_bytes,
            }
        )
        return
    say(f"{', '.join(names)}: {len(todo)} label files would be read, {size_text(text_bytes)} of text")


def _show(warehouse: Warehouse, screening: "Screening", sql: str | None, *, as_json: bool) -> None:
    """Counts of what a screening found, as the catalog has them; left out where it has none as yet."""
    from dmix.warehouse_schema.catalog.catalog import Catalog

    columns: list[str] = []
    rows: list[tuple[Any, ...]] = []
    if sql is not None:
        with Catalog.open_reader(warehouse) as catalog:
            columns, rows = catalog.query(sql, [screening.screening])
    if as_json:
        show_json(
            {
                "screening": screening.screening,
                "corpora": screening.corpora,
                "documents": screening.documents,
                "found": screening.found,
                "items": screening.items,
                "items_too_short": screening.items_too_short,
                "counts": [dict(zip(columns, row, strict=True)) for row in rows],
            }
        )
        return
    if rows:
        show_table(columns, rows)
    say(
        f"found {screening.found:,} of {screening.documents:,} documents; to list them, run dmix sql"
        f" \"SELECT * FROM {screening.kind} WHERE screening = '{screening.screening}'\""
    )
