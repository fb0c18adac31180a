"""A learned simulator of the feedback: scores as a function of the mixtures so far, fitted on a farm.

A small network predicts the next level of every score, in units of s_i, as a normal distribution. It reads
sums of the mixtures with several rates of fading (what was trained on lately, and in all), what
was drawn beyond a domain's supply, and averages of the scores seen so far, so that kinds of runs
which only feedback tells apart are told apart. Levels and not changes: noise of one step is
not carried into the next, and errors do not add up. Policies run against it many at a time,
with the tokens and features that real runs would give them.

A policy that is trained in a simulator finds where it errs in the policy's favour. So a score counts
for less where the farm says too little: where the leverage phi' A^-1 phi of its inputs is above 1,
A = 1 + sum over the farm's runs of the mean of phi phi' over their states. The states of a run err
alike, so a run is one observation, and in linear regression a score would be known there less well
than by one (for such bounds see Jin et al. 2021, arXiv 2012.15085). And no score leaves the range
that the farm saw by more than two of its deviations: beyond it a network's word is worth nothing, and
a single absurd return throws the critics off. Nor does a run draw more of a domain than it has.

Shapes: P runs, E episodes, T steps, S = T + 1 states, D objectives, N domains, X token width,
F rates of fading, I inputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dmix.mixing.agent.features import RunContext, tokens
from dmix.mixing.agent.standardise import features
from dmix.mixing.delivery.exhaustion import feasible
from dmix.mixing.offline.episodes import Episodes, assembled
from dmix.mixing.offline.farm import Farm
from dmix.mixing.offline.runs import Run, ends_at
from dmix.mixing.space.domains import Array, Vector

_REPORTS = 4
# In steps: a domain has given all once no more than this is left.
_ALL_GIVEN = 1e-4
# Bounds of the log-standard deviation of a level, in units of the farm's own deviation.
_LOG_STD = (-5.0, 1.0)
# Share of an earlier step that is still there a step later; 1 sums all of them.
_KEPT = (0.0, 0.5, 0.8, 0.9, 0.95, 1.0)

# The next mixtures (P, N) from the mixtures (P, t, N) and tokens (P, t, X) so far.
Decide = Callable[[Array, NDArray[np.float32]], Array]


@dataclass(frozen=True, kw_only=True)
class SimulatorSettings:
    """How a simulator is fitted.

    Attributes:
        steps: Gradient steps.
        batch_episodes: Episodes a step.
        learning_rate: Of Adam; it falls to 0 along a cosine.
        width: Of the hidden layers.
        held_out: Share of the episodes that only measure; 0 fits on all.
        seed: Of weights, batches and the held-out part.
        pessimism: Weight of the uncertainty penalty, in standard deviations of the farm's scores.
    """

    steps: int
    batch_episodes: int
    learning_rate: float
    width: int
    held_out: float
    seed: int
    pessimism: float = 0.0


class FeedbackModel(nn.Module):
    """Law of (score_t - score_0) / s_i given the mixtures up to t and the scores before it.

    Args:
        supply_N: Samples of a domain in units of R: what is drawn beyond it is repetition.
        steps: M.
        unit_D: Standard deviation of the farm's levels.
        width: Of the hidden layers.
    """

    supply_N: Tensor
    unit_D: Tensor
    whitening_II: Tensor
    low_D: Tensor
    high_D: Tensor

    def __init__(self, *, supply_N: Tensor, steps: int, unit_D: Tensor, width: int) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("supply_N", supply_N.float())
        self.register_buffer("unit_D", unit_D.float())
        inputs = len(supply_N) * (len(_KEPT) + 1) + len(unit_D) * len(_KEPT) + 1
        self.linear = nn.Linear(inputs, 2 * len(unit_D))
        self.mlp = nn.Sequential(
            nn.Linear(inputs, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 2 * len(unit_D)),
        )
        # These penalise and bound nothing; `learn_limits` is for those who let policies loose in the model.
        self.register_buffer("whitening_II", torch.zeros(inputs, inputs))
        self.register_buffer("low_D", torch.full_like(self.unit_D, -torch.inf))
        self.register_buffer("high_D", torch.full_like(self.unit_D, torch.inf))

    def forward(self, mixtures_PTN: Tensor, changes_PTD: Tensor) -> tuple[Tensor, Tensor]:
        """Mean level, in units of s_i, and its standard deviation, after each step; (P, T, D) each.

        Args:
            mixtures_PTN: Of steps 1 … T.
            changes_PTD: Levels of states 0 … T - 1.
        """
        return self._distribution(self._inputs(mixtures_PTN, changes_PTD / self.unit_D))

    def next_distribution(self, mixtures_PTN: Tensor, changes_PTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`forward` and `uncertainty_penalty` of the last of these steps; (P, D), (P, D) and (P,)."""
        inputs_PI = self._last_inputs(mixtures_PTN, changes_PTD / self.unit_D)
        return *self._distribution(inputs_PI), self._uncertainty_penalty(inputs_PI)

    def uncertainty_penalty(self, mixtures_PTN: Tensor, changes_PTD: Tensor) -> Tensor:
        """Half the logarithm of each state's leverage, (P, T); 0 where that is below 1."""
        return self._uncertainty_penalty(self._inputs(mixtures_PTN, changes_PTD / self.unit_D))

    def _distribution(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = (self.linear(inputs) + self.mlp(inputs)).chunk(2, dim=-1)
        low, high = _LOG_STD
        std = torch.exp(low + (high - low) * torch.sigmoid(raw))
        return self._bounded(mean * self.unit_D), std * self.unit_D

    def _uncertainty_penalty(self, inputs: Tensor) -> Tensor:
        leverage = (inputs @ self.whitening_II).square().sum(-1)
        return 0.5 * leverage.clamp_min(1).log()

    @torch.no_grad()
    def learn_limits(self, mixtures_ETN: Tensor, changes_ESD: Tensor, valid_mask_ET: Tensor) -> None:
        """Takes from the farm what it says enough of, and between which levels its scores lay."""
        inputs_ETI = self._inputs(mixtures_ETN, changes_ESD[:, :-1] / self.unit_D)
        # States of one run err alike, so that together they are one observation.
        share_ET = valid_mask_ET / valid_mask_ET.sum(1, keepdim=True).clamp_min(1)
        seen_RI = (inputs_ETI * share_ET.sqrt()[..., None])[valid_mask_ET].double()
        gram_II = seen_RI.T @ seen_RI + torch.eye(seen_RI.shape[1], dtype=torch.float64)
        # phi' A^-1 phi = |phi' L^-T|^2 with A = L L'
        self.whitening_II.copy_(torch.linalg.inv(torch.linalg.cholesky(gram_II)).T)
        levels_RD = changes_ESD[:, 1:][valid_mask_ET]
        self.low_D.copy_(levels_RD.amin(0))
        self.high_D.copy_(levels_RD.amax(0))

    def _bounded(self, level_PTD: Tensor) -> Tensor:
        """The same up to one deviation beyond the farm's range, and at most one more from there on."""
        within_PTD = level_PTD.clamp(self.low_D - self.unit_D, self.high_D + self.unit_D)
        return within_PTD + self.unit_D * torch.tanh((level_PTD - within_PTD) / self.unit_D)

    def _inputs(self, mixtures_PTN: Tensor, changes_PTD: Tensor) -> Tensor:
        runs, steps, domains = mixtures_PTN.shape
        left_T1 = 1 - torch.arange(steps, device=mixtures_PTN.device)[:, None] / self.steps
        excess_PTN = (mixtures_PTN.cumsum(1) - self.supply_N).clamp_min(0) / self.steps
        parts = [
            faded(mixtures_PTN, self.steps).reshape(runs, steps, -1) * domains**0.5,
            excess_PTN * domains**0.5,
            faded(changes_PTD, self.steps).reshape(runs, steps, -1),
            left_T1.expand(runs, steps, 1),
        ]
        return torch.cat(parts, dim=-1)

    def _last_inputs(self, mixtures_PTN: Tensor, changes_PTD: Tensor) -> Tensor:
        """The last row of `_inputs`, (P, I), at a cost that does not grow with the square of T."""
        runs, made, domains = mixtures_PTN.shape
        excess_PN = (mixtures_PTN.sum(1) - self.supply_N).clamp_min(0) / self.steps
        parts = [
            faded_at_end(mixtures_PTN, self.steps).flatten(1) * domains**0.5,
            excess_PN * domains**0.5,
            faded_at_end(changes_PTD, self.steps).flatten(1),
            mixtures_PTN.new_full((runs, 1), 1 - (made - 1) / self.steps),
        ]
        return torch.cat(parts, dim=-1)


def faded_at_end(values_PTV: Tensor, steps: int) -> Tensor:
    """The last of what `faded` gives, (P, F, V)."""
    kept_F1 = torch.tensor(_KEPT, dtype=values_PTV.dtype, device=values_PTV.device)[:, None]
    age_T = torch.arange(values_PTV.shape[1] - 1, -1, -1, device=values_PTV.device)
    scale_F1 = torch.where(kept_F1 < 1, 1 - kept_F1, 1 / steps)
    return torch.einsum("ft,ptv->pfv", scale_F1 * kept_F1**age_T, values_PTV)


def faded(values_PTV: Tensor, steps: int) -> Tensor:
    """Sums of the values so far at every rate of `_KEPT`, scaled to their size; (P, T, F, V)."""
    kept_F1 = torch.tensor(_KEPT, dtype=values_PTV.dtype, device=values_PTV.device)[:, None]
    scale_F1 = torch.where(kept_F1 < 1, 1 - kept_F1, 1 / steps)
    running, found = torch.zeros_like(values_PTV[:, 0, None]), []
    for t in range(values_PTV.shape[1]):
        running = kept_F1 * running + values_PTV[:, t, None]
        found.append(running * scale_F1)
    return torch.stack(found, dim=1)


class ScoreModel(Protocol):
    """A `FeedbackModel`, or one seen through other domains (`dmix.mixing.learning.augmentation`)."""

    @property
    def unit_D(self) -> Tensor:
        """Standard deviation of the farm's levels."""
        ...

    def next_distribution(self, mixtures_PTN: Tensor, changes_PTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`FeedbackModel.next_distribution`."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedSimulator:
    """A fitted model and what it needs to run policies.

    Attributes:
        model: The network.
        scales_D: s_i in nats per token.
        weights_D: lambda_i.
        context: Of the runs.
        target_steps: |T| / R, at which a run stops early.
        preset: Of the tokens.
        pessimism: Weight of the uncertainty penalty, in standard deviations of the farm's scores.
        held_out_r2_D: Share of the variance of levels explained on held-out episodes; NaN
            where none were held out.
        shown: Indices of the scores that the policy reads; None shows all of them.
    """

    model: ScoreModel
    scales_D: Vector
    weights_D: Vector
    context: RunContext
    target_steps: float
    preset: str
    pessimism: float
    held_out_r2_D: Vector
    shown: tuple[int, ...] | None = None

    @torch.no_grad()
    def run(self, decide: Decide, *, noise_PTD: Array) -> Episodes:
        """Episodes of a policy, from rho_s until M or the early stop.

        The policy sees drawn scores, but rewards are those of their means, lowered by the
        uncertainty penalty: the same in expectation where it is 0, without the noise of a run.

        Args:
            decide: The policy.
            noise_PTD: Standard normal draws, one row a run and step.
        """
        runs = len(noise_PTD)
        mixtures_PSN = np.tile(self.context.space.start_N, (runs, 1, 1))
        changes_PSD = np.zeros((runs, 1, len(self.scales_D)))
        means_PSD = changes_PSD
        for step in range(self.context.steps):
            chosen_PN = decide(mixtures_PSN, self.tokens(mixtures_PSN, changes_PSD))
            if self.context.limited:
                left_PN = self.context.supply_N - mixtures_PSN[:, 1:].sum(1)
                chosen_PN = feasible(chosen_PN, left_PN, target_N=self.context.space.target_N)
            mixtures_PSN = np.concatenate([mixtures_PSN, chosen_PN[:, None]], axis=1)
            mean_PD, std_PD, penalty_PD = (
                part_PD.double().numpy()
                for part_PD in self._next_distribution(
                    torch.from_numpy(mixtures_PSN[:, 1:]).float(), torch.from_numpy(changes_PSD).float()
                )
            )
            drawn_PD = mean_PD + std_PD * noise_PTD[:, step]
            counted_PD = mean_PD - self.pessimism * penalty_PD
            changes_PSD = np.concatenate([changes_PSD, drawn_PD[:, None]], axis=1)
            means_PSD = np.concatenate([means_PSD, counted_PD[:, None]], axis=1)
        seen_PSX = self.tokens(mixtures_PSN, changes_PSD)
        finished = []
        for p in range(runs):
            end = ends_at(mixtures_PSN[p], context=self.context, target_steps=self.target_steps)
            assert end is not None, "a run of M steps has an end"
            finished.append(
                Run(
                    tokens_SX=seen_PSX[p, : end + 1],
                    changes_SD=means_PSD[p, : end + 1],
                    mixtures_TN=mixtures_PSN[p, 1 : end + 1],
                    ended=True,
                )
            )
        return assembled(finished, space=self.context.space, weights_D=self.weights_D)

    def grad(self, episodes: Episodes, *, noise_PTD: Array) -> Tensor:
        """Derivative of each run's final utility with respect to its mixtures, shape (P, T, N).

        Args:
            episodes: From `run`.
            noise_PTD: What they were drawn with.
        """
        mixtures_PTN = episodes.actions_ETN.clone().requires_grad_()
        noises_PTD = torch.from_numpy(noise_PTD).float()
        drawn_PTD = torch.zeros_like(episodes.changes_ESD[:, :1])
        means = []
        for step in range(mixtures_PTN.shape[1]):
            mean_PD, std_PD, penalty_PD = self._next_distribution(mixtures_PTN[:, : step + 1], drawn_PTD)
            means.append(mean_PD - self.pessimism * penalty_PD)
            level_PD = mean_PD + std_PD * noises_PTD[:, step]
            drawn_PTD = torch.cat([drawn_PTD, level_PD[:, None]], dim=1)
        utility_PT = torch.stack(means, dim=1) @ torch.from_numpy(self.weights_D).float()
        last_P1 = episodes.valid_mask_ET.sum(1, keepdim=True) - 1
        utility_PT.gather(1, last_P1).sum().backward()
        assert mixtures_PTN.grad is not None, "the utility depends on the mixtures"
        grad_PTN = mixtures_PTN.grad * episodes.valid_mask_ET[..., None]
        return self._where_given(grad_PTN, episodes.actions_ETN) if self.context.limited else grad_PTN

    def _where_given(self, grad_PTN: Tensor, mixtures_PTN: Tensor) -> Tensor:
        """Gradients of what is asked: more of a domain that has given all goes to others of its field."""
        supply_N = torch.from_numpy(self.context.supply_N).float()
        full_PTN = mixtures_PTN.cumsum(1) >= supply_N - _ALL_GIVEN
        target_N = torch.tensor(self.context.space.target_N)
        found_PTN = grad_PTN.clone()
        for field_N in (target_N, ~target_N):
            open_PTN = mixtures_PTN * (~full_PTN & field_N)
            share_PT1 = open_PTN.sum(-1, keepdim=True).clamp_min(1e-9)
            mean_PT1 = (open_PTN * grad_PTN).sum(-1, keepdim=True) / share_PT1
            found_PTN = torch.where(full_PTN & field_N, mean_PT1, found_PTN)
        return found_PTN

    def tokens(self, mixtures_PSN: Array, changes_PSD: Array) -> NDArray[np.float32]:
        """What the policy reads of runs with these mixtures and levels of all D scores, (P, S, X)."""
        read = slice(None) if self.shown is None else list(self.shown)
        scales_D = self.scales_D[read]
        (seen_PSD,) = features([changes_PSD[..., read] * scales_D], scales_D=scales_D, preset=self.preset)
        return tokens(mixtures_PSN, seen_PSD, context=self.context, preset=self.preset)

    def _next_distribution(self, mixtures_PTN: Tensor, changes_PTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, standard deviation and penalty of the next levels, in units of s_i, (P, D) each."""
        mean_PD, std_PD, penalty_P = self.model.next_distribution(mixtures_PTN, changes_PTD)
        return mean_PD, std_PD, penalty_P[:, None] * self.model.unit_D


def fit_simulator(
    farm: Farm, *, settings: SimulatorSettings, progress: Callable[[str], None]
) -> LearnedSimulator:
    """Fits a simulator on the episodes of a farm by maximum likelihood.

    Args:
        farm: The episodes, and what their runs share.
        settings: Steps, rates, and the share that is held out.
        progress: Gets a line now and then.
    """
    episodes, context = farm.episodes, farm.context
    rng = np.random.default_rng(settings.seed)
    order = rng.permutation(len(episodes))
    held = min(len(episodes) - 1, int(np.ceil(settings.held_out * len(episodes))))
    training, measuring = episodes.chosen(order[held:]), episodes.chosen(order[:held])
    unit_D = training.changes_ESD[:, 1:][training.valid_mask_ET].std(0, unbiased=False).clamp_min(1e-9)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = FeedbackModel(
            supply_N=torch.from_numpy(context.supply_N / context.passes),
            steps=context.steps,
            unit_D=unit_D,
            width=settings.width,
        )

        def loss_of(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
            error, std = _errors(model, training.chosen(rows))
            loss = (0.5 * (error / std).square() + (std / unit_D).log()).mean()
            return loss, (error.detach() / unit_D).square().mean()

        minimise(
            model,
            loss_of,
            episodes=len(training),
            batch_episodes=settings.batch_episodes,
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            rng=rng,
            progress=lambda line: progress(f"learned simulator, seed {settings.seed}, {line}"),
        )
    model.learn_limits(training.actions_ETN, training.changes_ESD, training.valid_mask_ET)
    return LearnedSimulator(
        model=model.eval(),
        scales_D=farm.scales_D,
        weights_D=farm.weights_D,
        context=context,
        target_steps=farm.target_steps,
        preset=farm.preset,
        pessimism=settings.pessimism,
        held_out_r2_D=_explained(model, measuring),
    )


def minimise(
    model: FeedbackModel,
    loss_of: Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]],
    *,
    episodes: int,
    batch_episodes: int,
    steps: int,
    learning_rate: float,
    rng: np.random.Generator,
    progress: Callable[[str], None],
) -> None:
    """Fits a model in place by Adam, with a rate that falls to 0 along a cosine.

    Args:
        model: The network.
        loss_of: Loss of some episodes, by their rows, and the share of the scores' variance that is
            left, for the report.
        episodes: Number of episodes that rows are drawn from.
        batch_episodes: Episodes per gradient step.
        steps: Gradient steps.
        learning_rate: Rate of the first step.
        rng: Draws the rows.
        progress: Gets a line now and then.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(1, steps + 1):
        rows = rng.choice(episodes, min(batch_episodes, episodes), replace=False)
        loss, left = loss_of(rows)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay.step()
        if step % max(1, steps // _REPORTS) == 0:
            progress(f"step {step} of {steps}: squared error {float(left):.4f} of the scores' variance")


def _errors(model: FeedbackModel, episodes: Episodes) -> tuple[Tensor, Tensor]:
    """Errors of levels in units of s_i, and their predicted deviations; (steps made, D) each."""
    mean_ETD, std_ETD = model(episodes.actions_ETN, episodes.changes_ESD[:, :-1])
    error_ETD = mean_ETD - episodes.changes_ESD[:, 1:]
    return error_ETD[episodes.valid_mask_ET], std_ETD[episodes.valid_mask_ET]


@torch.no_grad()
def _explained(model: FeedbackModel, episodes: Episodes) -> Vector:
    if not len(episodes):
        return np.full(len(model.unit_D), np.nan)
    error, _ = _errors(model, episodes)
    variance_D = episodes.changes_ESD[:, 1:][episodes.valid_mask_ET].var(0, unbiased=False).clamp_min(1e-12)
    explained: Vector = (1 - error.square().mean(0) / variance_D).double().numpy()
    return explained
