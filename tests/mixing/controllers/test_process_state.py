"""What a body sets of the process is put back, also when it fails."""

import decimal
import gc
import locale
import logging
import multiprocessing
import os
import pickle
import random
import signal
import socket
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from dmix.mixing.controllers.process_state import unchanged_process


def cast():
    torch.set_autocast_enabled("cpu", True)
    torch.autocast_increment_nesting()


def mask():
    now = os.umask(0o077)
    os.umask(now)
    return now


def saved_as_zero():
    """Whether gradients come from hooks that save zeros."""
    given = torch.ones(1, requires_grad=True)
    (made,) = torch.autograd.grad(given * given, given)
    return float(made) == 0.0


class Doubling(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {})) * 2


class Halving(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {})) * 0.5


def product():
    return float(torch.mul(torch.ones(1, dtype=torch.float32), 1.0))


CHANGES = {
    "import path": (lambda: list(sys.path), lambda tmp: sys.path.insert(0, str(tmp))),
    "another import path": (lambda: sys.path, lambda tmp: setattr(sys, "path", [str(tmp)])),
    "hook of exceptions": (lambda: sys.excepthook, lambda tmp: setattr(sys, "excepthook", print)),
    "hook of threads": (
        lambda: threading.excepthook,
        lambda tmp: setattr(threading, "excepthook", print),
    ),
    "sockets": (socket.getdefaulttimeout, lambda tmp: socket.setdefaulttimeout(0.001)),
    "profiler": (sys.getprofile, lambda tmp: sys.setprofile(lambda *_: None)),
    "tracer of threads": (threading.gettrace, lambda tmp: threading.settrace(lambda *_: None)),
    "start method": (
        lambda: multiprocessing.get_start_method(allow_none=True),
        lambda tmp: multiprocessing.set_start_method("forkserver", force=True),
    ),
    "hooks of saved tensors": (
        saved_as_zero,
        lambda tmp: torch.autograd.graph.saved_tensors_hooks(torch.zeros_like, lambda t: t).__enter__(),
    ),
    "no hooks of saved tensors": (
        torch._C._autograd._saved_tensors_hooks_is_enabled,
        lambda tmp: torch._C._autograd._saved_tensors_hooks_disable("none"),
    ),
    "mode of functions": (product, lambda tmp: Doubling().__enter__()),
    "mode of operations": (product, lambda tmp: Halving().__enter__()),
    "environment": (lambda: dict(os.environ), lambda tmp: os.environ.update(DMIX_TRIED="1")),
    "environment gone": (lambda: dict(os.environ), lambda tmp: os.environ.clear()),
    "interrupt": (
        lambda: signal.getsignal(signal.SIGINT),
        lambda tmp: signal.signal(signal.SIGINT, signal.SIG_IGN),
    ),
    "blocked signals": (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda tmp: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]),
    ),
    "alarm": (
        lambda: signal.getitimer(signal.ITIMER_PROF)[0] > 0,
        lambda tmp: signal.setitimer(signal.ITIMER_PROF, 1000),
    ),
    "umask": (mask, lambda tmp: os.umask(0o777)),
    "stream": (lambda: sys.stderr, lambda tmp: setattr(sys, "stderr", sys.stdin)),
    "collector": (gc.isenabled, lambda tmp: gc.disable()),
    "decimal": (lambda: decimal.getcontext().prec, lambda tmp: setattr(decimal.getcontext(), "prec", 2)),
    "language": (
        lambda: locale.setlocale(locale.LC_NUMERIC),
        lambda tmp: locale.setlocale(locale.LC_ALL, "C.UTF-8"),
    ),
    "digits": (sys.get_int_max_str_digits, lambda tmp: sys.set_int_max_str_digits(700)),
    "logging": (lambda: logging.root.manager.disable, lambda tmp: logging.disable(logging.CRITICAL)),
    "log level": (
        lambda: logging.getLogger("dmix").level,
        lambda tmp: logging.getLogger("dmix").setLevel(60),
    ),
    "numpy's print": (lambda: str(np.ones(1) / 3), lambda tmp: np.set_printoptions(precision=1)),
    "matmul": (torch.get_float32_matmul_precision, lambda tmp: torch.set_float32_matmul_precision("medium")),
    "cudnn": (
        lambda: torch.backends.cudnn.benchmark,
        lambda tmp: setattr(torch.backends.cudnn, "benchmark", True),
    ),
    "attention": (
        torch.backends.cuda.math_sdp_enabled,
        lambda tmp: torch.backends.cuda.enable_math_sdp(False),
    ),
    "denormal numbers": (
        lambda: float(torch.full((1,), 1e-40) * 1) > 0,
        lambda tmp: torch.set_flush_denormal(True),
    ),
    "autocast's type": (
        lambda: torch.get_autocast_dtype("cpu"),
        lambda tmp: torch.set_autocast_dtype("cpu", torch.float16),
    ),
    "autocast's cache": (
        torch.is_autocast_cache_enabled,
        lambda tmp: torch.set_autocast_cache_enabled(False),
    ),
    "anomalies": (torch.is_anomaly_enabled, lambda tmp: torch.autograd.set_detect_anomaly(True)),
    "hooks": (
        lambda: dict(torch.nn.modules.module._global_forward_hooks),
        lambda tmp: torch.nn.modules.module.register_module_forward_hook(lambda *_: None),
    ),
    "folder": (os.getcwd, os.chdir),
    "recursion": (sys.getrecursionlimit, lambda tmp: sys.setrecursionlimit(5000)),
    "random": (random.getstate, lambda tmp: random.random()),
    "numpy": (lambda: pickle.dumps(np.random.get_state()), lambda tmp: np.random.random(700)),
    "numpy errors": (np.geterr, lambda tmp: np.seterr(all="raise")),
    "filters": (lambda: list(warnings.filters), lambda tmp: warnings.simplefilter("always")),
    "torch": (lambda: torch.get_rng_state().tolist(), lambda tmp: torch.rand(3)),
    "gradients": (torch.is_grad_enabled, lambda tmp: torch.set_grad_enabled(False)),
    "number type": (torch.get_default_dtype, lambda tmp: torch.set_default_dtype(torch.float64)),
    "autocast": (lambda: torch.is_autocast_enabled("cpu"), lambda tmp: cast()),
    "determinism": (
        torch.are_deterministic_algorithms_enabled,
        lambda tmp: torch.use_deterministic_algorithms(True),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("fails", [False, True])
def test_what_the_body_changes_is_put_back(name, fails, tmp_path):
    state, change = CHANGES[name]
    before = state()
    try:
        with unchanged_process():
            change(tmp_path)
            assert state() != before
            if fails:
                raise RuntimeError("the controller fails")
    except RuntimeError:
        assert fails
    assert state() == before


def test_open_blocks_of_autocast_are_closed():
    with unchanged_process():
        cast()
        cast()
    assert torch.autocast_decrement_nesting() == -1  # as many ends as beginnings
    torch.autocast_increment_nesting()


def test_a_copy_of_the_process_ends_with_the_body():
    reading, writing = os.pipe()
    with unchanged_process():
        child = os.fork()
    if child == 0:
        os.write(writing, b"the copy goes on")  # never reached
        os._exit(3)
    _, status = os.waitpid(child, 0)
    os.close(writing)
    assert os.WEXITSTATUS(status) == 0 and os.read(reading, 1) == b""
    os.close(reading)


def test_threads_that_may_set_no_handler_can_ask_a_controller():
    def ask():
        with unchanged_process():
            random.random()
        done.append(True)

    done = []
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert done
