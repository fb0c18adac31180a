"""Where runs compute in bf16: as asked, or on GPUs where nothing is asked."""

import pytest
import torch

from dmix.training.model import precision
from dmix.training.model.settings import TrainingSettings


@pytest.mark.parametrize(
    ("asked", "gpu", "bf16", "composer"),
    [
        ("bf16", False, True, "fp32"),
        ("bf16", True, True, "amp_bf16"),
        ("auto", False, False, "fp32"),
        ("auto", True, True, "amp_bf16"),
        ("fp32", False, False, "fp32"),
        ("fp32", True, False, "fp32"),
    ],
)
def test_bf16_is_where_it_is_asked_for_or_where_a_gpu_is(monkeypatch, asked, gpu, bf16, composer):
    monkeypatch.setattr(precision, "on_gpu", lambda: gpu)
    settings = TrainingSettings(precision=asked)
    assert precision.computes_in_bf16(settings) == bf16
    assert precision.composer_precision(settings) == composer


@pytest.mark.parametrize(("asked", "inside"), [("bf16", True), ("fp32", False)])
def test_products_on_a_cpu_are_bf16_inside_the_context_alone(monkeypatch, asked, inside):
    monkeypatch.setattr(precision, "on_gpu", lambda: False)
    with precision.precision_context(TrainingSettings(precision=asked)):
        assert torch.is_autocast_enabled("cpu") == inside
    assert not torch.is_autocast_enabled("cpu")
    with precision.cpu_bf16(enabled=False):
        assert not torch.is_autocast_enabled("cpu")
