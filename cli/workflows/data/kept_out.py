"""Evaluation items, and whether a dataset was made without them."""

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.etl.screening.ngrams import EvaluationItem


def check_kept_out(
    warehouse: Warehouse,
    dataset: str | None,
    environment: Path,
    *,
    allow_unscreened: bool,
    progress: Callable[[str], None],
) -> None:
    """Refuses an environment whose items may be in the training text.

    Items with too few words to be looked for in text are not asked about. Of a dataset of dmix 0.1, which
    did not record items, it only warns.

    Args:
        warehouse: Where the dataset is.
        dataset: Id or name; None for the only one.
        environment: Environment file.
        allow_unscreened: Warn only.
        progress: Receives the warning.

    Raises:
        InputError: If the dataset was sharded without items of the environment.
    """
    from dmix.etl.screening.ngrams import NgramIndex, items_digest
    from dmix.mixing.trajectories.objectives import load_environment, read_items
    from dmix.warehouse_schema.files.manifests import item_digest, read_dataset_manifest

    manifest = read_dataset_manifest(warehouse.require(), dataset)
    all_items = evaluation_items([environment])
    if manifest.settings.get("contamination") == items_digest(all_items):
        return  # these very items, and a dataset of dmix 0.1 records no more than that
    found = load_environment(environment)
    used = {
        item_digest(item.question, item.answer)
        for objective in found.objectives
        for item in read_items(objective, found.folder)
    }
    open_items = [
        item
        for item in {item_digest(i.question, i.answer): i for i in all_items}.items()
        if item[0] in used.difference(manifest.kept_out or ())
    ]
    count = len(open_items) - len(NgramIndex([item for _, item in open_items]).too_short)
    if not count:
        return
    if manifest.kept_out is None:
        progress(
            f"warning: an older dmix made dataset {manifest.name or manifest.dataset} and stored no list "
            f"of evaluation items. {num_text(count, 'item')} of {environment} may be in its text"
        )
        return
    message = (
        f"dataset {manifest.name or manifest.dataset} may contain evaluation items: dmix did not search "
        f"its text for {count:,} of {num_text(len(used), 'item')} of {environment}"
    )
    if not allow_unscreened:
        raise InputError(
            f"{message}. Run 'dmix etl shard' again with the same flags and --environment "
            f"{shlex.quote(str(environment))}, or use --allow-unscreened"
        )
    progress(f"warning: {message}")


def evaluation_items(environments: Sequence[Path]) -> "list[EvaluationItem]":
    """All items of the files that environments name, whatever split or limit they ask for.

    Raises:
        NotFoundError: If a file does not exist.
        InputError: If one is not what it should be.
    """
    from dmix.etl.screening.ngrams import EvaluationItem
    from dmix.mixing.trajectories.objectives import load_environment, read_items

    return [
        EvaluationItem(
            objective=objective.name, item_id=item.item_id, question=item.question, answer=item.answer
        )
        for found in map(load_environment, environments)
        for objective in found.objectives
        for item in read_items(dataclasses.replace(objective, limit=None, split="all"), found.folder)
    ]
