"""What commands check before they import torch or start Spark, so that a slip costs no ten seconds.

Everything imported here is light. The library checks the same things again, and more.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from dmix.etl.classify.settings import ClassifySettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


def check_set(warehouse: Warehouse, *set_names: str) -> None:
    """Raises `NotFoundError` if the warehouse or one of its sets is not there."""
    from dmix.mixing.trajectories.store import read_set

    warehouse.require()
    for name in set_names:
        read_set(warehouse, name)


def check_dataset(warehouse: Warehouse, dataset: str | None) -> None:
    """Raises `NotFoundError` or `InputError` if it is not there, or not clear which one is meant."""
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    read_dataset_manifest(warehouse.require(), dataset)


def check_environment(path: Path | None) -> None:
    """Raises `InputError` if an environment file, or an item file that it names, is wrong."""
    from dmix.mixing.trajectories.objectives import check_items, load_environment

    if path is not None:
        check_items(load_environment(path))


def check_agent(warehouse: Warehouse, agent: str | None) -> None:
    """Raises `NotFoundError` if an agent that is named by name or path is nowhere."""
    from dmix.mixing.agent.folders import agent_folder

    if agent is not None:
        agent_folder(warehouse, agent)


def check_controller(warehouse: Warehouse, spec: str) -> None:
    """Raises `InputError` or `NotFoundError` if there is no such controller, or not what it names.

    Only sets and agents are looked for here; controllers that name neither are light to make.
    """
    from dmix.mixing.controllers.registry import kind_of

    kind, argument = kind_of(spec), spec.partition(":")[2]
    if kind.name == "agent":
        check_agent(warehouse, argument)
    elif kind.of_set:
        check_set(warehouse, re.split("[/:]", argument)[0])


def controller_spec(warehouse: Warehouse, agent: str | None, controller: str | None) -> str:
    """The one of both that was given, as a controller; the shipped default is the controller that it names.

    Raises:
        InputError: If both or none were given.
    """
    if (agent is None) == (controller is None):
        given = "neither" if agent is None else "both"
        raise InputError(
            f"dmix needs --agent or --controller to choose the mixtures, but got {given}; give exactly one"
        )
    if agent is None:
        return str(controller)
    from dmix.mixing.agent.folders import agent_spec

    return agent if agent.partition(":")[0] == "effect" else agent_spec(warehouse, agent)


def check_new_agent(warehouse: Warehouse, agent: str, *, overwrite: bool) -> None:
    """Raises `InputError` if an agent of that name is there and not to be replaced."""
    from dmix.mixing.agent.folders import check_free

    check_free(warehouse.require(), name=agent, overwrite=overwrite)


def check_model(warehouse: Warehouse, model: str | None) -> None:
    """Raises `NotFoundError` if a model that is named by a path is not there."""
    from dmix.training.run.request import resolve_model

    if model is not None:
        resolve_model(model, warehouse)


def check_steps(warehouse: Warehouse, run_id: str, steps: Sequence[str]) -> None:
    """Raises `NotFoundError` or `InputError` if a run is not there, or not its models of some steps."""
    from dmix.training.evaluation.steps import chosen_models
    from dmix.training.run.config import read_config

    chosen_models(warehouse, read_config(warehouse.require(), run_id), steps)


def check_inputs(inputs: Sequence[str]) -> None:
    """Raises `NotFoundError` or `InputError` if a local input is not there, or holds nothing to read."""
    from dmix.etl.reading.sources import check_local

    for given in inputs:
        check_local(given)


def check_id_column(inputs: Sequence[str], id_column: str | None) -> None:
    """Raises `InputError` if ids were to come from a Parquet column without exact text (local files)."""
    if id_column is None:
        return
    from dmix.etl.reading.inspection import check_id_type
    from dmix.etl.reading.sources import find_files
    from dmix.warehouse_schema.files.storage import is_url

    for file in find_files([given for given in inputs if not is_url(given)]).files:
        check_id_type(file, id_column)


def check_classifier(warehouse: Warehouse, settings: ClassifySettings) -> None:
    """Raises `InputError` or `NotFoundError` if settings name no classifier, or its taxonomy does not fit."""
    from dmix.etl.classify.plan import requested_classifier

    requested_classifier(warehouse, settings)
