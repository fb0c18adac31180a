"""Checkpoints of a run: when they are due, which ones stay, and how they are read.

Composer writes and reads them. It unpickles whatever a file holds (0.32); dmix reads tensors, numbers
and the few types below, since a checkpoint may come from someone else.
"""

import math
import pickle
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import composer.utils.checkpoint as composer_checkpoint
import numpy as np
import torch
from composer.callbacks import CheckpointSaver
from composer.core import Callback, Event, State
from composer.loggers import Logger
from composer.utils import dist
from numpy._core.multiarray import _reconstruct  # type: ignore[attr-defined]
from torch.torch_version import TorchVersion

from dmix.training.model.models import unusable_weights
from dmix.training.model.out_of_memory import is_out_of_memory
from dmix.training.model.settings import TrainingSettings
from dmix.training.run.callback import MixtureCallback
from dmix.training.run.resuming.checkpoint_files import FILE_NAME, checkpoints, forget_set_aside
from dmix.training.run.resuming.restored import check_place
from dmix.warehouse_schema.errors import InputError, TrainingError, first_line
from dmix.warehouse_schema.files.layout import sync_path, write_errors
from dmix.warehouse_schema.files.weights import readable

# What Composer's checkpoints hold beside tensors and plain values: the state of numpy's generator,
# durations, and the version of torch. None of them runs code when it is made.
_ALLOWED_TYPES = [
    _reconstruct,
    np.ndarray,
    np.dtype,
    *(type(np.dtype(name)) for name in ("u1", "u4", "u8", "i8", "f4", "f8")),
    timedelta,
    TorchVersion,
]
_PARTS = {"model", "optimizers", "callbacks", "timestamp"}
"""What a checkpoint of a run has to have, below `state`."""
# First moment of AdamW over the root of the second one. For decay rates of 0.9 and 0.99999 it is 73 at most.
_MOST_MEAN = 1000.0
_UNDERFLOW = 1e-12
"""Gradients below this have squares that may be 0."""
# Largest mean of squares of a gradient; a larger one stops its weight for good, without a word.
_MOST_SQUARE = 1e20
_READ_PARTS = _PARTS | {"scaler", "rank_zero_seed", "run_name"}
"""What Composer is given of it. It evaluates the texts below `algorithms` as Python (0.32), and takes any
attribute of a scheduler, whose rates follow from the timestamp and the settings."""


class _Saver(CheckpointSaver):
    """Composer's saver that waits for the disk, and keeps nothing that is not whole or not finite.

    Composer (0.32) puts a list of all that it ever saved into every checkpoint, which so grows with the
    run; it uses it nowhere, and here it stays empty.

    Attributes:
        saved: Told of each file that is on disk, on the first rank.
    """

    saved: Callable[[Path], object] = staticmethod(lambda path: None)

    def _save_checkpoint(self, state: State, logger: Logger) -> None:
        check_finite(state)
        folder = Path(self.folder.replace("{{", "{").replace("}}", "}"))
        path = folder / FILE_NAME.format(epoch=state.timestamp.epoch.value, batch=state.timestamp.batch.value)
        try:
            with write_errors(folder):
                super()._save_checkpoint(state, logger)
                if dist.get_global_rank() == 0:
                    sync_path(path)
                    sync_path(folder)
                    self.saved(path)
                    forget_set_aside(folder)
        except BaseException:
            if dist.get_global_rank() == 0:
                path.unlink(missing_ok=True)
            raise

    def state_dict(self) -> dict[str, Any]:
        self.all_saved_checkpoints_to_timestamp.clear()
        return {}


