"""What a process is set to, kept and put back: generators, modes of torch, numpy and Python, the folder,
environment, import path, handlers of signals and exceptions, streams, logging and sockets."""

import decimal
import gc
import locale
import logging
import multiprocessing
import os
import random
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Puts back what the body changes of random states, of torch's modes, and of the process.

    What it cannot put back are threads that go on, limits of resources, functions that were replaced, and
    what a module changes when it is imported.

    A copy of the process that the body has forked and let go on ends here: there is one run.
    """
    process, folder, depth = os.getpid(), Path.cwd(), sys.getrecursionlimit()
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with ExitStack() as stack:
        stack.callback(_modes_of_torch())
        stack.callback(_settings_of_python())
        stack.callback(_hooks_of_python())
        stack.callback(_ways_to_end())
        stack.callback(np.random.set_state, numpy_state)
        stack.callback(random.setstate, python_state)
        stack.callback(sys.setrecursionlimit, depth)
        stack.callback(os.chdir, folder)
        stack.enter_context(np.errstate())
        stack.enter_context(np.printoptions())
        stack.enter_context(warnings.catch_warnings())
        try:
            yield
        finally:
            if os.getpid() != process:
                os._exit(0)


def _settings_of_python() -> Callable[[], None]:
    """A function that puts back environment, streams, logging and what else Python is set to now."""
    environment, streams = dict(os.environ), (sys.stdin, sys.stdout, sys.stderr)
    mask = os.umask(0o077)  # asking is setting
    os.umask(mask)
    collects, context = gc.isenabled(), decimal.getcontext().copy()
    language, longest_digits = locale.setlocale(locale.LC_ALL), sys.get_int_max_str_digits()
    loggers = [logging.getLogger(name) for name in ("", "dmix")]
    levels, handlers = [one.level for one in loggers], [list(one.handlers) for one in loggers]
    least = logging.root.manager.disable

    def put_back() -> None:
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        sys.stdin, sys.stdout, sys.stderr = streams
        os.umask(mask)
        (gc.enable if collects else gc.disable)()
        decimal.setcontext(context)
        if locale.setlocale(locale.LC_ALL) != language:
            locale.setlocale(locale.LC_ALL, language)
        sys.set_int_max_str_digits(longest_digits)
        logging.disable(least)
        for one, level, own in zip(loggers, levels, handlers, strict=True):
            one.setLevel(level)
            one.handlers[:] = own

    return put_back


def _hooks_of_python() -> Callable[[], None]:
    """A function that puts back where Python imports from, whom it calls, and how it waits and forks."""
    places = [(sys, "excepthook"), (sys, "unraisablehook"), (sys, "displayhook"), (threading, "excepthook")]
    hooks = [getattr(place, name) for place, name in places]
    path, folders = sys.path, list(sys.path)
    seconds, start_method = socket.getdefaulttimeout(), multiprocessing.get_start_method(allow_none=True)
    watchers = [
        (sys.getprofile, sys.setprofile),
        (sys.gettrace, sys.settrace),
        (threading.getprofile, threading.setprofile),
        (threading.gettrace, threading.settrace),
    ]
    watching = [get() for get, _ in watchers]

    def put_back() -> None:
        for (get, put), one in zip(watchers, watching, strict=True):
            if get() is not one:
                put(one)  # type: ignore[arg-type]
        for (place, name), hook in zip(places, hooks, strict=True):
            setattr(place, name, hook)
        sys.path = path
        if path != folders:
            path[:] = folders
        socket.setdefaulttimeout(seconds)
        if multiprocessing.get_start_method(allow_none=True) != start_method:
            multiprocessing.set_start_method(start_method, force=True)

    return put_back


def _ways_to_end() -> Callable[[], None]:
    """A function that puts back how this process is told to stop: handlers, blocked signals, timers."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None  # no other thread may set a handler
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    idle = [timer for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF) if not any(signal.getitimer(timer))]

    def put_back() -> None:
        for timer in idle:
            if any(signal.getitimer(timer)):
                signal.setitimer(timer, 0)
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    return put_back


