"""Fits that are kept beside the set they were made from: `trajectories/<set>/fits/<kind>-<key>.json`.

The key is a digest of everything that went into the fit, so a run that goes on, or a second one,
finds it, and a set that has grown gets a new one. Deleting the folder loses nothing but time.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.warehouse_schema.files.layout import Warehouse, publish_json, read_json

# Part of every key: a change of what a fit does must not find the fits of before.
_VERSION = 1


def kept_fit(
    warehouse: Warehouse,
    set_name: str,
    *,
    kind: str,
    arrays: Sequence[NDArray[Any]],
    settings: dict[str, Any],
    fit: Callable[[], Any],
) -> Any:
    """What `fit` gave for this data and these settings, now or when it was first asked for.

    Args:
        warehouse: Holds the set.
        set_name: The set.
        kind: First part of the file's name.
        arrays: The data of the fit.
        settings: Plain values that decide it.
        fit: Makes a value that JSON can hold.

    Raises:
        InputError: If the file is damaged.
    """
    path = warehouse.trajectories(set_name) / "fits" / f"{kind}-{_key(arrays, settings)}.json"
    if not path.is_file():
        publish_json(path, fit())
    return read_json(path)


def newest_fit(warehouse: Warehouse, set_name: str, *, kind: str) -> Any:
    """What the fit of this kind that was made last gave; None if none is kept.

    Raises:
        InputError: If the file is damaged.
    """
    kept = (warehouse.trajectories(set_name) / "fits").glob(f"{kind}-*.json")
    # the kind regmix-d starts with another kind's name: a key has no hyphen
    own = [path for path in kept if "-" not in path.stem.removeprefix(f"{kind}-")]
    newest = max(own, key=lambda path: (path.stat().st_mtime, path.name), default=None)
    return None if newest is None else read_json(newest)


def _key(arrays: Sequence[NDArray[Any]], settings: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([_VERSION, settings], sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