def due(
    settings: TrainingSettings, *, stopping: Callable[[], bool], last_batch: Callable[[], int]
) -> Callable[[State, Event], bool]:
    """Composer's question "save now?" answered from the settings.

    The end of a step is only asked about after its feedback is known, so that a checkpoint never
    lies between the last batch of a step and its score.

    Args:
        settings: The two intervals.
        stopping: True once the run was asked to stop; then the next batch is saved.
        last_batch: Number of batches of the step under way.
    """

    def save_now(state: State, event: Event) -> bool:
        batch, step = state.timestamp.batch.value, state.timestamp.epoch.value
        if event == Event.EPOCH_CHECKPOINT:
            regular = settings.checkpoint_steps > 0 and step % settings.checkpoint_steps == 0
            # stop_training() has moved the end to now: this was the last step
            ended = state.max_duration is not None and state.timestamp >= state.max_duration
            last = ended and (settings.keep == "all" or settings.checkpoint_steps > 0)
            return regular or last or stopping()
        if state.timestamp.batch_in_epoch.value == last_batch():
            return False
        inside = settings.checkpoint_batches > 0 and batch % settings.checkpoint_batches == 0
        return event == Event.BATCH_CHECKPOINT and (inside or stopping())

    return save_now


def make_saver(
    folder: Path,
    settings: TrainingSettings,
    *,
    resumed_from: Path | None,
    save_now: Callable[[State, Event], bool],
    saved: Callable[[Path], object] = lambda path: None,
) -> CheckpointSaver:
    """Composer's saver, writing into `folder` and keeping the newest few.

    Args:
        folder: `runs/<id>/checkpoints`.
        settings: How many to keep.
        resumed_from: The checkpoint that the run goes on from; later ones were set aside.
        save_now: From `due`.
        saved: Told of each file that is on disk, on the first rank.
    """
    saver = _Saver(
        folder=str(folder).replace("{", "{{").replace("}", "}}"),
        filename=FILE_NAME,
        remote_file_name=None,
        latest_filename=None,
        latest_remote_file_name=None,
        save_interval=save_now,
        overwrite=True,
        num_checkpoints_to_keep=settings.checkpoints_kept,
    )
    saver.saved = saved
    # those of earlier attempts take part in the rotation
    saver.saved_checkpoints = [str(path) for path in checkpoints(folder)] if resumed_from is not None else []
    return saver


def check_finite_weights(model: torch.nn.Module) -> None:
    """As `check_finite`, for the weights alone."""
    found = unusable_weights(model)
    if found:
        raise TrainingError(f"weights {found}")


def check_types(weights: Mapping[str, Any], model: torch.nn.Module) -> None:
    """Raises a ValueError if stored weights are of other number types, which torch turns into those of the
    model."""
    types = {_plain_name(name): value.dtype for name, value in model.state_dict().items()}
    for name, value in weights.items():
        if isinstance(value, torch.Tensor) and types.get(_plain_name(name), value.dtype) != value.dtype:
            raise ValueError(f"its weight {name} has the type {value.dtype}")


def check_finite(state: State) -> None:
    """Refuses weights that are not finite or out of range, and moments of the optimiser that are not finite:
    nothing good follows from them.

    Raises:
        TrainingError: If there are any on this rank.
    """
    check_finite_weights(state.model)
    for optimizer in state.optimizers:
        for moments in optimizer.state.values():
            for name, value in moments.items():
                if isinstance(value, torch.Tensor) and not bool(torch.isfinite(value).all()):
                    raise TrainingError(f"the optimiser's state is not finite ({name})")


