"""Text that comes twice, and evaluation items in the text: `dmix etl duplicates` and `contamination`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.cli.show.output import warehouse_flag
from dmix.cli.show.result import Result
from dmix.cli.workflows.data.kept_out import evaluation_items
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text, size_text

if TYPE_CHECKING:
    from dmix.etl.screening.screening import ScreenedFile
    from dmix.etl.spark.executors import Automatic
    from dmix.warehouse_schema.files.manifests import CorpusVersion
    from dmix.warehouse_schema.files.screenings import Screening

_PAIRS = (
    "select corpus, first_corpus, count(distinct (path, position)) as documents from duplicates"
    " where screening = ? group by all order by documents desc, corpus, first_corpus"
)
_OBJECTIVES = (
    "select corpus, objective, count(distinct (path, position)) as documents,"
    " count(distinct item_id) as items, max(overlap) as highest_overlap from contamination"
    " where screening = ? group by all order by documents desc, corpus, objective"
)


def screen_duplicates(
    warehouse: Warehouse,
    *,
    corpus: Sequence[str] = (),
    executor: "Automatic",
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Finds documents with the same text; the result's value is the screening, or the files to read.

    Args:
        warehouse: Where the corpora are.
        corpus: Names of corpora, `NAME[@vK]`; may be empty where one pair is there.
        executor: Runs the tasks.
        dry_run: Look, and write nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If a corpus does not exist.
    """
    from dmix.etl.screening.duplicates import files_to_digest, find_duplicates

    corpora, files = _corpora_and_files(warehouse, corpus)
    if dry_run:
        return _plan_result(corpora, files_to_digest(warehouse, files))
    found = find_duplicates(executor, warehouse, corpora=corpora, progress=progress)
    return _screening_result(warehouse, found, _PAIRS, progress)


def screen_contamination(
    warehouse: Warehouse,
    *,
    corpus: Sequence[str] = (),
    environment: Path,
    executor: "Automatic",
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Finds evaluation items in the text; the result's value is the screening, or the files to read.

    Args:
        warehouse: Where the corpora are.
        corpus: Names of corpora, `NAME[@vK]`; may be empty where one pair is there.
        environment: Environment file with the items to look for.
        executor: Runs the tasks.
        dry_run: Look, and write nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If a corpus or file does not exist.
    """
    from dmix.etl.screening.contamination import contamination_id, files_to_search, find_contamination

    corpora, files = _corpora_and_files(warehouse, corpus)
    items = evaluation_items([environment])
    if dry_run:
        folder = warehouse.screening("contamination", contamination_id(corpora, items))
        return _plan_result(corpora, files_to_search(folder, files))
    found = find_contamination(executor, warehouse, corpora=corpora, items=items, progress=progress)
    return _screening_result(warehouse, found, _OBJECTIVES, progress)


def _corpora_and_files(
    warehouse: Warehouse, corpus: Sequence[str]
) -> "tuple[Sequence[CorpusVersion], Sequence[ScreenedFile]]":
    from dmix.etl.screening.screening import screened_files
    from dmix.etl.shard.plan import resolve_corpora

    corpora = resolve_corpora(warehouse.require(), corpus)
    return corpora, screened_files(warehouse, corpora)


def _plan_result(corpora: "Sequence[CorpusVersion]", todo: "Sequence[ScreenedFile]") -> Result:
    facts: dict[str, Any] = {
        "corpora": [f"{corpus.corpus}@v{corpus.version}" for corpus in corpora],
        "documents": sum(corpus.documents for corpus in corpora),
        "label_files_to_read": len(todo),
        "text_bytes_to_read": sum(file.rows.text_bytes for file in todo),
    }
    result = Result(facts, todo)
    result.line(
        f"{', '.join(facts['corpora'])}: dmix would read {num_text(len(todo), 'label file')} with "
        f"{size_text(facts['text_bytes_to_read'])} of text"
    )
    return result


def _screening_result(warehouse: Warehouse, screening: "Screening", sql: str, progress: Progress) -> Result:
    """Counts of what a screening found, as the catalog has them; left out where it has none as yet."""
    from dmix.warehouse_schema.catalog.catalog import Catalog
    from dmix.warehouse_schema.catalog.sync import sync_at_end

    columns: list[str] = []
    rows: list[tuple[Any, ...]] = []
    if sync_at_end(warehouse, warn=progress):
        with Catalog.open_reader(warehouse) as catalog:
            columns, rows = catalog.query(sql, [screening.screening])
    facts: dict[str, Any] = {
        "screening": screening.screening,
        "corpora": screening.corpora,
        "documents": screening.documents,
        "found": screening.found,
        "items": screening.items,
        "items_too_short": screening.items_too_short,
        "counts": [dict(zip(columns, row, strict=True)) for row in rows],
    }
    result = Result(facts, screening)
    if rows:
        result.table(columns, rows)
    if screening.found:
        root = warehouse.root
        flag = "--drop-duplicates" if screening.kind == "duplicates" else "--environment FILE"
        result.line(
            f"to list them: dmix sql{warehouse_flag(root)} "
            f"\"SELECT * FROM {screening.kind} WHERE screening = '{screening.screening}'\""
        )
        result.line(f"to leave them out of a dataset: dmix etl shard{warehouse_flag(root)} {flag}")
    else:
        result.line(f"found none in {num_text(screening.documents, 'document')}")
    return result
