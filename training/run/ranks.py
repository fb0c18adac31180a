"""Several processes that train one run: joining them, and doing something once for all."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from composer.utils import dist, get_device

from dmix.warehouse_schema.errors import DmixError

T = TypeVar("T")

# Ranks wait for each other this long; a controller or a slow rank 0 may take minutes.
RANK_TIMEOUT_SECONDS = 1800.0


def prepare_ranks() -> None:
    """Joins the ranks that the launcher started, and divides the CPU cores among them.

    Two torch threads on two busy cores were seen to be ten times slower than one thread each.
    """
    if dist.get_world_size() > 1:
        dist.initialize_dist(get_device(None), timeout=RANK_TIMEOUT_SECONDS)
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // dist.get_local_world_size()))


def is_first_rank() -> bool:
    """True on the one rank that writes and talks."""
    return dist.get_global_rank() == 0


def on_first_rank(call: Callable[[], T]) -> T:
    """What `call` returns on rank 0, on every rank; a `DmixError` is raised on every rank too."""
    outcome: list[Any] = [None, None]
    if is_first_rank():
        try:
            outcome[0] = call()
        except DmixError as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    result: T = outcome[0]
    return result
