"""Fits that are kept beside the set they were made from: `trajectories/<set>/fits/<kind>-<key>.json`.

The key is a digest of everything that went into the fit, so a run that goes on, or a second one,
finds it, and a set that has grown gets a new one. Deleting the folder loses nothing but time.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.warehouse_schema.errors import NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_json, read_json

# Part of every key: a change of what a fit does must not find the fits of before.
_VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedFit:
    """A fit whose data and settings are known. It does nothing until `prepare` is called.

    Attributes:
        warehouse: Holds the set.
        set_name: The set.
        kind: First part of the file's name.
        arrays: The data of the fit.
        settings: Plain values that decide it.
        fit: Makes a value that JSON can hold; gets what receives lines of progress.
    """

    warehouse: Warehouse
    set_name: str
    kind: str
    arrays: Sequence[NDArray[Any]]
    settings: dict[str, Any]
    fit: Callable[[Callable[[str], None]], Any]

    @property
    def path(self) -> Path:
        """The file that keeps the fit."""
        name = f"{self.kind}-{_key(self.arrays, self.settings)}.json"
        return self.warehouse.trajectories(self.set_name) / "fits" / name

    def prepare(self, *, progress: Callable[[str], None]) -> None:
        """Fits and keeps what was found, unless it is kept already."""
        path = self.path
        if not path.is_file():
            publish_json(path, self.fit(progress))

    def read(self) -> Any:
        """What the fit gave when it was prepared.

        Raises:
            NotFoundError: If it was not prepared for this data and these settings.
            InputError: If the file is damaged.
        """
        path = self.path
        if not path.is_file():
            raise NotFoundError(
                f"{self.kind} has no fit to set {self.set_name!r} yet: {path} does not exist; run "
                "'dmix train', or call prepare_controller()"
            )
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
