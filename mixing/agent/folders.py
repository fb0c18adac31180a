"""Folders of agents, by name. Light to import; `mixing/agent/store.py` reads and writes their files."""

from pathlib import Path

from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.names import from_home, refuse_links

_SHIPPED = Path(__file__).parent.parent / "assets"


def agents(warehouse: Warehouse) -> list[str]:
    """Names of all agents, sorted."""
    return warehouse.names("agents", "config.json")


def shipped_agents() -> list[str]:
    """Names of the agents that come with dmix, sorted."""
    return sorted(path.parent.name for path in _SHIPPED.glob("*/config.json"))


def check_free(warehouse: Warehouse, *, name: str, overwrite: bool) -> None:
    """Raises `InputError` if an agent of that name exists and is not to be replaced."""
    if warehouse.agent(name).exists() and not overwrite:
        raise InputError(
            f"agent {name!r} already exists in {warehouse.root}; choose another --agent, or replace this "
            "agent with --overwrite"
        )


def agent_folder(warehouse: Warehouse, name_or_path: str) -> Path:
    """Folder of an agent: a path, else a name in the warehouse, else one that comes with dmix.

    Raises:
        NotFoundError: If there is none of the three.
        InputError: If one of the warehouse is a link, or holds one.
    """
    own = warehouse.root / "agents" / name_or_path
    for folder in (from_home(name_or_path), own, _SHIPPED / name_or_path):
        if (folder / "config.json").is_file():
            if folder.absolute().is_relative_to(own.parent):
                refuse_links(folder)
            return folder
    raise NotFoundError(
        f"agent {name_or_path!r} does not exist. {warehouse.root} has: "
        f"{', '.join(agents(warehouse)) or 'none yet'}. dmix has: "
        f"{', '.join(shipped_agents()) or 'none'}. Give one of these or the folder of an agent, or train "
        "an agent with 'dmix agent sft'"
    )
