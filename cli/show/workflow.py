"""Commands that are one call of a workflow."""

import functools
from collections.abc import Callable
from typing import Any

from dmix.cli.show.output import say
from dmix.cli.show.result import Result, show_result
from dmix.warehouse_schema.progress import signs_of_life

Workflow = Callable[..., Result | None]


def calls_workflow(workflow: Callable[[], Workflow]) -> Callable[..., None]:
    """Makes a command that hands its options to a workflow and shows the result.

    Args:
        workflow: Imports the workflow when the command runs, so that help stays quick, and returns it; its
            name and docstring are those of the command. The workflow takes the options by name.
    """

    @functools.wraps(workflow)
    def command(*, as_json: bool, config: str | None, **values: Any) -> None:
        with signs_of_life(say) as progress:
            result = workflow()(**values, progress=progress)
        if result is not None:  # all ranks but the first have none
            show_result(result, as_json=as_json)

    return command
