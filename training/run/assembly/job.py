"""What a run is made of, and its dataset opened."""

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from dmix.mixing.controllers import Controller
from dmix.mixing.delivery.dataset import MixedDataset
from dmix.mixing.delivery.shared_streams import make_cache_folder
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.mixing.trajectories.objectives import Environment
from dmix.training.model.settings import ModelSettings, TrainingSettings
from dmix.training.run.assembly.shards import check_shards
from dmix.warehouse_schema.errors import (
    InputError,
    LockHeldError,
)
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.files.names import from_home

KINDS = ("guided", "baseline", "proxy", "base")


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Everything that a run is made of.

    Attributes:
        run_id: Name of the run.
        kind: One of `KINDS`.
        streams: Folder of the dataset.
        streams_url: Where its shards are downloaded from; None if they are in `streams`.
        manifest: The dataset.
        model: Path of a model file or checkpoint folder, a hub id, or settings.
        controller: Chooses the mixtures.
        plan: R, B, seed and the rule for exhausted domains.
        steps: M.
        training: How the model is trained.
        environment: What it is scored on; None for no scores.
        optimizer: File with an optimiser's state to start from.
        result: Folder that the trained model goes to; None keeps none.
        allow_other_tokenizer: Take a model that comes with another tokenizer than the dataset's.
        gradients_every: Steps between two measurements of effects by gradients of the model; 0: none.
        keep_checkpoints: False for runs that are cheaper to repeat than to resume.
        config: Plain values for `run_started`.
        content: Digests of what the run reads elsewhere: items of objectives, code of controllers.
    """

    run_id: str
    kind: str
    streams: Path
    manifest: DatasetManifest
    model: str | ModelSettings
    controller: Controller
    plan: PlanSettings
    steps: int
    training: TrainingSettings
    environment: Environment | None = None
    streams_url: str | None = None
    optimizer: Path | None = None
    result: Path | None = None
    allow_other_tokenizer: bool = False
    gradients_every: int = 0
    keep_checkpoints: bool = True
    config: dict[str, Any] = field(default_factory=dict)
    content: dict[str, str] = field(default_factory=dict)

    @property
    def planned_batches(self) -> int:
        """Global batches of all steps, if the data lasts."""
        return self.steps * self.plan.step_samples // self.plan.batch_size


def open_streams(job: TrainingJob) -> MixedDataset:
    """The dataset, from the warehouse or through a cache of remote shards.

    Runs that are not resumed (proxies) are trained several at a time on a machine; each takes the
    first cache that none of the others uses.

    Raises:
        InputError: If the training settings do not fit, or the streams or their cache cannot be used.
        VerificationError: If the indexes or local shards are not those of the manifest.
    """
    settings, name = job.training, job.manifest.dataset
    remote = f"{settings.streams_url.rstrip('/')}/{name}" if settings.streams_url else job.streams_url
    if remote is None:
        if settings.cache_folder or settings.cache_limit:
            raise InputError(
                "cache_folder and cache_limit have no effect on local streams; set streams_url, or leave "
                "both out of the training file"
            )
        check_shards(job.manifest, job.streams)
        return MixedDataset(job.manifest, job.streams)
    cache = from_home(settings.cache_folder or Path(tempfile.gettempdir(), f"dmix-cache-{os.getuid()}"))
    make_cache_folder(cache)
    opened = partial(MixedDataset, job.manifest, remote=remote, cache_limit=settings.cache_limit)
    if job.keep_checkpoints:
        return opened(cache / name)
    numbers = count()
    while True:
        with suppress(LockHeldError):
            return opened(cache / f"{name}-{next(numbers)}", cache_wait_seconds=0)
