"""Composer's loggers by the names that a training file gives them."""

from collections.abc import Sequence
from pathlib import Path

from composer.loggers import LoggerDestination, MLFlowLogger, TensorboardLogger, WandBLogger

from dmix.training.settings import check_loggers

PROJECT = "dmix"


def make_loggers(names: Sequence[str], *, folder: Path, run_id: str) -> list[LoggerDestination]:
    """The loggers of a run; their accounts and servers come from their own environment variables.

    Args:
        names: Of `dmix.training.settings.LOGGERS`.
        folder: Of the run; tensorboard writes below it.
        run_id: What they call the run.

    Raises:
        MissingDependencyError: If the package of one is not installed.
    """
    check_loggers(names)
    makers = {
        "tensorboard": lambda: TensorboardLogger(log_dir=str(folder / "tensorboard"), flush_interval=1),
        "wandb": lambda: WandBLogger(project=PROJECT, name=run_id),
        "mlflow": lambda: MLFlowLogger(experiment_name=PROJECT, run_name=run_id),
    }
    return [makers[name]() for name in names]
