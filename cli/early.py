"""What commands check before they import torch or start Spark, so that a slip costs no ten seconds.

Everything imported here is light. The library checks the same things again, and more.
"""

from pathlib import Path

from dmix.warehouse_schema.layout import Warehouse


def check_set(warehouse: Warehouse, *set_names: str) -> None:
    """Raises `NotFoundError` if the warehouse or one of its sets is not there."""
    from dmix.mixing.trajectory_store import read_set

    warehouse.require()
    for name in set_names:
        read_set(warehouse, name)


def check_dataset(warehouse: Warehouse, dataset: str | None) -> None:
    """Raises `NotFoundError` or `InputError` if it is not there, or not clear which one is meant."""
    from dmix.warehouse_schema.manifests import read_dataset_manifest

    read_dataset_manifest(warehouse.require(), dataset)


def check_environment(path: Path | None) -> None:
    """Raises `InputError` if an environment file, or an item file that it names, is wrong."""
    from dmix.mixing.objectives import check_items, load_environment

    if path is not None:
        check_items(load_environment(path))
