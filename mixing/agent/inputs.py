"""What an agent reads of a run: its objectives, their scales, and facts about them.

The paper's agent reads the objectives of its training, by name. A set agent reads all that the run
has, whatever their number and names. Shapes: D objectives that the agent reads.
"""

from dataclasses import dataclass, replace

import numpy as np

from dmix.mixing.agent.agent import MixingAgentConfig
from dmix.mixing.agent.features import Tokens, history_tokens
from dmix.mixing.agent.set_features import ObjectiveSpec, effect_columns
from dmix.mixing.effects.prediction import Prediction
from dmix.mixing.space.domains import Vector
from dmix.mixing.space.history import History
from dmix.warehouse_schema.errors import InputError

# What an environment without a published scale gives (`Environment.scales_D`).
_NO_SCALE = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """The objectives of a run as an agent reads them.

    Attributes:
        objectives: Their names, in the agent's order.
        scales_D: s_i in nats per token that it uses.
        objective_spec: Their weights and roles, for a set agent alone.
    """

    objectives: tuple[str, ...]
    scales_D: Vector
    objective_spec: ObjectiveSpec | None


def told_of(history: History, prediction: Prediction | None = None) -> ObjectiveSpec:
    """What a set agent reads about a run's objectives, and about the effects of domains on them if given."""
    told = ObjectiveSpec.of(history.weights_D, history.roles)
    if prediction is None:
        return told
    natural_N = prediction.natural_N
    slope_ND = prediction.gradient(natural_N)
    columns_N4 = effect_columns(
        slope_ND - natural_N @ slope_ND,
        np.stack([np.sqrt((error**2).sum(0)) for error in prediction.errors], axis=1),
        value_D=history.weights_D / history.scales_D,
        roles=history.roles,
    )
    return replace(told, effects_N4=columns_N4)


def reading(
    config: MixingAgentConfig,
    history: History,
    *,
    name: str = "the agent",
    prediction: Prediction | None = None,
) -> Reading:
    """What an agent with this config reads of a run.

    An agent keeps the scales of its training for the objectives it knows, so that a score means
    the same in both. A set agent takes those of the environment for the others, and the median of
    its own where the environment publishes none.

    Args:
        config: Of the agent.
        history: Of the run.
        name: What messages call the agent.
        prediction: What effects promise, for an agent that reads them.

    Raises:
        InputError: If the run does not measure an objective that the paper's agent reads, or the agent
            reads effects and there are none of these objectives.
    """
    reads_effects = getattr(config, "effects", False)
    if reads_effects and (prediction is None or prediction.objectives != history.objectives):
        raise InputError(
            f"{name} needs effects on {', '.join(history.objectives) or 'objectives'}, but has none; run "
            "'dmix mix probe' with the environment file of the run"
        )
    known = dict(zip(config.objectives, config.scales, strict=True))
    if config.fixed_space:
        missing = [objective for objective in known if objective not in history.objectives]
        if missing:
            raise InputError(
                f"{name} reads the objectives {', '.join(known)}, but the environment file has no "
                f"{', '.join(missing)}; use the environment file of its training, or an agent with "
                "--architecture set"
            )
        return Reading(objectives=tuple(known), scales_D=np.array(list(known.values())), objective_spec=None)
    if not known:
        return Reading(objectives=(), scales_D=np.zeros(0), objective_spec=ObjectiveSpec.of(np.zeros(0), ()))
    typical = float(np.median(config.scales))
    published = dict(zip(history.objectives, history.scales_D, strict=True))
    scales = {name: typical if scale == _NO_SCALE else float(scale) for name, scale in published.items()}
    return Reading(
        objectives=history.objectives,
        scales_D=np.array([known.get(name, scale) for name, scale in scales.items()]),
        objective_spec=told_of(history, prediction if reads_effects else None),
    )


def run_tokens(config: MixingAgentConfig, history: History, read: Reading) -> Tokens:
    """The tokens of a run under way for an agent with this config."""
    return history_tokens(
        history,
        objectives=read.objectives,
        scales_D=read.scales_D,
        preset=config.preset,
        objective_spec=read.objective_spec,
    )
