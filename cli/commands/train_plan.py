"""What `dmix train --dry-run` shows: sizes, coverage, memory of a rank, and time."""

from typing import TYPE_CHECKING

from dmix.cli.show.result import show_result
from dmix.warehouse_schema.files.layout import Warehouse

if TYPE_CHECKING:
    from dmix.training.run.config import RunConfig


def show_plan(warehouse: Warehouse, config: "RunConfig", *, ranks: int | None, as_json: bool) -> None:
    """Prints what a run would take; the time only where the model fits into this machine.

    Args:
        warehouse: Where the dataset is.
        config: The run.
        ranks: Ranks to plan for; those of this launch if None.
        as_json: Print one JSON document on stdout.
    """
    from dmix.cli.workflows.runs.plan import run_plan

    show_result(run_plan(warehouse, config, ranks=ranks), as_json=as_json)
