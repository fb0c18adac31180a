"""Models and tokenizers of the Hugging Face hub: dmix asks once, and says the result in its own words.

When the hub cannot be reached, huggingface_hub (0.36) tries each file six times. This takes half a minute
for each file, and each try logs 600 characters. A mistyped path of a checkpoint looks like a hub id, so a
newcomer would see all of it.
"""

import functools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from dmix.warehouse_schema.errors import first_line

_HUB = "https://huggingface.co"


@functools.cache
def hub_is_known() -> bool:
    """Whether this machine finds the address of the hub; True behind a proxy, which finds it itself."""
    url = urlsplit(os.environ.get("HF_ENDPOINT", _HUB))
    if getproxies().keys() & {"https", "http", "all"}:
        return True
    try:
        socket.getaddrinfo(url.hostname, url.port or 443)
    except OSError:
        return False
    return True


@contextmanager
def asking_hub(name: str) -> Iterator[dict[str, Any]]:
    """Arguments for `from_pretrained` or `snapshot_download`; the log lines of the hub's client are left out.

    Without a way to the hub, the arguments restrict the call to the folder and to the files that this machine
    downloaded before.

    Args:
        name: A folder or a hub id.
    """
    if Path(name).is_dir():
        yield {}
        return
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield {} if hub_is_known() else {"local_files_only": True}
    finally:
        logging.set_verbosity(level)


def not_found(name: str, error: Exception) -> str:
    """The beginning of a message: there is no such folder, and the hub does not help either.

    Args:
        name: What was asked for, which is no folder.
        error: What the hub's client or transformers raised.
    """
    if not hub_is_known():
        return f"there is no folder {name}, and this machine cannot reach the Hugging Face hub"
    return (
        f"there is no folder {name}, and the Hugging Face hub does not provide {name!r} ({first_line(error)})"
    )
