"""What a process is set to, kept and put back: generators, modes of torch, numpy and Python, the folder."""

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Puts back what the body changes of random states, of torch's modes, and of the process.

    A copy of the process that the body has forked and let go on ends here: there is one run.
    """
    process, folder, depth = os.getpid(), Path.cwd(), sys.getrecursionlimit()
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with ExitStack() as stack:
        stack.callback(_modes_of_torch())
        stack.callback(np.random.set_state, numpy_state)
        stack.callback(random.setstate, python_state)
        stack.callback(sys.setrecursionlimit, depth)
        stack.callback(os.chdir, folder)
        stack.enter_context(np.errstate())
        stack.enter_context(warnings.catch_warnings())
        try:
            yield
        finally:
            if os.getpid() != process:
                os._exit(0)


def _modes_of_torch() -> Callable[[], None]:
    """A function that puts back the modes and generators that torch has now."""
    import torch  # naming a controller must not cost this import

    state, threads = torch.get_rng_state(), torch.get_num_threads()
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    gpu_state = torch.cuda.get_rng_state() if on_gpu else None
    gradients, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    number_type, device = torch.get_default_dtype(), _default_device()
    autocast = {kind: torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")}
    depth = _autocast_depth()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()

    def put_back() -> None:
        if torch.is_inference_mode_enabled() != inference:
            # nobody but its owner can leave the mode; one inside of it is the same to the run
            mode: AbstractContextManager[None] = torch.inference_mode(inference)
            mode.__enter__()
            _kept.append(mode)
        if _default_device() != device:
            torch.set_default_device(device)
            if device is None:
                # torch 2.7 fails where the device was unset, not where it never was set
                del torch._GLOBAL_DEVICE_CONTEXT.device_context
        for kind, enabled in autocast.items():
            torch.set_autocast_enabled(kind, enabled)
        if _autocast_depth() > depth:
            # the outermost block alone drops the casts that it keeps, and weights would stay as they are
            torch.clear_autocast_cache()
        while _autocast_depth() > depth:
            torch.autocast_decrement_nesting()
        if torch.are_deterministic_algorithms_enabled() != deterministic:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_rng_state(state)
        if gpu_state is not None:
            torch.cuda.set_rng_state(gpu_state)
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(number_type)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)

    return put_back


def _autocast_depth() -> int:
    """How many blocks of autocast are open."""
    import torch

    torch.autocast_increment_nesting()
    depth: int = torch.autocast_decrement_nesting()
    return depth


def _default_device() -> "torch.device | None":
    """The default device; None if none was set, where `torch.get_default_device` (2.7) may fail."""
    import torch

    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    found: torch.device | None = None if context is None else context.device
    return found


_kept: list[AbstractContextManager[None]] = []
"""Modes that were entered to undo those of a controller, and last as long as the process."""