def check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raises a ValueError unless each weight has no state, or finite moments of its shape that gradients can
    leave: by Cauchy-Schwarz, a mean of them is no larger than a multiple of the root of that of squares."""
    bounded = all(group["betas"][0] ** 2 < group["betas"][1] for group in optimizer.param_groups)
    for weight, state in optimizer.state.items():
        if not isinstance(weight, torch.Tensor):
            raise ValueError("it is of a model with more weights")
        if not state:
            continue
        moments = [state.get(name) for name in ("exp_avg", "exp_avg_sq")]
        if not all(
            isinstance(moment, torch.Tensor)
            and moment.shape == weight.shape
            and bool(torch.isfinite(moment).all())
            for moment in moments
        ):
            raise ValueError("its moments are not those of the model's weights, or are not finite")
        if not 1 <= float(state["step"]) < math.inf or bool((moments[1] < 0).any()):
            raise ValueError("its number of steps is none, or a second moment is negative")
        mean, square = moments
        if bool((square > _MOST_SQUARE).any()):
            raise ValueError(f"a second moment is above {_MOST_SQUARE:g}")
        if bounded and bool((mean.abs() > _MOST_MEAN * square.sqrt() + _UNDERFLOW).any()):
            raise ValueError("a first moment is larger than the second one allows")


def load_checkpoint(
    path: Path | str, *, map_location: str = "cpu", mmap: bool = False, called: Path | None = None
) -> Any:
    """What a checkpoint holds; no code of the file is run.

    Args:
        path: The file.
        map_location: Device of the tensors.
        mmap: Read tensors when they are used.
        called: What messages call the file; None for its path.

    Raises:
        InputError: If it is damaged, or holds objects of other types than dmix writes.
    """
    try:
        with torch.serialization.safe_globals(_ALLOWED_TYPES):
            return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        found = next(
            (line for line in str(error).splitlines() if "GLOBAL" in line or "Unsupported" in line), ""
        )
        raise InputError(
            f"checkpoint {called or path} contains objects that could run code "
            f"({found.strip()[:200] or 'an unknown type'}), and dmix does not load them; remove this "
            "file to resume from the previous checkpoint"
        ) from None
    except Exception as error:  # a damaged archive, or one made by hand: the unpickler raises many kinds
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"checkpoint {called or path} is damaged ({first_line(error)}); remove this file to resume "
            "from the previous checkpoint"
        ) from error


def load_run_checkpoint(
    path: Path | str,
    *,
    map_location: str = "cpu",
    mmap: bool = False,
    of: Collection[str] = (),
    called: Path | None = None,
) -> Any:
    """As `load_checkpoint`, of a file that Composer saved for a run.

    Args:
        path: The file.
        map_location: Device of the tensors.
        mmap: Read tensors when they are used.
        of: Names of the run; any, if there are none.
        called: What messages call the file; None for its path.

    Raises:
        InputError: If it is another file, or of another run.
    """
    content = load_checkpoint(path, map_location=map_location, mmap=mmap, called=called)
    path = called or path
    state = content.get("state") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(state.get(part), dict) for part in _PARTS):
        raise InputError(
            f"{path} is not the checkpoint of a run; remove this file to resume from the previous checkpoint"
        )
    if of and state.get("run_name", next(iter(of))) not in of:
        raise InputError(
            f"checkpoint {path} belongs to run {state['run_name']!r}, not to {', '.join(sorted(of))};"
            " remove it to resume from the previous one"
        )
    return {**content, "state": {name: part for name, part in state.items() if name in _READ_PARTS}}


@contextmanager
def without_unpickling(*, of: Collection[str] = ()) -> Iterator[None]:
    """Lets Composer read checkpoints by `load_run_checkpoint`, and looks at what it took from them.

    Composer has no setting for that. In the body, what it cannot take from a checkpoint, and weights, moments
    or places that no run has, are an `InputError` that names the file.
    """
    read, load = composer_checkpoint._torch_load_with_validation, composer_checkpoint.load_checkpoint
    asked: list[tuple[Path, State]] = []

    def load_and_check(path: str, state: State, *args: Any, **kwargs: Any) -> Any:
        fix = "remove this file to resume from the previous checkpoint"
        asked.append((Path(path), state))
        settings = [_settings_of(optimizer) for optimizer in state.optimizers]
        with readable(Path(path), what="a checkpoint of this run", fix=fix):
            random_states = load(path, state, *args, **kwargs)
            for optimizer, groups in zip(state.optimizers, settings, strict=True):
                _take_settings(optimizer, groups)
            _check_loaded(Path(path), state, random_states)
        return random_states

    def read_safely(path: Path | str, map_location: str) -> Any:
        # Composer reads a link of its own to the file that it was asked for
        called, state = asked[-1] if asked else (None, None)
        content = load_run_checkpoint(path, map_location=map_location, of=of, called=called)
        if state is not None:
            _check_content(content, state)
        return content

    composer_checkpoint._torch_load_with_validation = read_safely
    composer_checkpoint.load_checkpoint = load_and_check
    try:
        yield
    finally:
        composer_checkpoint._torch_load_with_validation = read
        composer_checkpoint.load_checkpoint = load


def _settings_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """What decides an update beside weights, moments and rates, for each group of weights."""
    ours = ("params", "lr", "initial_lr")
    return [{name: group[name] for name in group if name not in ours} for group in optimizer.param_groups]


def _take_settings(optimizer: torch.optim.Optimizer, groups: list[dict[str, Any]]) -> None:
    """Gives an optimiser back the settings of its run, which a checkpoint replaces.

    Raises:
        ValueError: If the checkpoint has other groups of weights, or a rate above the peak rate.
    """
    if len(optimizer.param_groups) != len(groups):
        raise ValueError("its optimiser has other groups of weights")
    for group, settings in zip(optimizer.param_groups, groups, strict=True):
        group |= settings
        rate, peak = group["lr"], group.get("initial_lr", group["lr"])
        if not (isinstance(rate, float) and isinstance(peak, float) and 0 <= rate <= peak * 1.001 < math.inf):
            raise ValueError(f"its learning rate is {str(rate)[:40]}, of at most {str(peak)[:40]}")


def _check_content(content: dict[str, Any], state: State) -> None:
    """Raises a ValueError unless a checkpoint holds all that a run goes on from, in the types of its weights.

    Composer leaves out what is missing, with a warning at most, and turns numbers of another type into the
    weights' own.
    """
    found = content["state"]
    if not isinstance(content.get("rng"), list) or not content["rng"]:
        raise ValueError("it has no random states")
    for callback in state.callbacks:
        name, loads = type(callback).__qualname__, type(callback).load_state_dict
        is_saver = isinstance(callback, CheckpointSaver)  # it holds nothing, and had other names
        if not is_saver and loads is not Callback.load_state_dict and name not in found["callbacks"]:
            raise ValueError(f"it has no state of {name}")
    check_types(found["model"], state.model)
    for optimizer in state.optimizers:
        moments = found["optimizers"].get(type(optimizer).__qualname__)
        if moments is None or not moments["state"]:
            raise ValueError(f"it has no state of the optimiser {type(optimizer).__qualname__}")
        for name, of_weight in moments["state"].items():
            for moment in ("exp_avg", "exp_avg_sq"):
                kind = of_weight[moment].dtype if moment in of_weight else "nothing"
                if kind != found["model"][name].dtype:
                    raise ValueError(f"a moment of {name} has the type {kind}")


def _plain_name(name: str) -> str:
    """The name of a weight without what wrappers put before it."""
    return ".".join(part for part in name.split(".") if part != "module" and not part.startswith("_fsdp"))


def _check_loaded(path: Path, state: State, random_states: Any) -> None:
    """Raises a ValueError unless a run can go on from what Composer took from a checkpoint."""
    place = FILE_NAME.format(epoch=state.timestamp.epoch.value, batch=state.timestamp.batch.value)
    if place != path.name:
        raise ValueError(f"it holds the state of {place}")
    for callback in state.callbacks:
        if isinstance(callback, MixtureCallback):
            batch_size, streams = callback.settings.batch_size, callback.streams
            check_place(callback.state, state.timestamp, streams=streams, batch_size=batch_size)
    try:
        check_finite(state)
    except TrainingError as error:
        raise ValueError(error.message) from None
    for optimizer in state.optimizers:
        check_moments(optimizer)
    rank = dist.get_global_rank()
    if random_states is not None and rank < len(random_states):
        own = random_states[rank]
        torch.Generator().set_state(own["torch"])
        random.Random().setstate(own["python"])
        np.random.RandomState().set_state(own["numpy"])
