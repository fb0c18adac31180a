"""Commands that are one call of a workflow."""

import functools
from collections.abc import Callable
from typing import Any

from dmix.cli.show.options import dry_run_option, json_option
from dmix.cli.show.output import say
from dmix.cli.show.result import Result, show_result
from dmix.warehouse_schema.progress import signs_of_life

Workflow = Callable[..., Result | None]


def calls_workflow(
    workflow: Callable[[], Workflow] | None = None, *, dry_run: bool = True
) -> Callable[..., Any]:
    """Makes a command that hands its options to a workflow and shows the result.

    The command also gets `--json` and `--dry-run`, its last options.

    Args:
        workflow: Imports the workflow when the command runs, so that help stays quick, and returns it; its
            name and docstring are those of the command. The workflow takes the options by name.
        dry_run: False for a command that only reads, and so has no `--dry-run`.
    """
    if workflow is None:
        return functools.partial(calls_workflow, dry_run=dry_run)

    @functools.wraps(workflow)
    def command(*, as_json: bool, config: str | None, **values: Any) -> None:
        with signs_of_life(say) as progress:
            result = workflow()(**values, progress=progress)
        if result is not None:  # all ranks but the first have none
            show_result(result, as_json=as_json)

    return json_option(dry_run_option(command) if dry_run else command)
