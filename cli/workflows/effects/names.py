"""Names of effects, and effects that are stored already."""

from typing import TYPE_CHECKING

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse, checked_name
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.progress import Progress

if TYPE_CHECKING:
    from dmix.mixing.effects.store import StoredEffects
    from dmix.training.model.settings import ModelSettings


def model_digest(model: "str | ModelSettings") -> str:
    """Short hash of what a model starts from, for names of effects."""
    from dmix.training.model import digests

    return digests.model_digest(model)[:16]


def effects_name(estimator: str, manifest: DatasetManifest, environment: str, name: str | None) -> str:
    """The name that a user gave, or one that says what was measured."""
    if name is not None:
        return checked_name("effects", name)
    return f"{estimator}-{digest_of([manifest.dataset, environment])[:8]}"


def stored_already(
    warehouse: Warehouse, name: str, *, dataset: str, environment: str, estimator: str, progress: Progress
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
        differ = [f"the estimator {found.estimator}"] if found.estimator != estimator else []
        differ += [f"dataset {found.dataset}"] if found.dataset != dataset else []
        differ += (
            [f"the objectives {', '.join(found.objectives)}"] if found.environment != environment else []
        )
        raise InputError(
            f"effects {name!r} exist already, with other inputs: {', '.join(differ)}; choose another --name, "
            f"or remove {warehouse.effects(name)}"
        )
    progress(f"effects {name} exist already; nothing to do")
    return stored
