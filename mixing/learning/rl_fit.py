"""The loop of CQL over episodes in memory: warm critics, then critics and actor (method §5).

It can be stopped and gone on with: weights, optimisers, random states and counters are one file.
"""

import dataclasses
import io
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmix.mixing.agent.agent import Agent
from dmix.mixing.agent.architectures import arguments_of
from dmix.mixing.learning.augmentation import Task, identity_augmentation, random_augmentation, seen
from dmix.mixing.learning.cql import SimplexCQL, SimplexCQLConfig
from dmix.mixing.learning.cql_losses import EpisodeBatch
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.mixing.offline.episodes import Episodes, RewardMap, padded_to, reward_map
from dmix.mixing.world_model.learned_simulator import LearnedSimulator
from dmix.mixing.world_model.rollouts import make_rollouts
from dmix.warehouse_schema.errors import InputError, TrainingError
from dmix.warehouse_schema.files.layout import publish_bytes
from dmix.warehouse_schema.files.weights import readable
from dmix.warehouse_schema.progress import doing, during
from dmix.warehouse_schema.sizes import num_text

logger = logging.getLogger(__name__)

_REPORT_SECONDS = 2.0
_CHECKPOINT_SECONDS = 30.0
# How many times' rollouts are kept.
_GENERATIONS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class RlResult:
    """What came of a training.

    Attributes:
        agent: The actor, ready to decide.
        algorithm: Actor, critics and optimisers.
        mapping: From returns in utility to the critics' unit.
        losses: Means of the last report's losses, by name.
        updates: Updates of the critics, those towards returns left out.
    """

    agent: Agent
    algorithm: SimplexCQL
    mapping: RewardMap
    losses: dict[str, float]
    updates: int


def fit_cql(
    agent: Agent,
    episodes: Episodes,
    *,
    settings: RlSettings,
    simulators: Sequence[LearnedSimulator] = (),
    resampled: Sequence[Task] = (),
    checkpoint: Path | None = None,
    progress: Callable[[str], None] = logger.info,
) -> RlResult:
    """Trains a copy of `agent` on episodes.

    With `settings.views`, each time that rollouts are refreshed, it is through another random
    view of the episodes (`dmix.mixing.learning.augmentation`) or of those of another number of steps.

    Args:
        agent: Where the actor starts: from SFT, or cloned from the best trajectories.
        episodes: With the tokens of the agent's preset.
        settings: Resolved ones.
        simulators: Where rollouts are made; none turns them off.
        resampled: The same episodes at other numbers of steps, with their simulators; for `views` alone.
        checkpoint: File to go on from and to write now and then; None keeps nothing.
        progress: Gets a line now and then.

    Raises:
        InputError: If an episode is longer than the agent's context, or the checkpoint has other
            settings.
        TrainingError: If a loss is not finite.
    """
    if episodes.valid_mask_ET.shape[1] > agent.config.context:
        raise InputError(
            f"the longest trajectory has {num_text(episodes.valid_mask_ET.shape[1], 'step')}, but the agent "
            f"reads only {agent.config.context}; train the agent with a longer --context"
        )
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        loop = _Loop(
            agent,
            (Task(episodes=episodes, simulators=tuple(simulators)), *resampled),
            settings=settings,
            checkpoint=checkpoint,
            progress=progress,
        )
        return loop.run()


