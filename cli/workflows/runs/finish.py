"""The end of a run: into the catalog, and in a table what it came to."""

from typing import TYPE_CHECKING, Any

from dmix.cli.show.result import Result
from dmix.training.run.request import rank_here
from dmix.warehouse_schema.errors import CatalogError, LockHeldError, NotFoundError, StorageError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.cli.show.run_end import Aftermath
    from dmix.training.run.summary import RunSummary


def finish_run(
    warehouse: Warehouse, summary: "RunSummary", *, trained: bool = True, progress: Progress
) -> Result | None:
    """Brings the run into the catalog; what it came to on the first rank, None on others.

    Args:
        warehouse: Where the run is.
        summary: Of the run.
        trained: Whether this command trained anything.
        progress: Receives lines for people.
    """
    from dmix.warehouse_schema.catalog.sync import sync_at_end

    if rank_here():
        return None
    sync_at_end(warehouse, warn=progress)
    after_it = _aftermath(warehouse, summary)
    facts = {**summary.to_json(), "utility": after_it and after_it.utility}
    facts["verdicts"] = {name: found.word for name, found in after_it.verdicts.items()} if after_it else {}
    result = Result(facts, summary)
    if not trained:
        result.line(f"run {summary.run_id} was finished already; nothing was trained")
    rows: list[tuple[Any, ...]] = [
        (name, before, after, after - before, after_it.word(name) if after_it else "")
        for name, before, after in zip(
            summary.objectives, summary.feedback_TD[0], summary.feedback_TD[-1], strict=True
        )
    ]
    if rows:
        result.table(["objective", "score before", "score after", "change", "verdict"], rows)
    result.line(
        f"run {summary.run_id}: {num_text(summary.steps, 'step')}, {num_text(summary.tokens, 'token')} "
        f"({summary.source_tokens:,} from the source), loss {summary.loss:.3f} in the last step; "
        f"{summary.ending}"
    )
    for line in after_it.lines if after_it else ():
        result.line(line)
    return result


def _aftermath(warehouse: Warehouse, summary: "RunSummary") -> "Aftermath | None":
    """What comes after a run; None where the catalog does not know it as yet."""
    from dmix.cli.show.run_end import aftermath

    if not summary.finished:
        return None
    try:
        return aftermath(warehouse, summary.run_id, kind=summary.kind)
    except (LockHeldError, CatalogError, StorageError, NotFoundError, IndexError):
        return None
