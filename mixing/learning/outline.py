"""What a training of an agent would take, and whether it may start: counted without torch.

`dmix agent … --dry-run` answers from here. The trainings check the same, on what they have loaded.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from dmix.mixing.agent.features import token_width
from dmix.mixing.agent.folders import agent_facts
from dmix.mixing.agent.set_features import DOMAIN_WIDTH, OBJECTIVE_WIDTH, STEP_WIDTH
from dmix.mixing.learning.settings.clone import CloneSettings
from dmix.mixing.learning.settings.evaluate import EvaluateSettings
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.offline.runs import Run, best_rows, scored_runs
from dmix.mixing.offline.sft_examples import SftDataset, load_sft_dataset
from dmix.mixing.offline.stored import StoredFarm, read_farm
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.sizes import num_text


class AgentConfig(Protocol):
    """What checks read of an agent: its config, or `AgentFacts`."""

    @property
    def labels(self) -> Sequence[str]: ...
    @property
    def objectives(self) -> Sequence[str]: ...
    @property
    def preset(self) -> str: ...
    @property
    def fixed_space(self) -> bool: ...


def load_sft_datasets(
    warehouse: Warehouse, *, set_names: Sequence[str], settings: SftSettings
) -> list[SftDataset]:
    """What the sets teach, with the tokens of the architecture.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If a set has no trajectories to learn from, a name comes twice, or several sets
            are given to the paper's agent.
    """
    as_sets = settings.architecture == "set"
    if len(set_names) > 1 and not as_sets:
        raise InputError(
            f"architecture 'paper' learns from one set, but {len(set_names)} were given "
            f"({', '.join(set_names)}); give one, or add --architecture set"
        )
    if len(set(set_names)) < len(set_names):
        raise InputError(f"--set contains a set twice: {', '.join(set_names)}; remove one")
    return [
        load_sft_dataset(warehouse, set_name=name, preset=settings.preset, as_sets=as_sets)
        for name in set_names
    ]


def outline_of_sft(
    warehouse: Warehouse, *, set_names: Sequence[str], settings: SftSettings
) -> dict[str, Any]:
    """Trajectories and tokens of a fine-tuning. Raises as `load_sft_datasets`."""
    datasets = load_sft_datasets(warehouse, set_names=set_names, settings=settings)
    steps = sum(len(example.tokens_TX) for dataset in datasets for example in dataset.examples)
    return {
        "preset": datasets[0].preset,
        "trajectories": sum(len(dataset.examples) for dataset in datasets),
        "with_feedback": sum(dataset.with_feedback for dataset in datasets),
        "objectives": list(dict.fromkeys(name for dataset in datasets for name in dataset.objectives)),
        "tokens_at_most": settings.epochs * steps,
    }


def outline_of_clone(warehouse: Warehouse, *, set_name: str, settings: CloneSettings) -> dict[str, Any]:
    """Trajectories and steps that a clone imitates. Raises as `load_farm` and `Episodes.best`."""
    stored = read_farm(warehouse, set_name)
    preset = stored.preset(settings.preset, as_sets=False)
    runs = _runs(stored, preset=preset, as_sets=False)
    gains_E = np.array([run.gain(stored.weights_D) for run in runs])
    comparable_E = np.array([run.ended and run.is_default_proxy for run in runs])
    taught = best_rows(gains_E, comparable_E, share=settings.best)
    steps = sum(len(runs[row].mixtures_TN) for row in taught)
    return {
        "preset": preset,
        "trajectories": len(taught),
        "steps": steps,
        "tokens_at_most": settings.epochs * steps,
    }


def outline_of_rl(
    warehouse: Warehouse, *, set_name: str, settings: RlSettings, start: str | None
) -> dict[str, Any]:
    """Trajectories, parameters and updates of a training by CQL. Raises as `prepare` of `rl`."""
    given = None if start is None else agent_facts(warehouse, start)
    if given is not None:
        settings = replace(settings, architecture=architecture_of(given, settings, str(start)))
    as_sets = settings.architecture == "set"
    stored = read_farm(warehouse, set_name)
    preset = stored.preset(settings.preset or (given.preset if given else None), as_sets=as_sets)
    settings = settings.resolved(preset)
    labels, objectives = stored.found.domain_space.labels, stored.feedback.objectives
    if given is not None and given.fixed_space:
        check_fits(
            given, labels=labels, objectives=objectives, preset=preset, set_name=set_name, start=str(start)
        )
    runs = _runs(stored, preset=preset, as_sets=as_sets)
    updates = settings.steps + settings.returns_steps
    states = 1 + max(len(run.mixtures_TN) for run in runs)
    return {
        "preset": settings.preset,
        "trajectories": len(runs),
        "steps": sum(len(run.mixtures_TN) for run in runs),
        "parameters": given.parameters
        if given is not None
        else parameters_of(settings, domains=2 * len(labels), objectives=len(objectives)),
        "updates": updates,
        "tokens": updates * min(settings.batch_episodes, len(runs)) * states,
    }


def outline_of_evaluation(
    warehouse: Warehouse, *, set_name: str, agent_name: str, settings: EvaluateSettings
) -> dict[str, Any]:
    """Trainings and updates of an evaluation. Raises as `dmix.mixing.learning.evaluate.load_subject`."""
    facts, stored = agent_facts(warehouse, agent_name), read_farm(warehouse, set_name)
    preset = stored.preset(facts.preset, as_sets=not facts.fixed_space)
    runs = _runs(stored, preset=preset, as_sets=not facts.fixed_space)
    check_subject(
        facts,
        labels=stored.found.domain_space.labels,
        objectives=stored.feedback.objectives,
        set_name=set_name,
        agent_name=agent_name,
    )
    return {
        "agent": agent_name,
        "set": set_name,
        "trajectories": len(runs),
        "parameters": facts.parameters,
        "trainings": 2 * settings.repeats,
        "updates": settings.repeats * (settings.fqe_steps + settings.simulator_steps),
    }


def _runs(stored: StoredFarm, *, preset: str, as_sets: bool) -> list[Run]:
    return scored_runs(
        stored.trajectories,
        feedback=stored.feedback.scores,
        variations=stored.feedback.variations,
        scales_D=stored.scales_D,
        context=stored.context(as_sets=as_sets),
        target_steps=stored.found.target_steps,
        preset=preset,
    )


def parameters_of(settings: RlSettings, *, domains: int, objectives: int) -> int:
    """Number of parameters of a new agent; a test holds it to the agents that are built.

    Args:
        settings: With every value written out (`RlSettings.resolved`).
        domains: N.
        objectives: D.
    """
    hidden, feedforward = settings.widths
    layer = 4 * hidden * hidden + 3 * hidden * feedforward + 2 * hidden
    decoder = settings.layers * layer + 2 * hidden  # the last norm, and a table of one id
    if settings.architecture != "set":
        width = token_width(domains=domains, objectives=objectives, preset=str(settings.preset))
        return decoder + _linear(width, hidden) + _linear(hidden, domains)
    width = settings.domain_width
    states = sum(_linear(size, width) + _linear(width, width) for size in (DOMAIN_WIDTH, OBJECTIVE_WIDTH))
    step = _linear(STEP_WIDTH, hidden) + 6 * width * hidden
    trace = _linear(DOMAIN_WIDTH, width) + _linear(hidden, width) + OBJECTIVE_WIDTH * width
    join = _linear(2 * width + hidden, width)
    return decoder + states + step + trace + join + _linear(hidden, 2) + _linear(width, 1)


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def architecture_of(config: AgentConfig, settings: RlSettings, start: str) -> str:
    """That of the agent that the actor starts from.

    Raises:
        InputError: If the settings ask for the other one.
    """
    found = "paper" if config.fixed_space else "set"
    if settings.architecture not in (None, found):
        raise InputError(
            f"agent {start!r} has the architecture {found}, but --architecture is "
            f"{settings.architecture}; leave out --from or --architecture"
        )
    return found


def check_fits(
    config: AgentConfig,
    *,
    labels: Sequence[str],
    objectives: Sequence[str],
    preset: str,
    set_name: str,
    start: str,
) -> None:
    """Raises unless the agent reads the tokens that the farm gives."""
    pairs = {
        "labels": (tuple(config.labels), tuple(labels)),
        "objectives": (tuple(config.objectives), tuple(objectives)),
        "preset": (config.preset, preset),
    }
    for name, (found, wanted) in pairs.items():
        if found != wanted:
            raise InputError(
                f"agent {start!r} has the {name} {_short(found)}, but set {set_name!r} has "
                f"{_short(wanted)}; run 'dmix agent sft' on this set first, or leave --from out"
            )


def _short(value: str | Sequence[str]) -> str:
    if isinstance(value, str):
        return value
    return ", ".join(value[:3]) + (", …" if len(value) > 3 else "") if value else "none"


def check_subject(
    config: AgentConfig,
    *,
    labels: Sequence[str],
    objectives: Sequence[str],
    set_name: str,
    agent_name: str,
) -> None:
    """Raises `InputError` unless an agent can be judged on a set with these labels and objectives."""
    fixed = config.fixed_space
    if fixed and tuple(config.labels) != tuple(labels):
        raise InputError(
            f"agent {agent_name!r} has {num_text(len(config.labels), 'label')}, but set {set_name!r} has "
            f"{num_text(len(labels), 'other label')}; choose a set with the labels of the agent"
        )
    # A set agent reads any objectives, but one that was trained without feedback reads none in runs.
    if tuple(config.objectives) != tuple(objectives) and (fixed or not config.objectives):
        raise InputError(
            f"agent {agent_name!r} reads the objectives {', '.join(config.objectives) or 'none'}, "
            f"but set {set_name!r} has {', '.join(objectives)}; choose a set with the same "
            "objectives, or train an agent on this set"
        )
