"""Names of effects, and effects that are stored already."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse, checked_name
from dmix.warehouse_schema.files.manifests import DatasetManifest, digest_of

if TYPE_CHECKING:
    from dmix.mixing.effects.store import StoredEffects
    from dmix.training.model.settings import ModelSettings


def model_digest(model: "str | ModelSettings") -> str:
    """Hash of what a model starts from: its weights, its settings, or the name of a hub id."""
    if not isinstance(model, str):
        return digest_of(repr(model))[:16]
    place = Path(model)
    files = [place] if place.is_file() else sorted(place.glob("*.safetensors")) if place.is_dir() else []
    if not files:
        return digest_of(model)[:16]
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(1 << 24):
                digest.update(chunk)
    return digest.hexdigest()[:16]


def effects_name(estimator: str, manifest: DatasetManifest, environment: str, name: str | None) -> str:
    """The name that a user gave, or one that says what was measured."""
    if name is not None:
        return checked_name("effects", name)
    return f"{estimator}-{digest_of([manifest.dataset, environment])[:8]}"


def stored_already(
    warehouse: Warehouse, name: str, *, dataset: str, environment: str, estimator: str
) -> "StoredEffects | None":
    """The effects of a name, if they answer this question; None if there are none.

    Raises:
        InputError: If effects of that name answer another one.
    """
    from dmix.mixing.effects.store import MANIFEST, read_effects

    if not (warehouse.effects(name) / MANIFEST).is_file():
        return None
    stored = read_effects(warehouse, name)
    found = stored.effects
    if (found.dataset, found.environment, found.estimator) != (dataset, environment, estimator):
        raise InputError(
            f"effects {name!r} are {found.estimator} of dataset {found.dataset} and other objectives; choose"
            f" another --name, or remove {warehouse.effects(name)}"
        )
    return stored
