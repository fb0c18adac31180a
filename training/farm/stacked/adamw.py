"""AdamW for a stack of models: one update of all weights, with a learning rate for each model.

The update is that of Composer's DecoupledAdamW (0.32), which trains models one by one: weight decay
follows the schedule of the learning rate, not its peak. Shapes: P models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmix.training.model.language_model import LanguageModel
from dmix.training.model.model_stack import ModelStack, stacked_parameters
from dmix.training.model.settings import TrainingSettings

# As torch's clip_grad_norm_.
_CLIP_EPSILON = 1e-6


@dataclass(eq=False)
class StackedAdamW:
    """The optimiser of a stack.

    Attributes:
        settings: Decay rates, epsilon and weight decay; learning rates come with each update.
        step: Updates done, those before the stack included.
        means: Running mean of the gradients of each weight, shape (P, ...).
        squares: Running mean of their squares.
    """

    settings: TrainingSettings
    step: int
    means: dict[str, Tensor]
    squares: dict[str, Tensor]

    @classmethod
    def of_copies(
        cls,
        model: LanguageModel,
        copies: int,
        *,
        optimizer: torch.optim.Optimizer,
        settings: TrainingSettings,
    ) -> "StackedAdamW":
        """Goes on for each copy from what an optimiser of the model knows, which may be nothing."""

        def stacked(key: str) -> dict[str, Tensor]:
            one = {
                name: optimizer.state[weight].get(key, torch.zeros_like(weight))
                for name, weight in stacked_parameters(model).items()
            }
            return {name: moment.expand(copies, *moment.shape).clone() for name, moment in one.items()}

        steps = [int(state["step"]) for state in optimizer.state.values() if "step" in state]
        return cls(settings, max(steps, default=0), stacked("exp_avg"), stacked("exp_avg_sq"))

    @torch.no_grad()
    def update(
        self, stack: ModelStack, *, peaks_P: NDArray[np.float64], factors_P: NDArray[np.float64]
    ) -> None:
        """Moves the weights along their gradients, and lets the gradients go.

        Args:
            stack: Weights and gradients.
            peaks_P: Peak learning rate of each model.
            factors_P: Share of the peak at which each stands.
        """
        self.step += 1
        beta1, beta2 = self.settings.betas
        correction = math.sqrt(1 - beta2**self.step)
        sizes_P = torch.tensor(peaks_P * factors_P / (1 - beta1**self.step), dtype=torch.float32)
        kept_P = torch.tensor(1 - factors_P * self.settings.weight_decay, dtype=torch.float32)
        sizes_P, kept_P = sizes_P.to(stack.device), kept_P.to(stack.device)
        for name, weight in stack.weights.items():
            gradient, mean, square = weight.grad, self.means[name], self.squares[name]
            assert gradient is not None
            of_model = (-1, *[1] * (weight.dim() - 1))
            weight.mul_(kept_P.view(of_model))
            mean.mul_(beta1).add_(gradient, alpha=1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            spread = (square.sqrt() / correction).add_(self.settings.epsilon)
            weight.sub_(sizes_P.view(of_model) * mean / spread)
            weight.grad = None

    def subset(self, places: Sequence[int]) -> "StackedAdamW":
        """The optimiser of some of the models."""
        chosen = list(places)
        return StackedAdamW(
            self.settings,
            self.step,
            {name: moment[chosen] for name, moment in self.means.items()},
            {name: moment[chosen] for name, moment in self.squares.items()},
        )


@torch.no_grad()
def clip_gradients(stack: ModelStack, *, largest: float) -> None:
    """Shortens the gradient of each model whose norm over all its weights is above `largest`."""
    gradients = [weight.grad for weight in stack.weights.values() if weight.grad is not None]
    norms_WP = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients])
    norm_P = torch.linalg.vector_norm(norms_WP, dim=0)
    factor_P = (largest / (norm_P + _CLIP_EPSILON)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor_P.view(-1, *[1] * (gradient.dim() - 1)))
