"""A base model, pre-trained on the source field alone: `dmix train base`."""

from collections.abc import Sequence
from pathlib import Path

from dmix.cli.show.notebook import run_monitor
from dmix.cli.show.result import Result
from dmix.cli.workflows.preflight import check_dataset, check_model
from dmix.cli.workflows.runs.finish import finish_run
from dmix.cli.workflows.runs.plan import run_plan
from dmix.cli.workflows.runs.repeated import has_started, refuse_a_second_start, run_summary
from dmix.cli.workflows.runs.train import training_settings
from dmix.training.run.request import BASE_RUN, joined_ranks
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress


@joined_ranks()
def train_base_model(
    warehouse: Warehouse,
    *,
    model: str,
    tokens: int,
    name: str,
    dataset: str | None = None,
    training: Path | None = None,
    loggers: Sequence[str] = (),
    ranks: int | None = None,
    dry_run: bool = False,
    progress: Progress,
) -> Result | None:
    """Pre-trains a model on the source field alone, for farms and comparisons.

    If it was interrupted, the same call resumes it. It does nothing if the model is finished. On all ranks
    but the first, the result is None.

    Args:
        warehouse: Where the dataset is and the model goes.
        model: Model file, checkpoint folder, model of the warehouse, or hub id.
        tokens: Number of source tokens to train on.
        name: Name of the model in the warehouse.
        dataset: Id or name; may be left out when there is one.
        training: Training file.
        loggers: Loggers in place of those of the training file.
        ranks: Ranks that a dry run plans for; those of this launch when left out.
        dry_run: Say what it would take, and train nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If a file, dataset or model does not exist.
        InputError: If the settings do not fit together.
        LockHeldError: If another process trains it.
    """
    check_dataset(warehouse, dataset)
    check_model(warehouse, model)
    warehouse.model(name)  # a name that cannot be a folder is refused here
    if not dry_run:
        refuse_a_second_start(warehouse, f"{BASE_RUN}{name}")
    settings = training_settings(training, loggers)
    from dmix.training.run.base_model import base_config, train_base

    config = base_config(
        warehouse.require(), model=model, tokens=tokens, name=name, training=settings, dataset=dataset
    )
    if dry_run:
        return run_plan(warehouse, config, ranks=ranks)
    finished = has_started(warehouse, config.run_id) and run_summary(warehouse, config.run_id).finished
    with run_monitor(title=f"base model {name}") as monitor:
        summary = train_base(warehouse, config, progress=progress, monitor=monitor)
    return finish_run(warehouse, summary, trained=not finished, progress=progress)