class _Loop:
    def __init__(
        self,
        agent: Agent,
        tasks: Sequence[Task],
        *,
        settings: RlSettings,
        checkpoint: Path | None,
        progress: Callable[[str], None],
    ) -> None:
        assert settings.discount is not None and settings.preset is not None, "settings are not resolved"
        self.bounded = settings.preset == "paper"
        self.device = "cuda:0" if torch.cuda.is_available() else "cpu"
        self.settings, self.checkpoint, self.progress = settings, checkpoint, progress
        self.tasks = tasks
        self._use(tasks[0])
        self.farm_mapping = self.mapping
        self.rollouts: list[EpisodeBatch] = []
        self.algorithm = new_algorithm(agent, tasks[0].episodes, settings, device=self.device)
        self.rng = np.random.default_rng(settings.seed)
        self.done = {"returns": 0, "updates": 0}
        self._sums: dict[str, list[float]] = {}

    @during("")
    def run(self) -> RlResult:
        self._load()
        with _interrupts() as interrupted:
            losses = self._train(interrupted)
        if self.settings.views:
            self.algorithm.impl.serve(torch.tensor(self.tasks[0].episodes.space.active_N))
        policy = self.algorithm.impl.policy
        trained: Agent = policy.agent.to("cpu").eval()
        return RlResult(
            agent=trained,
            algorithm=self.algorithm,
            mapping=self.farm_mapping,
            losses=losses,
            updates=self.done["updates"],
        )

    def _train(self, interrupted: Callable[[], bool]) -> dict[str, float]:
        """All updates that are left; returns the means of the last report's losses."""
        reported = saved = time.monotonic()
        settings = self.settings
        losses: dict[str, float] = {}
        while self.done["updates"] < settings.steps:
            doing(f"update {sum(self.done.values()) + 1} of {settings.returns_steps + settings.steps}")
            batch = self._draw()
            if self.done["returns"] < settings.returns_steps:
                found = self.algorithm.fit_returns(batch)
                self.done["returns"] += 1
            else:
                found = self.algorithm.update(batch)
                self.done["updates"] += 1
            self._collect(found)
            now = time.monotonic()
            if now - reported > _REPORT_SECONDS:
                reported, losses = now, self._report()
            stop = interrupted()
            if self.checkpoint is not None and (stop or now - saved > _CHECKPOINT_SECONDS):
                self._save()
                saved = now
            if stop:
                raise KeyboardInterrupt
        return self._report() or losses

    def _draw(self) -> EpisodeBatch:
        """A batch: farm episodes, and imagined ones once the critics know the farm's returns."""
        share = self.settings.imagined or 0.0
        every = self.settings.imagined_every
        if self.settings.views and sum(self.done.values()) % every == 0:
            self._augment(sum(self.done.values()) // every)
        number = min(self.settings.batch_episodes, len(self.data.tokens_ESX))
        if not self.simulators or self.done["returns"] < self.settings.returns_steps:
            return self._rows(self.data, number)
        if not self.rollouts or (not self.settings.views and self.done["updates"] % every == 0):
            self._make_rollouts()
        simulated = min(number - 1, round(share * number))
        recent = EpisodeBatch.joined(self.rollouts)
        return EpisodeBatch.joined([self._rows(self.data, number - simulated), self._rows(recent, simulated)])

    def _rows(self, data: EpisodeBatch, number: int) -> EpisodeBatch:
        rows = self.rng.choice(len(data.tokens_ESX), min(number, len(data.tokens_ESX)), replace=False)
        return data.rows(torch.from_numpy(rows), device=self.device)

    def _make_rollouts(self) -> None:
        """Runs of the policy as it is now; the oldest ones are dropped."""
        simulator = self.simulators[
            self.done["updates"] // self.settings.imagined_every % len(self.simulators)
        ]
        found = make_rollouts(
            self.algorithm.impl.policy, simulator, runs=self.settings.imagined_runs, rng=self.rng
        )
        steps = self.data.valid_mask_ET.shape[1]
        grad_PTN = self.mapping.scale * found.grad_PTN
        missing = steps - grad_PTN.shape[1]
        fresh = self._mapped(padded_to(found.episodes, steps)).as_rollouts(
            torch.from_numpy(found.stray_P), torch.nn.functional.pad(grad_PTN, (0, 0, 0, missing))
        )
        self.rollouts = [*self.rollouts[1 - _GENERATIONS :], fresh]

    def _use(self, task: Task) -> None:
        """Draws from this task from now on."""
        assert self.settings.discount is not None
        self.simulators = task.simulators if self.settings.imagined else ()
        self.mapping = reward_map(task.episodes, discount=self.settings.discount, bounded=self.bounded)
        self.data = self._mapped(task.episodes)

    def _augment(self, turn: int) -> None:
        """Another augmentation of the farm; it depends on the seed and the turn alone.

        Rollouts through the last one are of other domains, and are dropped.
        """
        rng = np.random.default_rng([self.settings.seed, turn])
        task = self.tasks[rng.integers(len(self.tasks))]
        augmentation = (
            random_augmentation(task, rng)
            if rng.random() < self.settings.views
            else identity_augmentation(task)
        )
        self._use(seen(task, augmentation))
        self.algorithm.impl.serve(torch.tensor(augmentation.space.active_N))
        self.rollouts = []

    def _mapped(self, episodes: Episodes) -> EpisodeBatch:
        assert self.settings.discount is not None
        return EpisodeBatch.of_episodes(
            episodes, mapping=self.mapping, discount=self.settings.discount, potential=False
        )

    def _collect(self, found: dict[str, float]) -> None:
        for name, value in found.items():
            if not np.isfinite(value):
                raise TrainingError(
                    f"{name} is {value} after {self.done['updates']} updates; lower the learning rates"
                )
            self._sums.setdefault(name, []).append(value)

    def _report(self) -> dict[str, float]:
        """Says where the training is; returns the means of the losses since the last time."""
        means = {name: float(np.mean(values)) for name, values in self._sums.items()}
        self._sums = {}
        if means:
            text = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
            if self.done["updates"]:
                self.progress(f"update {self.done['updates']} of {self.settings.steps}: {text}")
            else:  # --steps begin after these
                self.progress(
                    f"critics learn final utilities of trajectories: gradient step {self.done['returns']} of "
                    f"{self.settings.returns_steps}, {text}"
                )
        return means

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must agree on."""
        return {
            **dataclasses.asdict(self.settings),
            "agent": self.algorithm.config.agent,
            "episodes": len(self.tasks[0].episodes),
        }

    def _save(self) -> None:
        assert self.checkpoint is not None
        weights, whole = io.BytesIO(), io.BytesIO()
        self.algorithm.impl.save_model(weights)
        state = {
            "identity": self._identity(),
            "done": self.done,
            "weights": weights.getvalue(),
            "imagined": [vars(batch) for batch in self.rollouts],
            "torch": torch.get_rng_state(),
            "numpy": self.rng.bit_generator.state,
        }
        torch.save(state, whole)
        publish_bytes(self.checkpoint, whole.getvalue())

    def _load(self) -> None:
        if self.checkpoint is None or not self.checkpoint.is_file():
            return
        with readable(self.checkpoint, what="a state of training", fix="delete this file to start again"):
            state = torch.load(self.checkpoint, weights_only=True)
            if state["identity"] != self._identity():
                raise InputError(
                    f"{self.checkpoint} belongs to a training with other settings or data; use the same"
                    " ones, or delete this file to start again"
                )
            self.done = state["done"]
            if self.settings.views and sum(self.done.values()):
                self._augment((sum(self.done.values()) - 1) // self.settings.imagined_every)
            self.algorithm.impl.load_model(io.BytesIO(state["weights"]))
            torch.set_rng_state(state["torch"])
            self.rng.bit_generator.state = state["numpy"]
            self.rollouts = [EpisodeBatch(**parts) for parts in state["imagined"]]
            self.algorithm.resume_at(self.done["updates"])
        self.progress(f"resuming after {self.done['updates']} updates")


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C was pressed; asked between updates, so that no half a step is saved."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def new_algorithm(agent: Agent, episodes: Episodes, settings: RlSettings, *, device: str) -> SimplexCQL:
    """The algorithm with the actor's weights from `agent` and fresh critics."""
    config = SimplexCQLConfig(
        agent=arguments_of(agent.config),
        active=[bool(active) for active in episodes.space.active_N],
        gamma=settings.required("discount"),
        actor_learning_rate=settings.actor_learning_rate,
        critic_learning_rate=settings.critic_learning_rate,
        conservative_weight=settings.required("conservative_weight"),
        n_action_samples=settings.action_samples,
        backup_samples=settings.backup_samples,
        n_critics=settings.critics,
        tau=settings.tau,
        simulator_share=settings.required("simulator_share"),
        proximity=settings.required("proximity"),
        actor_delay=settings.actor_delay,
        actor_updates=max(1, settings.steps - settings.actor_delay),
        critic_updates=settings.returns_steps + settings.steps,
    )
    algorithm = config.create(device=device)
    algorithm.create_impl((episodes.tokens_ESX.shape[-1],), len(episodes.space))
    algorithm.impl.policy.agent.load_state_dict(agent.state_dict())
    return algorithm
