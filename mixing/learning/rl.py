"""Training an agent by CQL on a set with feedback (method §5), from warehouse to published agent.

The actor starts from an SFT agent, or from cloning the best tenth of the farm; the critics start
from the farm's returns; the actor is frozen at first. The published agent has the form of an SFT
one: runs use the policy's mean.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from dmix.mixing.agent.agent import Agent, MixingAgentConfig
from dmix.mixing.agent.architectures import seeded_agent
from dmix.mixing.agent.folders import check_free
from dmix.mixing.agent.set_encoder import SetAgentConfig, seen_space
from dmix.mixing.agent.store import load_agent, publish_agent
from dmix.mixing.learning.augmentation import Task, identity_augmentation, random_augmentation, seen
from dmix.mixing.learning.outline import architecture_of, check_fits
from dmix.mixing.learning.rl_fit import RlResult, fit_cql
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.learning.sft import fit_sets
from dmix.mixing.learning.time_resampling import time_resampled
from dmix.mixing.offline.episodes import Episodes
from dmix.mixing.offline.farm import Farm, config_of_farm, load_farm
from dmix.mixing.offline.sft_examples import Example, SftDataset
from dmix.mixing.world_model.learned_simulator import LearnedSimulator, SimulatorSettings, fit_simulator
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.sizes import num_text

logger = logging.getLogger(__name__)

# Random augmentations of each farm that an actor clones before it is trained with augmentation.
_CLONED_AUGMENTATIONS = 8


@dataclass(frozen=True, kw_only=True)
class RlSummary:
    """What came of a training, for people.

    Attributes:
        trajectories: Number of scored trajectories learnt from.
        start: Where the actor came from.
        updates: Updates of the critics.
        losses: Means of the last losses by name.
        reward_scale, reward_shift: Return G of the farm is scale * G + shift to the critics.
    """

    trajectories: int
    start: str
    updates: int
    losses: dict[str, float]
    reward_scale: float
    reward_shift: float


def train_rl(
    warehouse: Warehouse,
    *,
    set_name: str,
    agent_name: str,
    settings: RlSettings,
    start: str | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] = logger.info,
) -> RlSummary:
    """Trains an agent on a set with feedback and publishes it as `agents/<name>/`.

    A training that was broken off goes on where it was when it is called again with the same
    settings.

    Args:
        warehouse: Holds the set and takes the agent.
        set_name: Set of trajectories with feedback.
        agent_name: Name of the agent.
        settings: How to train.
        start: Agent that the actor starts from; None clones the best trajectories.
        overwrite: Replace an agent of that name.
        progress: Gets a line now and then.

    Raises:
        NotFoundError: If there is no such set or agent.
        InputError: If the set has no feedback, the agent exists, or `start` does not fit the set.
        TrainingError: If a loss is not finite.
    """
    check_free(warehouse, name=agent_name, overwrite=overwrite)
    farm, first, settings = prepare(warehouse, set_name=set_name, settings=settings, start=start)
    episodes = num_text(len(farm.episodes), "trajectory")
    progress(f"{episodes} with feedback, {num_text(first.num_parameters(), 'parameter')}")
    task, *resampled = tasks_of(farm, settings=settings, progress=progress)
    if start is None and settings.views:
        clone_augmented(first, (task, *resampled), settings=settings, progress=progress)
    elif start is None:
        clone_best(first, farm.episodes, settings=settings, progress=progress)
    checkpoint = checkpoint_file(warehouse, agent_name)
    result = fit_cql(
        first,
        farm.episodes,
        settings=settings,
        simulators=task.simulators,
        resampled=resampled,
        checkpoint=checkpoint,
        progress=progress,
    )
    summary = RlSummary(
        trajectories=len(farm.episodes),
        start=start or f"clone of the best {settings.best_share:.0%}",
        updates=result.updates,
        losses=result.losses,
        reward_scale=result.mapping.scale,
        reward_shift=result.mapping.shift,
    )
    _publish(warehouse, agent_name, result, summary, settings=settings, overwrite=overwrite)
    checkpoint.unlink(missing_ok=True)
    return summary


def prepare(
    warehouse: Warehouse, *, set_name: str, settings: RlSettings, start: str | None
) -> tuple[Farm, Agent, RlSettings]:
    """The farm, the agent before any cloning, and the settings with every value written out.

    Raises:
        NotFoundError: If there is no such set or agent.
        InputError: If the set has no feedback, or `start` does not fit the set or the settings.
    """
    given = None if start is None else load_agent(warehouse, start)
    if given is not None:
        settings = replace(settings, architecture=architecture_of(given.config, settings, str(start)))
    preset = settings.preset or (given.config.preset if given else None)
    farm = load_farm(warehouse, set_name, preset=preset, as_sets=settings.architecture == "set")
    settings = settings.resolved(farm.preset)
    if given is None:
        config = config_of_farm(farm, settings=settings)
        return farm, seeded_agent(config, seed=settings.seed), settings
    if given.config.fixed_space:
        check_fits(
            given.config,
            labels=farm.space.labels,
            objectives=farm.objectives,
            preset=farm.preset,
            set_name=set_name,
            start=str(start),
        )
    _note_farm(given.config, farm)
    return farm, given, settings


def checkpoint_file(warehouse: Warehouse, agent_name: str) -> Path:
    """Where a training that is under way keeps its state; gone once the agent is published."""
    return warehouse.agent(agent_name).with_name(f".{warehouse.agent(agent_name).name}.rl.pt")


def tasks_of(farm: Farm, *, settings: RlSettings, progress: Callable[[str], None]) -> list[Task]:
    """The farm with its learned simulators; for training with augmentation, other numbers of steps too."""
    farms = [farm, *(time_resampled(farm, context=settings.context) if settings.views else ())]
    return [
        Task(
            episodes=each.episodes,
            simulators=tuple(fit_simulators(each, settings=settings, progress=progress)),
        )
        for each in farms
    ]


def fit_simulators(
    farm: Farm, *, settings: RlSettings, progress: Callable[[str], None]
) -> list[LearnedSimulator]:
    """As many simulators as the settings (resolved ones) ask for, on all episodes, from different seeds."""
    return [
        fit_simulator(
            farm,
            settings=SimulatorSettings(
                steps=settings.simulator_steps,
                batch_episodes=settings.batch_episodes,
                learning_rate=settings.simulator_learning_rate,
                width=settings.simulator_width,
                held_out=0.0,
                seed=settings.seed + number,
                pessimism=settings.required("pessimism"),
            ),
            progress=progress,
        )
        for number in range(settings.simulators if settings.required("imagined") > 0 else 0)
    ]


def clone_best(
    agent: Agent,
    episodes: Episodes,
    *,
    settings: RlSettings,
    progress: Callable[[str], None] = logger.info,
) -> None:
    """Fits `agent` in place to the best share of the episodes: behaviour cloning by Eq. 4."""
    _imitate(agent, [episodes], settings=settings, progress=progress)


def clone_augmented(
    agent: Agent,
    tasks: Sequence[Task],
    *,
    settings: RlSettings,
    progress: Callable[[str], None] = logger.info,
) -> None:
    """`clone_best` in the farm's own domains and in some random augmentations, each with its own best."""
    rng = np.random.default_rng(settings.seed)
    viewed = [
        seen(task, augmentation).episodes
        for task in tasks
        for augmentation in (
            identity_augmentation(task),
            *(random_augmentation(task, rng) for _ in range(_CLONED_AUGMENTATIONS)),
        )
    ]
    _imitate(agent, viewed, settings=settings, progress=progress)


