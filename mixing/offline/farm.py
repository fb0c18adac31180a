"""A farm as CQL, off-policy evaluation and guard rails read it: episodes of a set in a warehouse."""

from dataclasses import dataclass

import numpy as np

from dmix.mixing.agent.agent import MixingAgentConfig
from dmix.mixing.agent.architectures import AgentSettings, config_for
from dmix.mixing.agent.features import RunContext
from dmix.mixing.agent.set_encoder import seen_space
from dmix.mixing.offline.episodes import Episodes, make_episodes
from dmix.mixing.offline.sft_examples import objective_spec_of, set_scales
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.trajectories.feedback import (
    feedback_objectives,
    read_feedback,
    read_trained,
    read_variations,
)
from dmix.mixing.trajectories.objectives import load_environment
from dmix.mixing.trajectories.store import Trajectory, read_set
from dmix.warehouse_schema.files.layout import Warehouse


@dataclass(frozen=True, kw_only=True, eq=False)
class Farm:
    """A set with its feedback.

    Attributes:
        set_name: Its name.
        preset: Of the tokens.
        objectives: Names of the D objectives.
        scales_D: Their s_i in nats per token.
        weights_D: Their lambda.
        context: Of its runs; with an objective spec where the tokens are a set agent's.
        target_steps: |T| / R, at which a path stops early; infinite if none does.
        target_supply: |T| / (R * M).
        trajectories: All of the set, scored or not.
        episodes: Those with feedback.
    """

    set_name: str
    preset: str
    objectives: tuple[str, ...]
    scales_D: Vector
    weights_D: Vector
    context: RunContext
    target_steps: float
    target_supply: float
    trajectories: tuple[Trajectory, ...]
    episodes: Episodes

    @property
    def space(self) -> DomainSpace:
        """Labels, masks and natural shares."""
        return self.context.space


def load_farm(warehouse: Warehouse, set_name: str, *, preset: str | None, as_sets: bool = False) -> Farm:
    """The episodes of a set.

    Args:
        warehouse: Holds the set.
        set_name: Set of trajectories.
        preset: Of the tokens; None takes the set's.
        as_sets: Make the tokens of a set agent, which are those of the `default` preset.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If none of its trajectories has feedback.
    """
    found = read_set(warehouse, set_name)
    chosen = "default" if as_sets else preset or found.preset
    scores, names = read_feedback(warehouse, set_name), feedback_objectives(warehouse, set_name)
    trajectories = tuple(read_trained(warehouse, set_name))
    scales_D = set_scales(warehouse, set_name, scores=scores, objectives=names)
    weights_D = _weights(warehouse, set_name, names)
    context = RunContext.of_set(
        found, objective_spec=objective_spec_of(warehouse, set_name, names) if as_sets else None
    )
    episodes = make_episodes(
        trajectories,
        feedback=scores,
        variations=read_variations(warehouse, set_name),
        scales_D=scales_D,
        weights_D=weights_D,
        context=context,
        target_steps=found.target_steps,
        preset=chosen,
    )
    return Farm(
        set_name=set_name,
        preset=chosen,
        objectives=names,
        scales_D=scales_D,
        weights_D=weights_D,
        context=context,
        target_steps=found.target_steps,
        target_supply=found.target_supply,
        trajectories=trajectories,
        episodes=episodes,
    )


def config_of_farm(farm: Farm, *, settings: AgentSettings) -> MixingAgentConfig:
    """The config of a new agent for the domains and objectives of a farm."""
    return config_for(
        settings,
        labels=farm.space.labels,
        scales=dict(zip(farm.objectives, farm.scales_D.tolist(), strict=True)),
        preset=farm.preset,
        set_name=farm.set_name,
        target_supply=farm.target_supply,
        spaces=[seen_space(farm.space, set_name=farm.set_name, target_supply=farm.target_supply)],
    )


def _weights(warehouse: Warehouse, set_name: str, names: tuple[str, ...]) -> Vector:
    """lambda_i of the set's environment, 1/D each where it says nothing."""
    path = warehouse.feedback(set_name) / "environment.yaml"
    if not path.is_file():
        return np.full(len(names), 1 / max(1, len(names)))
    environment = load_environment(path)
    by_name = dict(zip(environment.names, environment.weights_D, strict=True))
    return np.array([by_name[name] for name in names])
