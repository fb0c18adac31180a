"""Agents on disk: `agents/<name>/` in save_pretrained form, with a model card."""

import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from dmix.mixing.agent.agent import Agent, MixingAgent, MixingAgentConfig
from dmix.mixing.agent.architectures import AGENTS
from dmix.mixing.agent.folders import agent_folder, check_free
from dmix.warehouse_schema.errors import InputError, first_line
from dmix.warehouse_schema.files.layout import Warehouse, publish_folder, write_errors
from dmix.warehouse_schema.files.weights import check_model_files, damaged_weights
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.text_files import read_json_object


def publish_agent(
    warehouse: Warehouse,
    *,
    agent: Agent,
    name: str,
    stage: str,
    notes: Sequence[str],
    overwrite: bool = False,
) -> Path:
    """Writes `config.json`, `model.safetensors` and `README.md`; readers see all of them or none.

    Args:
        warehouse: Where to.
        agent: Its config gets the stage, the time and the number of parameters.
        name: Name of the agent.
        stage: `sft` or `rl`.
        notes: Sentences for the model card on how it was trained and how it did.
        overwrite: Replace an agent of that name.

    Raises:
        InputError: If the agent exists and is not to be replaced.
        StorageError: If the disk is full.
    """
    folder = warehouse.agent(name)
    check_free(warehouse, name=name, overwrite=overwrite)
    agent.config.stage = stage
    agent.config.trained_at = datetime.now(UTC).isoformat(timespec="seconds")
    agent.config.parameters = agent.num_parameters()
    with write_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # on the disk of the agents, which may be a link, and a level below them: none is listed half-written
        scratch = Path(tempfile.mkdtemp(prefix=".agent-", dir=folder.parent))
        try:
            agent.save_pretrained(scratch / "new")
            (scratch / "new" / "README.md").write_text(_model_card(agent, name, notes), encoding="utf-8")
            publish_folder(scratch / "new", folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def load_agent(warehouse: Warehouse, name_or_path: str) -> Agent:
    """The agent that `agent_folder` finds, of either kind and ready to decide.

    Raises:
        NotFoundError: If there is none.
        InputError: If the folder holds no agent that this dmix can read.
    """
    folder = agent_folder(warehouse, name_or_path)
    try:
        check_model_files(folder)
        kind = read_json_object(folder / "config.json").get("model_type", "")
        agent: Agent = AGENTS.get(kind, MixingAgent).from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and safetensors raise many kinds
        said = damaged_weights(folder) or f"dmix cannot read the agent in {folder} ({first_line(error)})"
        raise InputError(f"{said}; train the agent again") from error
    if agent.config.fixed_space and not agent.config.labels:
        raise InputError(
            f"{folder} is not an agent of dmix: its config.json has no labels; train the agent again"
        )
    return agent.eval()


def _model_card(agent: Agent, name: str, notes: Sequence[str]) -> str:
    config = agent.config
    lines = [
        "---",
        "library_name: dmix",
        "tags: [data-mixing, continual-pre-training]",
        "---",
        f"# {name}",
        "",
        f"`{name}` chooses the data mixture of each step of a continual pre-training run. It reads the"
        " mixtures and scores so far (Data Mixing Agent, arXiv 2507.15640).",
        "",
        *(f"- {note}" for note in notes),
        f"- Trained at {config.trained_at} on the set `{config.set_name}`, preset `{config.preset}`.",
        (
            f"- {config.parameters:,} parameters, {_domains(config)}; reads at most the last "
            f"{num_text(config.context, 'step')}."
        ),
        f"- Objectives that the agent reads: {_objectives(config)}.",
        "",
        f"Use: `dmix train --model model.yaml --environment environment.yaml --agent {name}`."
        f" {_labels(config)}",
        "",
    ]
    return "\n".join(lines)


def _domains(config: MixingAgentConfig) -> str:
    if config.fixed_space:
        return f"{config.domains} (field, domain) pairs"
    seen = ", ".join(f"{space['active']} of {space['domains']}" for space in config.spaces)
    return f"any number of (field, domain) pairs (in training: {seen or 'none'} active)"


def _objectives(config: MixingAgentConfig) -> str:
    if not config.objectives:
        return "none (only mixtures)"
    names = ", ".join(config.objectives)
    return names if config.fixed_space else f"any (in training: {names})"


def _labels(config: MixingAgentConfig) -> str:
    if not config.fixed_space:
        return (
            "The agent works with any labels. It describes a domain by its size, its supply and its "
            "past scores."
        )
    return f"Labels, in the order of the outputs (source, then target): {', '.join(config.labels)}."
