"""Which models of a run are there to evaluate, by the step that they were reached at."""

import logging
from collections.abc import Sequence
from pathlib import Path

from dmix.training.run.config import RunConfig
from dmix.training.run.resuming.checkpoint_files import checkpoints, is_own, is_whole, steps_done_at
from dmix.training.run.summary import summarise
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse

logger = logging.getLogger(__name__)


def chosen_models(warehouse: Warehouse, config: RunConfig, steps: Sequence[str]) -> dict[int, Path | None]:
    """Folders of the models of a run, ascending by step.

    Args:
        warehouse: Where the run is.
        config: Of the run.
        steps: Numbers of steps, 0 being the model that the run started from, or `all`; without any,
            the newest model.

    Returns:
        By step: a checkpoint file, the folder with the run's result, or None for the model that the
        run started from.

    Raises:
        NotFoundError: If there is no model of a step.
        InputError: If a step is neither a number nor `all`.
    """
    there = _models_there(warehouse, config)
    if "all" in steps:
        wanted = sorted(there)
    elif steps:
        wanted = sorted({_step_number(step) for step in steps})
    else:
        wanted = [max(there)]
    for step in wanted:
        if step not in there:
            known = ", ".join(map(str, sorted(there)))
            raise NotFoundError(
                f"run {config.run_id} has no model of step {step} (available: {known}); checkpoints_kept "
                "and checkpoint_steps in the training file decide which models dmix keeps"
            )
    return {step: there[step] for step in wanted}


def _models_there(warehouse: Warehouse, config: RunConfig) -> dict[int, Path | None]:
    """What is left of a run, by step: its first model, whole checkpoints, and its result."""
    folder = warehouse.run(config.run_id)
    found: dict[int, Path | None] = {0: None}
    for path in checkpoints(folder / "checkpoints"):
        if is_whole(path) and is_own(path, folder / "events.jsonl"):
            found[steps_done_at(path)] = path
        else:
            logger.warning("%s is left out: it is damaged, or this run did not write it", path)
    result = config.result(warehouse)
    if (result / "config.json").is_file():
        found[summarise(folder / "events.jsonl").steps] = result
    return found


def _step_number(text: str) -> int:
    if not text.isdecimal():
        raise InputError(f"--step is {text!r}, expected 0 or more, or all")
    return int(text)
