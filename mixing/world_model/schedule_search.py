"""The best schedule in a learned simulator: offline planning without an agent.

The network of `learned_simulator` is fitted on a farm with zeros in place of the scores that it
would read: a schedule is chosen before any score is seen, so what counts is the expected
level after its mixtures, over all that only scores could tell. Several of them, each on its own
nine tenths of the farm, then judge schedules at once, and gradient ascent on the logits of all M
mixtures raises the mean predicted utility less its spread over the models (pessimism in
the face of what the data does not show, as in MOPO, Yu et al. 2020, arXiv 2005.13239).

Shapes: E episodes, P schedules, T = M steps, N domains, A active ones, D objectives, K models.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmix.mixing.agent.features import RunContext
from dmix.mixing.offline.episodes import Episodes
from dmix.mixing.offline.runs import ends_at
from dmix.mixing.space.domains import Vector
from dmix.mixing.world_model.learned_simulator import FeedbackModel, minimise

logger = logging.getLogger(__name__)

# Ascent starts no nearer to a face of the simplex: where a share is 0 its logit has no gradient.
_SMALLEST_START = 1e-3
_TRAINING_SHARE = 0.9


@dataclass(frozen=True, kw_only=True)
class ScheduleSettings:
    """How a schedule is searched.

    Attributes:
        models: K.
        model_steps: Gradient steps of each model.
        batch_episodes: Episodes per gradient step.
        model_learning_rate: Of Adam; it falls to 0 along a cosine.
        width: Of the models' hidden layers.
        starts: The farm's best schedules that the ascent starts from, beside natural shares.
        ascent_steps: Gradient steps on the logits.
        ascent_learning_rate: Of Adam, for the logits.
        caution: Deviations over the models that are taken off the mean.
        seed: Of weights, batches and parts.
    """

    models: int = 4
    model_steps: int = 800
    batch_episodes: int = 64
    model_learning_rate: float = 3e-3
    width: int = 32
    starts: int = 7
    ascent_steps: int = 100
    ascent_learning_rate: float = 0.1
    caution: float = 1.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundSchedule:
    """A schedule and what the models expect of it.

    Attributes:
        mixtures_TN: Shape (M, N).
        expected: Mean predicted utility at its end.
        disagreement: Standard deviation of that over the models.
    """

    mixtures_TN: NDArray[np.float64]
    expected: float
    disagreement: float


def find_schedule(
    episodes: Episodes,
    *,
    context: RunContext,
    weights_D: Vector,
    target_steps: float,
    settings: ScheduleSettings,
    progress: Callable[[str], None] = logger.info,
) -> FoundSchedule:
    """The schedule of M steps with the highest cautious utility; deterministic.

    Args:
        episodes: The farm.
        context: Of its runs.
        weights_D: lambda_i.
        target_steps: |T| / R; a schedule is worth its utility at the step that reaches it.
        settings: How to search.
        progress: Gets a line now and then.

    Raises:
        InputError: If no episode came to its end.
    """
    with torch.random.fork_rng():
        models = [
            _fitted(
                episodes, context=context, settings=settings, seed=settings.seed + number, progress=progress
            )
            for number in range(settings.models)
        ]
        return _ascend(
            models,
            _starts(episodes, context=context, number=settings.starts),
            context=context,
            weights_D=torch.from_numpy(weights_D).float(),
            target_steps=target_steps,
            settings=settings,
            progress=progress,
        )


def _fitted(
    episodes: Episodes,
    *,
    context: RunContext,
    settings: ScheduleSettings,
    seed: int,
    progress: Callable[[str], None],
) -> FeedbackModel:
    """A model of levels by mixtures alone, on nine tenths of the episodes."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    part = rng.permutation(len(episodes))[: max(1, round(_TRAINING_SHARE * len(episodes)))]
    training = episodes.chosen(part)
    mixtures_ETN, levels_ETD = training.actions_ETN, training.changes_ESD[:, 1:]
    unit_D = levels_ETD[training.valid_mask_ET].std(0, unbiased=False).clamp_min(1e-9)
    model = FeedbackModel(
        supply_N=torch.from_numpy(context.supply_N / context.passes),
        steps=context.steps,
        unit_D=unit_D,
        width=settings.width,
    )

    def loss_of(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        error_ETD = (_levels(model, mixtures_ETN[rows]) - levels_ETD[rows]) / unit_D
        loss = error_ETD[training.valid_mask_ET[rows]].square().mean()
        return loss, loss.detach()

    number = seed - settings.seed + 1
    minimise(
        model,
        loss_of,
        episodes=len(training),
        batch_episodes=settings.batch_episodes,
        steps=settings.model_steps,
        learning_rate=settings.model_learning_rate,
        rng=rng,
        progress=lambda line: progress(f"schedule, model {number} of {settings.models}, {line}"),
    )
    return model.eval().requires_grad_(False)


def _levels(model: FeedbackModel, mixtures_PTN: Tensor) -> Tensor:
    """Expected (score_t - score_0) / s_i after each step, (P, T, D), no score being known."""
    unseen_PTD = mixtures_PTN.new_zeros(*mixtures_PTN.shape[:2], len(model.unit_D))
    mean_PTD: Tensor = model(mixtures_PTN, unseen_PTD)[0]
    return mean_PTD


def _starts(episodes: Episodes, *, context: RunContext, number: int) -> Tensor:
    """Natural shares and the farm's best schedules, each held to step M, shape (P, M, N)."""
    starts = [np.tile(context.space.natural_N, (context.steps, 1))]
    best = episodes.best(min(1.0, number / len(episodes)))
    for row in range(min(number, len(best))):
        made = int(best.valid_mask_ET[row].sum())
        schedule_TN = best.actions_ETN[row, :made].double().numpy()
        starts.append(schedule_TN[np.minimum(np.arange(context.steps), made - 1)])
    return torch.from_numpy(np.stack(starts))


def _ascend(
    models: Sequence[FeedbackModel],
    starts_PTN: Tensor,
    *,
    context: RunContext,
    weights_D: Tensor,
    target_steps: float,
    settings: ScheduleSettings,
    progress: Callable[[str], None],
) -> FoundSchedule:
    """All starts at once; the best schedule that any of them passed through."""
    active_N = torch.tensor(context.space.active_N)
    logits_PTA = starts_PTN[..., active_N].clamp_min(_SMALLEST_START).log().float().requires_grad_()
    optimizer = torch.optim.Adam([logits_PTA], lr=settings.ascent_learning_rate)
    best: FoundSchedule | None = None
    worth = -np.inf
    for step in range(settings.ascent_steps + 1):
        mixtures_PTN = starts_PTN.new_zeros(starts_PTN.shape, dtype=torch.float32)
        mixtures_PTN[..., active_N] = logits_PTA.softmax(-1)
        plain_PTN = mixtures_PTN.detach().double().numpy()
        ends_P = torch.tensor([_end(plain_TN, context, target_steps) for plain_TN in plain_PTN])
        utility_KPT = torch.stack([_levels(model, mixtures_PTN) @ weights_D for model in models])
        utility_KP = utility_KPT[:, torch.arange(len(ends_P)), ends_P - 1]
        mean_P, spread_P = utility_KP.mean(0), utility_KP.std(0, unbiased=False)
        cautious_P = mean_P - settings.caution * spread_P
        chosen = int(cautious_P.argmax())
        if float(cautious_P[chosen]) > worth:
            worth = float(cautious_P[chosen])
            best = FoundSchedule(
                mixtures_TN=plain_PTN[chosen] / plain_PTN[chosen].sum(-1, keepdims=True),
                expected=float(mean_P[chosen]),
                disagreement=float(spread_P[chosen]),
            )
        if step < settings.ascent_steps:
            optimizer.zero_grad(set_to_none=True)
            (-cautious_P.sum()).backward()
            optimizer.step()
    assert best is not None, "a model predicted no finite utility"
    progress(f"schedule: expected utility {best.expected:.3f}; the models differ by {best.disagreement:.3f}")
    return best


def _end(schedule_TN: NDArray[np.float64], context: RunContext, target_steps: float) -> int:
    """The step that ends a run of this schedule."""
    with_start_SN = np.vstack([context.space.start_N, schedule_TN])
    end = ends_at(with_start_SN, context=context, target_steps=target_steps)
    assert end is not None, "a schedule of M steps has an end"
    return end
