"""What a body sets of the process is put back, also when it fails."""

import os
import pickle
import random
import sys
import warnings

import numpy as np
import pytest
import torch

from dmix.mixing.controllers.process_state import unchanged_process


def cast():
    torch.set_autocast_enabled("cpu", True)
    torch.autocast_increment_nesting()


CHANGES = {
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
