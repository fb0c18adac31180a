"""Checkpoints of a run: when they are due, which ones stay. Composer writes them."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from composer.callbacks import CheckpointSaver
from composer.core import Event, State

from dmix.training.model.settings import TrainingSettings
from dmix.training.run.checkpoint_files import FILE_NAME, checkpoints


class _Saver(CheckpointSaver):
    """Composer's saver without its list of all that it ever saved.

    Composer (0.32) puts that list into every checkpoint, which so grows with the run; it uses it nowhere.
    """

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
            last = state.max_duration is not None and state.timestamp >= state.max_duration
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
) -> CheckpointSaver:
    """Composer's saver, writing into `folder` and keeping the newest few.

    Args:
        folder: `runs/<id>/checkpoints`.
        settings: How many to keep.
        resumed_from: The checkpoint that the run goes on from. Later ones were found damaged.
        save_now: From `due`.
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
    # those of earlier attempts take part in the rotation
    kept = [path for path in checkpoints(folder) if zipfile.is_zipfile(path)]
    saver.saved_checkpoints = [str(path) for path in kept] if resumed_from is not None else []
    return saver
