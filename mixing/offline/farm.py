"""A farm as CQL, off-policy evaluation and guard rails read it: episodes of a set in a warehouse."""

from dataclasses import dataclass

from dmix.mixing.agent.agent import MixingAgentConfig
from dmix.mixing.agent.architectures import AgentSettings, config_for
from dmix.mixing.agent.features import RunContext
from dmix.mixing.agent.set_encoder import seen_space
from dmix.mixing.offline.episodes import Episodes, make_episodes
from dmix.mixing.offline.stored import read_farm
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.trajectories.store import Trajectory
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
    stored = read_farm(warehouse, set_name)
    found, context = stored.found, stored.context(as_sets=as_sets)
    chosen = stored.preset(preset, as_sets=as_sets)
    episodes = make_episodes(
        stored.trajectories,
        feedback=stored.feedback.scores,
        variations=stored.feedback.variations,
        scales_D=stored.scales_D,
        weights_D=stored.weights_D,
        context=context,
        target_steps=found.target_steps,
        preset=chosen,
    )
    return Farm(
        set_name=set_name,
        preset=chosen,
        objectives=stored.feedback.objectives,
        scales_D=stored.scales_D,
        weights_D=stored.weights_D,
        context=context,
        target_steps=found.target_steps,
        target_supply=found.target_supply,
        trajectories=stored.trajectories,
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
