"""The trained model of a run, kept."""

import os
import shutil
from pathlib import Path

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from dmix.training.model.language_model import LanguageModel
from dmix.training.model.lora import merge_adapters
from dmix.training.model.saving import save_model, try_saving
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.ranks import (
    is_first_rank,
)
from dmix.warehouse_schema.files.layout import publish_folder, write_errors

OPTIMIZER_FILE = "optimizer.pt"


def keep_model(job: TrainingJob, model: LanguageModel, optimizer: torch.optim.Optimizer) -> None:
    """Writes the trained model, visible in one step; rank 0 writes, the others hand over their share.

    The optimiser's state goes with it, except that of sharded weights: only proxies and base models
    are started from one, and those fit on one device.
    """
    assert job.result is not None
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(model.network, options=whole) if model.sharded else None
    if not is_first_rank():
        return
    lora = job.training.lora
    if lora is not None and lora.merge:
        merge_adapters(model.network)
    rate = job.training.peak_rate if lora is None else None
    temporary = job.result.with_name(f".{job.result.name}.{os.getpid()}")
    try:
        save_model(
            model,
            temporary,
            streams=job.streams,
            manifest=job.manifest,
            weights=weights,
            learning_rate=rate,
        )
        if not model.sharded and job.training.keep == "all":
            with write_errors(temporary):
                torch.save(optimizer.state_dict(), temporary / OPTIMIZER_FILE)
        publish_folder(temporary, job.result)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def prepare_result(job: TrainingJob, model: LanguageModel, result: Path) -> None:
    """Removes what a killed attempt left of the trained model, and tries whether it can be saved."""
    for left in result.parent.glob(f".{result.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    try_saving(model, result, streams=job.streams, manifest=job.manifest)
