"""How long training would take, measured on this machine with a few real batches."""

import time

import torch
from composer.utils import get_device

from dmix.training.model.estimate.speed import Speed
from dmix.training.model.models import load_model
from dmix.training.model.precision import precision_context
from dmix.training.model.settings import ModelSettings, TrainingSettings
from dmix.warehouse_schema.files.manifests import DatasetManifest

_ENOUGH_SECONDS = 1.0
_MOST_BATCHES = 10


def measure_speed(model: str | ModelSettings, manifest: DatasetManifest, training: TrainingSettings) -> Speed:
    """Trains on a few batches of random ids, in the precision of the run and without an optimiser.

    Args:
        model: As for `load_model`.
        manifest: Dataset that it would train on.
        training: Says how large a batch is.
    """
    network = get_device(None).module_to_device(load_model(model, manifest, lora=training.lora))
    rows = training.rows_at_a_time(training.batch_size)
    generator = torch.Generator().manual_seed(0)
    ids_BL = torch.randint(manifest.tokenizer.vocab_size, (rows, manifest.seq_len), generator=generator)
    ids_BL = ids_BL.to(next(network.parameters()).device)

    def step() -> float:
        network.zero_grad()
        with precision_context(training):
            loss = network({"input_ids": ids_BL})["loss"]
        loss.backward()
        return loss.item()  # waits for the device

    step()
    started, batches = time.perf_counter(), 0
    while batches < _MOST_BATCHES and (batches == 0 or time.perf_counter() - started < _ENOUGH_SECONDS):
        step()
        batches += 1
    seconds = time.perf_counter() - started
    return Speed(network.parameters_count, batches * ids_BL.numel() / seconds)
