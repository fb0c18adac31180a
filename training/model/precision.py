"""Whether a model computes in bf16 here, and the context that makes it do so.

Composer knows bf16 on GPUs alone. On a CPU the model itself enters the context (`LanguageModel.bf16_on_cpu`):
weights, gradients and moments stay fp32, matrix products run in bf16, as on a GPU.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from composer.core import get_precision_context
from composer.devices import DeviceGPU
from composer.utils import get_device

from dmix.training.model.settings import TrainingSettings


def on_gpu() -> bool:
    """Whether training runs on a GPU."""
    return isinstance(get_device(None), DeviceGPU)


def computes_in_bf16(settings: TrainingSettings) -> bool:
    """Whether a run with these settings computes in bf16 on this machine."""
    return settings.precision == "bf16" or (settings.precision == "auto" and on_gpu())


def composer_precision(settings: TrainingSettings) -> str:
    """What Composer is asked for; it refuses bf16 on a CPU, where the model enters it by itself."""
    return "amp_bf16" if computes_in_bf16(settings) and on_gpu() else "fp32"


def precision_context(settings: TrainingSettings) -> AbstractContextManager[None]:
    """The context of forward passes, for loops other than Composer's."""
    if computes_in_bf16(settings) and not on_gpu():
        return cpu_bf16()
    context: AbstractContextManager[None] = get_precision_context(composer_precision(settings))
    return context


def cpu_bf16(enabled: bool = True) -> AbstractContextManager[None]:
    """bf16 for products on the CPU, or nothing."""
    if not enabled:
        return nullcontext()
    context: AbstractContextManager[None] = torch.autocast("cpu", dtype=torch.bfloat16)
    return context