def _imitate(
    agent: Agent, farms: Sequence[Episodes], *, settings: RlSettings, progress: Callable[[str], None]
) -> None:
    """Fits `agent` in place to the best share of each of these episodes, by Eq. 4."""
    taught = [
        SftDataset(examples=examples_of(episodes.best(settings.best_share)), space=episodes.space)
        for episodes in farms
    ]
    fitting = SftSettings(
        preset=settings.preset,
        epochs=settings.clone_epochs,
        seed=settings.seed,
        heads=settings.heads,
        hidden_size=settings.hidden_size,
    )
    fit_sets(agent, taught, settings=fitting, progress=progress)


def examples_of(episodes: Episodes) -> list[Example]:
    """Episodes as SFT learns from them."""
    lengths = episodes.valid_mask_ET.sum(1).tolist()
    return [
        Example(
            tokens_TX=episodes.tokens_ESX[row, :length].numpy(),
            mixtures_TN=episodes.actions_ETN[row, :length].numpy(),
        )
        for row, length in enumerate(lengths)
    ]


def _note_farm(config: MixingAgentConfig, farm: Farm) -> None:
    """Writes into an agent's config what it is now trained on: the set, and the scales of its scores.

    A set agent keeps what it knew of other objectives and spaces.
    """
    known = {} if config.fixed_space else dict(zip(config.objectives, config.scales, strict=True))
    known |= dict(zip(farm.objectives, farm.scales_D.tolist(), strict=True))
    config.objectives, config.scales = list(known), list(known.values())
    config.set_name = farm.set_name
    if isinstance(config, SetAgentConfig):
        entry = seen_space(farm.space, set_name=farm.set_name, target_supply=farm.target_supply)
        config.spaces = [*(space for space in config.spaces if space["set"] != farm.set_name), entry]


def _publish(
    warehouse: Warehouse,
    name: str,
    result: RlResult,
    summary: RlSummary,
    *,
    settings: RlSettings,
    overwrite: bool,
) -> None:
    result.agent.config.rl = {**asdict(settings), **asdict(summary)}
    notes = [
        "dmix trained the agent by conservative Q-learning (Eq. 5-7) on "
        f"{num_text(summary.trajectories, 'trajectory')} with feedback. The actor started from: "
        f"{summary.start}.",
        f"{num_text(summary.updates, 'update')}, conservative weight {settings.conservative_weight:g},"
        f" discount {settings.discount:g}, {settings.critics} critics.",
        f"The critics learned the farm's returns G as {summary.reward_scale:.4g} * G"
        f" + {summary.reward_shift:.4g}.",
    ]
    publish_agent(warehouse, agent=result.agent, name=name, stage="rl", notes=notes, overwrite=overwrite)
