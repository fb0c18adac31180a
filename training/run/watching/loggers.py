"""Composer's loggers by the names that a training file gives them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from composer.loggers import LoggerDestination, MLFlowLogger, TensorboardLogger, WandBLogger

from dmix.training.model.settings import check_loggers, how_to_install
from dmix.warehouse_schema.errors import InputError

PROJECT = "dmix"


def make_loggers(names: Sequence[str], *, folder: Path, run_id: str) -> list[LoggerDestination]:
    """The loggers of a run; their accounts and servers come from their own environment variables.

    Args:
        names: Of `dmix.training.model.settings.LOGGERS`.
        folder: Of the run; tensorboard writes below it.
        run_id: What they call the run.

    Raises:
        MissingDependencyError: If the package of one is not installed.
        InputError: If one does not start.
    """
    check_loggers(names)
    makers = {
        "tensorboard": lambda: TensorboardLogger(log_dir=str(folder / "tensorboard"), flush_interval=1),
        "wandb": lambda: WandBLogger(project=PROJECT, name=run_id),
        "mlflow": lambda: MLFlowLogger(experiment_name=PROJECT, run_name=run_id),
    }
    return [_started(name, makers[name]) for name in names]


def _started(name: str, make: Callable[[], LoggerDestination]) -> LoggerDestination:
    try:
        return make()
    except Exception as error:  # whatever its package raises: versions, accounts, servers
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"the logger {name} does not start ({first_line}); install versions that fit: "
            f"{how_to_install('loggers')}; or leave {name} out"
        ) from error
