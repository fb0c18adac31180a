"""dmix: continual pre-training whose data mixture a learned agent steers.

The names below are what other programs build on. Each is imported when it is first used, since some
bring torch and Streaming along. Not even `typing` is imported, so that the command `dmix` handles Ctrl-C
at once.
"""

import importlib

TYPE_CHECKING = False  # type checkers take it as true, like that of `typing`
if TYPE_CHECKING:
    from typing import Any

    from dmix.cli.workflows.session import Session, open
    from dmix.mixing.controllers import Controller, Proposal
    from dmix.mixing.delivery.dataset import MixedDataset
    from dmix.mixing.delivery.loader import MixedLoader
    from dmix.mixing.delivery.step_plan import PlanSettings
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.space.history import History
    from dmix.warehouse_schema.catalog.catalog import Catalog
    from dmix.warehouse_schema.errors import DmixError
    from dmix.warehouse_schema.files.layout import Warehouse
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

__all__ = [
    "Catalog",
    "Controller",
    "DmixError",
    "DomainSpace",
    "History",
    "MixedDataset",
    "MixedLoader",
    "PlanSettings",
    "Proposal",
    "Session",
    "Warehouse",
    "__version__",
    "open",
    "read_dataset_manifest",
]

__version__ = "0.2.0"

_HOMES = {
    "Catalog": "dmix.warehouse_schema.catalog.catalog",
    "Controller": "dmix.mixing.controllers",
    "DmixError": "dmix.warehouse_schema.errors",
    "DomainSpace": "dmix.mixing.space.domains",
    "History": "dmix.mixing.space.history",
    "MixedDataset": "dmix.mixing.delivery.dataset",
    "MixedLoader": "dmix.mixing.delivery.loader",
    "PlanSettings": "dmix.mixing.delivery.step_plan",
    "Proposal": "dmix.mixing.controllers",
    "Session": "dmix.cli.workflows.session",
    "Warehouse": "dmix.warehouse_schema.files.layout",
    "open": "dmix.cli.workflows.session",
    "read_dataset_manifest": "dmix.warehouse_schema.files.manifests",
}


def __getattr__(name: str) -> "Any":
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
