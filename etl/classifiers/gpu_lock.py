"""Processes of a machine take turns at its GPUs, so that each GPU holds one copy of a model.

Spark starts a worker a core, and GPUs are fewer. Whoever has a turn brings its weights along and takes
them away again; the others read and tokenise meanwhile. A turn is a lock on a file, which the system
gives back if its holder dies. Processes find a free GPU by themselves, so Spark need not know of any.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_LOOK_SECONDS = 0.01


@contextmanager
def model_at_work(model: "torch.nn.Module") -> Iterator["torch.device"]:
    """The device that `model` is on within the block: a GPU of its own, or the CPU if there is none.

    Args:
        model: Lies on the CPU, before and after. Moves outside of `torch.inference_mode`, which would
            make its weights unfit to move again.
    """
    import torch

    if not torch.cuda.is_available():
        yield torch.device("cpu")
        return
    with turn(_gpu_names()) as index:
        device = torch.device("cuda", index)
        try:
            model.to(device)
            yield device
        finally:
            model.to("cpu")
            torch.cuda.empty_cache()


@contextmanager
def turn(names: Sequence[str], *, folder: Path | None = None) -> Iterator[int]:
    """Index of one of `names` that no other process of this user has a turn at; waits for the first.

    Args:
        names: What there are turns at, for example identifiers of GPUs.
        folder: Where the locks are; by default that of temporary files.
    """
    places = [
        (folder or Path(tempfile.gettempdir())) / f"dmix-{os.getuid()}-turn-{name}.lock" for name in names
    ]
    handles = [os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for place in places]
    try:
        yield _first_free(handles)
    finally:
        for handle in handles:
            os.close(handle)


def _first_free(handles: Sequence[int]) -> int:
    # every process begins at another one, lest all wait at the same
    order = [(os.getpid() + i) % len(handles) for i in range(len(handles))]
    while True:
        for index in order:
            try:
                fcntl.flock(handles[index], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return index
        time.sleep(_LOOK_SECONDS)


def _gpu_names() -> list[str]:
    """Identifiers that a GPU has in every process, whatever CUDA_VISIBLE_DEVICES says."""
    import torch

    return [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]
