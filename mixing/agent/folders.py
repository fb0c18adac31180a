"""Folders of agents, by name. Light to import; `mixing/agent/store.py` reads and writes their files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.names import from_home, refuse_links
from dmix.warehouse_schema.files.weights import check_model_files, stored_weights
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.text_files import read_json_object

_OF_SETS = "dmix-set-agent"  # `SetAgentConfig.model_type`
_SHIPPED = Path(__file__).parent.parent / "assets"
# The networks that names of shipped agents once meant; stored runs and comparisons still name them so.
_NETWORKS = {"dmix-base": "dmix-base-1"}


@dataclass(frozen=True, kw_only=True)
class AgentFacts:
    """What the files of an agent say, without its weights.

    Attributes:
        labels: Labels of its domains; none for a set agent.
        objectives: Objectives that it was trained on.
        preset: Preset of its tokens.
        fixed_space: Whether it serves the labels of its training alone.
        parameters: Number of its parameters.
        effects: Whether it reads what domains do to objectives.
    """

    labels: tuple[str, ...]
    objectives: tuple[str, ...]
    preset: str
    fixed_space: bool
    parameters: int
    effects: bool = False


def agents(warehouse: Warehouse) -> list[str]:
    """Names of all agents, sorted."""
    return warehouse.names("agents", "config.json")


def shipped_agents() -> list[str]:
    """Names of the agents that come with dmix, sorted."""
    return sorted(path.parent.name for path in _SHIPPED.glob("*/config.json"))


def agent_spec(warehouse: Warehouse, name_or_path: str) -> str:
    """The controller that an agent is: `agent:NAME`, or what a shipped agent without weights names."""
    shipped = _SHIPPED / name_or_path / "config.json"
    if any((folder / "config.json").is_file() for folder in _own_folders(warehouse, name_or_path)):
        return f"agent:{name_or_path}"
    named = read_json_object(shipped).get("controller") if shipped.is_file() else None
    return f"agent:{name_or_path}" if named is None else str(named)


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
    shipped = _SHIPPED / _NETWORKS.get(name_or_path, name_or_path)
    for folder in (*_own_folders(warehouse, name_or_path), shipped):
        if (folder / "config.json").is_file():
            if folder.absolute().is_relative_to(warehouse.root / "agents"):
                refuse_links(folder)
            return folder
    raise NotFoundError(
        f"agent {name_or_path!r} does not exist. {warehouse.root} has: "
        f"{', '.join(agents(warehouse)) or 'none yet'}. dmix has: "
        f"{', '.join(shipped_agents()) or 'none'}. Give one of these or the folder of an agent, or train "
        "an agent with 'dmix agent sft'"
    )


def _own_folders(warehouse: Warehouse, name_or_path: str) -> tuple[Path, Path]:
    """Where a user's own agent may be: a path, and a name in the warehouse."""
    return from_home(name_or_path), warehouse.root / "agents" / name_or_path


def agent_facts(warehouse: Warehouse, name_or_path: str) -> AgentFacts:
    """What the files of an agent say.

    Raises:
        NotFoundError: If there is none.
        InputError: If its files are damaged.
    """
    folder = agent_folder(warehouse, name_or_path)
    check_model_files(folder)
    config = read_json_object(folder / "config.json")
    fixed = config.get("model_type") != _OF_SETS
    if fixed and not config.get("labels"):
        raise InputError(
            f"{folder} is not an agent of dmix: its config.json has no labels; train the agent again"
        )
    return AgentFacts(
        labels=tuple(config.get("labels") or ()),
        objectives=tuple(config.get("objectives") or ()),
        preset=config.get("preset", "default"),
        fixed_space=fixed,
        parameters=sum(stored_weights(folder).values()),
        effects=bool(config.get("effects")),
    )


def check_labels(labels: Sequence[str], *, wanted: Sequence[str], agent: str) -> None:
    """Raises `InputError` unless an agent of fixed labels has those of a dataset."""
    if tuple(labels) != tuple(wanted):
        raise InputError(
            f"agent {agent!r} has {num_text(len(labels), 'label')} ({', '.join(labels[:3])}, …), but the "
            f"dataset has {len(wanted)} ({', '.join(wanted[:3])}, …). Train an agent on a set of this "
            "dataset. For an agent that works with any domains, use 'dmix agent sft --architecture set'"
        )
