"""Effects by gradients of a run's own model, every few steps, for the effect agent (method section 8).

A measurement changes neither weights nor random states, so a resumed run measures the same.
Shapes: N domains, D objectives.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dmix.mixing.effects.gradients import GradientBudget, gradient_effects
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import RunEffects
from dmix.training.model.language_model import LanguageModel
from dmix.training.scoring.gradient_task import GradientTask
from dmix.training.scoring.gradients import gradient_products


@dataclass(frozen=True, kw_only=True)
class RunGradients:
    """When and over what a run takes gradients.

    Attributes:
        every: Steps between two measurements; the first is before step 1.
        task: Text and items.
        budget: How much of them.
        rates: Sum of the learning rates of the whole run.
    """

    every: int
    task: GradientTask
    budget: GradientBudget
    rates: float

    def due(self, step: int) -> bool:
        """Whether they are taken before a step."""
        return (step - 1) % self.every == 0

    def measure(self, model: LanguageModel, optimizer: torch.optim.Optimizer, *, step: int) -> RunEffects:
        """The effects of a model between two steps; the gradients that it holds are lost."""
        natural_N = DomainSpace.of_dataset(self.task.manifest).natural_N
        products_NBD, gram_MM = gradient_products(
            model, self.task, self.budget, moments=_moments(optimizer), progress=lambda _: None
        )
        effect_ND, stderr_ND = gradient_effects(products_NBD, gram_MM, natural_N, rate_sum=self.rates)
        return RunEffects(step=step, effect_ND=effect_ND, stderr_ND=stderr_ND)


def _moments(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Mean squares of gradients of each weight; none before the first update."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    states = [optimizer.state.get(weight, {}) for weight in weights]
    return [state["exp_avg_sq"] for state in states] if all("exp_avg_sq" in s for s in states) else []
