"""A run whose checkpoints are evaluated."""

from dataclasses import replace

import pytest

from dmix.training.run.config import make_config
from dmix.training.run.launch import start_run
from dmix.training.run.request import RunRequest

RUN = "judged"


@pytest.fixture(scope="session")
def judged_run(tiny_warehouse, fast_training, tmp_path_factory):
    """A run of three steps with two checkpoints, of which the last is damaged, and a result."""
    model = tmp_path_factory.mktemp("judged") / "model.yaml"
    model.write_text(
        "architecture: llama\n"
        "config: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2}\n"
    )
    config = make_config(
        tiny_warehouse,
        RunRequest(steps=3, samples_per_step=16),
        model=str(model),
        controller="natural",
        training=replace(fast_training, checkpoint_steps=1, checkpoints_kept=3),
        run_id=RUN,
    )
    start_run(tiny_warehouse, config, progress=lambda line: None)
    return tiny_warehouse
