"""Supervised fine-tuning of the agent on trajectories (Eq. 4 of arXiv 2507.15640).

Squared error between the agent's mixture and that of the K = 1 trajectories, for t = 1 … |tau|-1,
with teacher forcing: one causal forward pass gives all steps of a trajectory. Feedback is read
where the set has it; a trajectory without it gets features of 0, and a set without any makes an
agent that reads mixtures alone. Shapes: B windows, T tokens, X token width, N domains.
"""

import copy
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmix.mixing.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.agent_store import publish_agent
from dmix.mixing.domains import DomainSpace
from dmix.mixing.features import RunContext, Tokens, tokens
from dmix.mixing.feedback import farm_scales, feedback_objectives, read_feedback
from dmix.mixing.sample_settings import PRESETS
from dmix.mixing.standardise import features
from dmix.mixing.trajectory_store import Trajectory, read_set, read_trajectories
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.layout import Warehouse
from dmix.warehouse_schema.settings import setting

logger = logging.getLogger(__name__)

_REPORT_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class SftSettings:
    """How an agent is fine-tuned; the paper gives no value for most of it."""

    preset: str | None = setting(
        None, help="Tokens and features of the agent; the set's preset when left out.", choices=PRESETS
    )
    learning_rate: float = setting(3e-4, help="Of AdamW.")
    weight_decay: float = setting(0.01, help="Of AdamW.")
    batch_trajectories: int = setting(16, help="Trajectories a gradient step.")
    epochs: int = setting(200, help="Most passes over the trajectories.")
    patience: int = setting(20, help="Epochs without a better held-out loss until training stops.")
    held_out: float = setting(0.1, help="Share of trajectories that only measure; none below 5 trajectories.")
    context: int = setting(80, help="Most steps the agent looks back (from the paper).")
    hidden_size: int = setting(256, help="Width of the agent (from the paper).")
    feedforward: int = setting(1024, help="Width of its SwiGLU (from the paper).")
    layers: int = setting(2, help="Its decoder layers (from the paper).")
    heads: int = setting(4, help="Its attention heads (not in the paper).")
    seed: int = setting(0, help="Seed of weights, order and held-out trajectories.")

    def __post_init__(self) -> None:
        for name in ("batch_trajectories", "epochs", "patience", "context", "layers", "heads"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected at least 1")
        if not self.learning_rate > 0:
            raise InputError(f"--learning-rate is {self.learning_rate}, expected a number above 0")
        if not 0 <= self.held_out < 1:
            raise InputError(f"--held-out is {self.held_out}, expected 0 or more, below 1")
        if self.hidden_size % (2 * self.heads):
            raise InputError(
                f"--hidden-size is {self.hidden_size}, expected a multiple of {2 * self.heads} (2 x --heads)"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One trajectory as the agent learns from it.

    Attributes:
        tokens_TX: Tokens of the states 0 … |tau|-2.
        mixtures_TN: What followed each of them, float32.
    """

    tokens_TX: Tokens
    mixtures_TN: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SftResult:
    """What came of a fine-tuning.

    Attributes:
        train_losses: Mean squared error (summed over domains) a step, by epoch.
        held_out_losses: The same on held-out trajectories; empty if there are none.
        best_epoch: The epoch whose weights were kept, from 1.
        trajectories: Number of trajectories learnt from, held-out ones included.
        with_feedback: How many of them have feedback.
    """

    train_losses: tuple[float, ...]
    held_out_losses: tuple[float, ...]
    best_epoch: int
    trajectories: int = 0
    with_feedback: int = 0


def train_sft(
    warehouse: Warehouse,
    *,
    set_name: str,
    agent_name: str,
    settings: SftSettings,
    overwrite: bool = False,
    progress: Callable[[str], None] = logger.info,
) -> SftResult:
    """Trains an agent on a set and publishes it as `agents/<name>/`.

    Args:
        warehouse: Holds the set and takes the agent.
        set_name: Set of trajectories.
        agent_name: Name of the agent.
        settings: How to train.
        overwrite: Replace an agent of that name.
        progress: Gets a line now and then.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If the set has no trajectories to learn from, or the agent exists.
    """
    found = read_set(warehouse, set_name)
    preset = settings.preset or found.preset
    chosen = _taught(read_trajectories(warehouse, set_name), preset=preset)
    feedback, names = read_feedback(warehouse, set_name), feedback_objectives(warehouse, set_name)
    space = found.domain_space
    examples = make_examples(
        chosen, feedback=feedback, objectives=names, context=RunContext.of_set(found), preset=preset
    )
    config = MixingAgentConfig(
        labels=space.labels,
        objectives=names,
        preset=preset,
        context=settings.context,
        hidden_size=settings.hidden_size,
        feedforward=settings.feedforward,
        layers=settings.layers,
        heads=settings.heads,
        set_name=set_name,
    )
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        agent = MixingAgent(config)
    progress(f"{len(examples)} trajectories, {agent.num_parameters():,} parameters")
    result = fit(agent, examples, space=space, settings=settings, progress=progress)
    result = SftResult(
        train_losses=result.train_losses,
        held_out_losses=result.held_out_losses,
        best_epoch=result.best_epoch,
        trajectories=len(chosen),
        with_feedback=sum(1 for trajectory in chosen if trajectory.trajectory_id in feedback),
    )
    publish_agent(
        warehouse, agent=agent, name=agent_name, stage="sft", notes=_card_notes(result), overwrite=overwrite
    )
    return result


def make_examples(
    trajectories: Sequence[Trajectory],
    *,
    feedback: dict[str, NDArray[np.float64]],
    objectives: Sequence[str],
    context: RunContext,
    preset: str,
) -> list[Example]:
    """The examples of trajectories; features are fitted on all feedback of the set.

    Args:
        trajectories: With at least one step each.
        feedback: Raw scores (T, D) by trajectory id; missing ones become features of 0.
        objectives: Names of the D objectives; () without feedback.
        context: Of the set.
        preset: `paper` or `default`.

    Raises:
        InputError: If a trajectory has more entries than its feedback.
    """
    ids = sorted(feedback)
    scales_D = farm_scales(feedback.values(), objectives=objectives) if ids else np.empty(0)
    fitted = features([feedback[name] for name in ids], scales_D=scales_D, preset=preset) if ids else []
    by_id = dict(zip(ids, fitted, strict=True))
    examples = []
    for trajectory in trajectories:
        mixtures_TN = trajectory.mixtures_TN
        feedback_TD = by_id.get(trajectory.trajectory_id, np.zeros((len(mixtures_TN), len(objectives))))
        if len(feedback_TD) != len(mixtures_TN):
            raise InputError(
                f"trajectory {trajectory.trajectory_id} has {len(mixtures_TN)} entries and feedback on"
                f" {len(feedback_TD)}; delete its feedback file and collect it again"
            )
        tokens_TX = tokens(mixtures_TN[:-1], feedback_TD[:-1], context=context, preset=preset)
        examples.append(Example(tokens_TX=tokens_TX, mixtures_TN=mixtures_TN[1:].astype(np.float32)))
    return examples


def fit(
    agent: MixingAgent,
    examples: Sequence[Example],
    *,
    space: DomainSpace,
    settings: SftSettings,
    progress: Callable[[str], None] = logger.info,
) -> SftResult:
    """Trains `agent` in place and leaves it with the weights of its best epoch.

    The best epoch is that of the lowest held-out loss, or of the lowest training loss where
    nothing is held out.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    agent.to(device).train()
    rng = np.random.default_rng(settings.seed)
    order = rng.permutation(len(examples))
    held = int(np.ceil(settings.held_out * len(examples))) if len(examples) >= 5 else 0
    held_out, training = ([examples[i] for i in part] for part in (order[:held], order[held:]))
    active_N = torch.from_numpy(space.active_N).to(device)
    optimizer = torch.optim.AdamW(
        agent.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    train_losses: list[float] = []
    held_losses: list[float] = []
    best, best_epoch, best_weights = np.inf, 0, copy.deepcopy(agent.state_dict())
    reported = time.monotonic()
    for epoch in range(1, settings.epochs + 1):
        shuffled = [training[i] for i in rng.permutation(len(training))]
        train_losses.append(_epoch(agent, shuffled, active_N, settings=settings, optimizer=optimizer))
        if held_out:
            held_losses.append(_epoch(agent, held_out, active_N, settings=settings, optimizer=None))
        judged = (held_losses or train_losses)[-1]
        if judged < best:
            best, best_epoch, best_weights = judged, epoch, copy.deepcopy(agent.state_dict())
        if time.monotonic() - reported > _REPORT_SECONDS:
            reported = time.monotonic()
            progress(f"epoch {epoch}: squared error {train_losses[-1]:.5f}, held out {judged:.5f}")
        if epoch - best_epoch >= settings.patience:
            break
    agent.load_state_dict(best_weights)
    agent.to("cpu").eval()
    progress(f"kept epoch {best_epoch} of {len(train_losses)}: squared error {best:.5f}")
    return SftResult(
        train_losses=tuple(train_losses), held_out_losses=tuple(held_losses), best_epoch=best_epoch
    )


def squared_error(agent: MixingAgent, batch: Sequence[Example], active_N: Tensor) -> tuple[Tensor, int]:
    """(sum over steps of the squared L2 error, number of steps), Eq. 4 for one padded batch.

    Tokens beyond the context are handled as in a run: a step t > context is judged in a window of
    its own, the last `context` tokens before it.
    """
    windows = [window for example in batch for window in _windows(example, agent.config.context)]
    longest = max(len(tokens_TX) for tokens_TX, _, _ in windows)
    tokens_BTX = torch.zeros(len(windows), longest, windows[0][0].shape[1])
    target_BTN = torch.zeros(len(windows), longest, windows[0][1].shape[1])
    judged_BT = torch.zeros(len(windows), longest, dtype=torch.bool)
    for row, (tokens_TX, mixtures_TN, first) in enumerate(windows):
        length = len(tokens_TX)
        tokens_BTX[row, :length] = torch.from_numpy(tokens_TX)
        target_BTN[row, :length] = torch.from_numpy(mixtures_TN)
        judged_BT[row, first:length] = True
    device = active_N.device
    mixture_BTN = agent(tokens_BTX.to(device), active_N.expand(len(windows), -1))
    error_BT = (mixture_BTN - target_BTN.to(device)).square().sum(-1)
    return error_BT[judged_BT.to(device)].sum(), int(judged_BT.sum())


def _windows(example: Example, context: int) -> Iterator[tuple[Tokens, NDArray[np.float32], int]]:
    """(tokens, following mixtures, first judged position) of every window of an example."""
    length = len(example.tokens_TX)
    yield example.tokens_TX[:context], example.mixtures_TN[:context], 0
    for end in range(context + 1, length + 1):
        part = slice(end - context, end)
        yield example.tokens_TX[part], example.mixtures_TN[part], context - 1


def _epoch(
    agent: MixingAgent,
    examples: Sequence[Example],
    active_N: Tensor,
    *,
    settings: SftSettings,
    optimizer: torch.optim.Optimizer | None,
) -> float:
    """Mean squared error a step over `examples`; takes gradient steps if there is an optimiser."""
    total, steps = 0.0, 0
    with torch.set_grad_enabled(optimizer is not None):
        for first in range(0, len(examples), settings.batch_trajectories):
            batch = examples[first : first + settings.batch_trajectories]
            error, count = squared_error(agent, batch, active_N)
            if optimizer is not None:
                optimizer.zero_grad(set_to_none=True)
                (error / count).backward()
                torch.nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
                optimizer.step()
            total, steps = total + float(error.detach()), steps + count
    return total / steps


def _taught(trajectories: Sequence[Trajectory], *, preset: str) -> list[Trajectory]:
    """The trajectories to imitate: those of K = 1, in `default` of the lowest K that there is."""
    inductive = [t for t in trajectories if t.top_k is not None]
    lowest = min((t.top_k for t in inductive if t.top_k is not None), default=None)
    if lowest is None or (preset == "paper" and lowest != 1):
        there = "none" if lowest is None else f"the lowest K is {lowest}"
        raise InputError(
            f"the set has no trajectories of K = 1 ({there}); sample it with 'dmix mix sample --top-k 1'"
        )
    return [t for t in inductive if t.top_k == lowest]


def _card_notes(result: SftResult) -> list[str]:
    lines = [
        f"Fine-tuned (Eq. 4) on {result.trajectories} trajectories, {result.with_feedback} of them with feedback.",
        f"Squared error a step: {result.train_losses[result.best_epoch - 1]:.5f} in training"
        + (
            f", {result.held_out_losses[result.best_epoch - 1]:.5f} held out."
            if result.held_out_losses
            else "."
        ),
    ]
    if not result.with_feedback:
        lines.append("The set had no feedback: this agent reads mixtures alone.")
    return lines