def _modes_of_torch() -> Callable[[], None]:
    """A function that puts back the modes and generators that torch has now."""
    import torch  # naming a controller must not cost this import

    state, threads = torch.get_rng_state(), torch.get_num_threads()
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    gpu_state = torch.cuda.get_rng_state() if on_gpu else None
    gradients, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    number_type, device = torch.get_default_dtype(), _default_device()
    autocast = {kind: torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")}
    cast_types = {kind: torch.get_autocast_dtype(kind) for kind in autocast}
    caches, depth = torch.is_autocast_cache_enabled(), _autocast_depth()
    anomalies = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    kernels, hooks, tensors = _kernels_of_torch(), _hooks_of_all_modules(), _modes_of_tensors()
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
        tensors()
        kernels()
        hooks()
        torch.set_anomaly_enabled(*anomalies)
        torch.set_autocast_cache_enabled(caches)
        for kind, enabled in autocast.items():
            torch.set_autocast_enabled(kind, enabled)
            torch.set_autocast_dtype(kind, cast_types[kind])
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


def _kernels_of_torch() -> Callable[[], None]:
    """A function that puts back which kernels torch takes, and at which precision they compute."""
    import torch

    backends = torch.backends
    precision = torch.get_float32_matmul_precision()
    reduced = (
        "allow_tf32",
        "allow_fp16_reduced_precision_reduction",
        "allow_bf16_reduced_precision_reduction",
    )
    places = [
        *((backends.cuda.matmul, name) for name in reduced),
        *((backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic", "allow_tf32")),
    ]
    flags = [getattr(place, name) for place, name in places]
    attention = {kind: getattr(backends.cuda, f"{kind}_sdp_enabled")() for kind in _ATTENTION}
    on_cpu, flushes = torch._C._get_mkldnn_enabled(), _flushes_denormals()

    def put_back() -> None:
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)
        for (place, name), flag in zip(places, flags, strict=True):
            if getattr(place, name) != flag:
                setattr(place, name, flag)
        for kind, enabled in attention.items():
            getattr(backends.cuda, f"enable_{kind}_sdp")(enabled)
        torch._C._set_mkldnn_enabled(on_cpu)
        if _flushes_denormals() != flushes:
            torch.set_flush_denormal(flushes)

    return put_back


def _flushes_denormals() -> bool:
    """Whether torch takes the smallest numbers for zero, which it says of no other way."""
    import torch

    with torch.no_grad():
        return float(torch.full((1,), 1e-40, dtype=torch.float32, device="cpu").mul(1.0)) == 0.0


def _hooks_of_all_modules() -> Callable[[], None]:
    """A function that takes hooks away that were since registered for every module there is."""
    from torch.nn.modules import module

    tables = [
        table
        for name, table in vars(module).items()
        if name.startswith("_global_") and isinstance(table, dict)
    ]
    before = [dict(table) for table in tables]

    def put_back() -> None:
        for table, kept in zip(tables, before, strict=True):
            table.clear()
            table.update(kept)

    return put_back


def _modes_of_tensors() -> Callable[[], None]:
    """A function that ends modes that see every operation, and takes hooks of all saved tensors away."""
    import torch
    from torch.utils._python_dispatch import _get_current_dispatch_mode

    autograd: Any = torch._C._autograd
    functions, dispatches = torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()
    allowed, hooked = autograd._saved_tensors_hooks_is_enabled(), _saved_tensors_have_hooks()

    def put_back() -> None:
        while torch._C._len_torch_dispatch_stack() > dispatches:
            mode = _get_current_dispatch_mode()
            mode.__exit__(None, None, None)
            _kept.append(mode)  # torch 2.7 frees one mode too often when it is the last to hold it
        while torch._C._len_torch_function_stack() > functions:
            _kept.append(torch._C._pop_torch_function_stack())
        if allowed and not autograd._saved_tensors_hooks_is_enabled():
            autograd._saved_tensors_hooks_enable()
        while not hooked and _saved_tensors_have_hooks():
            autograd._pop_saved_tensors_default_hooks()

    return put_back


def _saved_tensors_have_hooks() -> bool:
    """Whether tensors that are saved for gradients pass through hooks, which torch does not say."""
    import torch

    with torch.inference_mode(False), torch.enable_grad():
        given = torch.ones(1, requires_grad=True, device="cpu")
        try:
            made = given * given
            made.grad_fn._raw_saved_self.register_hooks(_same, _same)  # type: ignore[union-attr]
        except Exception:  # those of a controller fail, or there are some already
            return True
    return False


def _same(tensor: "torch.Tensor") -> "torch.Tensor":
    return tensor


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


_ATTENTION = ("flash", "mem_efficient", "math", "cudnn")

_kept: list[object] = []
"""Modes that were entered to undo those of a controller, or taken away; they last as long as the process."""
