"""Runs of probes: short runs with more of one domain, through the same loop as every other run.

A probe is trained as a run of its own length, with its own warm-up and schedule, and scored once, at
its end. Its item scores are a file as soon as it is done, so a killed set of probes goes on where it
was; nothing else of it is kept.
"""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from composer.utils import get_device
from numpy.typing import NDArray

from dmix.mixing.controllers.fixed import constant
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.mixing.effects.probes import Probe
from dmix.mixing.space.domains import Vector
from dmix.mixing.trajectories.encoding import load_tokenizer_file
from dmix.training.farm.probe_task import ProbeTask
from dmix.training.farm.task import order_seed
from dmix.training.model.models import load_model
from dmix.training.model.settings import ModelSettings
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.assembly.result import OPTIMIZER_FILE
from dmix.training.run.run import train
from dmix.training.scoring.environment import Scorer
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_bytes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeScores:
    """What one probe came to.

    Attributes:
        objectives: Name of the objective of each item.
        items: Id of each item.
        scores_I: Mean log-probability of the answer's tokens, nats per token.
        delivered_N: Shares that it was trained on; all 0 for the model before any training.
    """

    objectives: tuple[str, ...]
    items: tuple[str, ...]
    scores_I: NDArray[np.float64]
    delivered_N: Vector

    def means(self, names: tuple[str, ...]) -> Vector:
        """Score of each objective (Eq. 1), shape (D,)."""
        of_item = np.array(self.objectives)
        return np.array([self.scores_I[of_item == name].mean() for name in names])

    def table(self, probe: str) -> pa.Table:
        """One row for each item."""
        size = len(self.items)
        return pa.table(
            {
                "probe": [probe] * size,
                "objective": list(self.objectives),
                "item": list(self.items),
                "score": self.scores_I,
            }
        )


def probe_scores(task: ProbeTask, probe: Probe, *, folder: Path) -> ProbeScores:
    """The scores of a probe: read if `folder` has them, else trained, scored and kept there."""
    path = folder / f"{probe.probe_id}.parquet"
    if not path.is_file():
        with tempfile.TemporaryDirectory(prefix="dmix-probe-") as work:
            found = _trained(task, probe, work=Path(work))
        table = found.table(probe.probe_id).replace_schema_metadata(
            {b"delivered": ",".join(map(repr, found.delivered_N.tolist())).encode()}
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        publish_bytes(path, sink.getvalue().to_pybytes())
    try:
        table = pq.read_table(path, partitioning=None)
        delivered = table.schema.metadata[b"delivered"].decode()
        return ProbeScores(
            objectives=tuple(table["objective"].to_pylist()),
            items=tuple(table["item"].to_pylist()),
            scores_I=table["score"].to_numpy(),
            delivered_N=np.array([float(share) for share in delivered.split(",")]),
        )
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error}); remove this file and run the same command again"
        ) from None


def starting_scores(task: ProbeTask) -> ProbeScores:
    """The scores of the model before any training."""
    return _scored(task, task.model, delivered_N=np.zeros(len(task.manifest.streams)))


def _trained(task: ProbeTask, probe: Probe, *, work: Path) -> ProbeScores:
    model = task.model
    optimizer = Path(model, OPTIMIZER_FILE) if isinstance(model, str) else None
    job = TrainingJob(
        run_id=probe.probe_id,
        kind="proxy",
        streams=task.warehouse.stream(task.manifest.dataset),
        streams_url=task.warehouse.stream_url(task.manifest.dataset),
        manifest=task.manifest,
        model=model,
        controller=constant(probe.mixture_N, name=probe.probe_id),
        plan=PlanSettings(
            step_samples=task.step_samples,
            batch_size=task.training.batch_size,
            seed=order_seed(probe.probe_id, seed=task.training.seed),
            exhaustion="repeat",
            max_passes=task.max_passes,
        ),
        steps=task.steps,
        training=task.training,
        optimizer=optimizer if optimizer is not None and optimizer.is_file() else None,
        result=work / "model",
        keep_checkpoints=False,
    )
    summary = train(job, folder=work, progress=logger.debug)
    delivered_N = summary.samples_N / max(1, int(summary.samples_N.sum()))
    return _scored(task, str(job.result), delivered_N=delivered_N)


def _scored(task: ProbeTask, model: str | ModelSettings, *, delivered_N: Vector) -> ProbeScores:
    loaded = get_device(None).module_to_device(load_model(model, task.manifest))
    scorer = Scorer(
        task.environment,
        tokenizer=load_tokenizer_file(
            task.warehouse.stream(task.manifest.dataset) / "tokenizer.json", task.manifest.tokenizer
        ),
        tokenizer_file=task.manifest.tokenizer,
        max_length=loaded.max_length,
    )
    return ProbeScores(
        objectives=tuple(scorer.item_objectives),
        items=tuple(scorer.item_ids),
        scores_I=scorer.item_scores(loaded),
        delivered_N=delivered_N,
    )
