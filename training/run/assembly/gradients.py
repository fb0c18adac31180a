"""Effects by gradients of a run's own model, every few steps, for the effect agent (method section 8).

Each measurement takes as many tokens as a step and changes neither weights nor random states, so a resumed
run measures the same. Shapes: N domains, D objectives.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dmix.mixing.delivery.dataset import MixedDataset
from dmix.mixing.delivery.streams import StreamSizes
from dmix.mixing.effects.gradients import GradientBudget, gradient_effects
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import RunEffects
from dmix.training.model.language_model import LanguageModel
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.scoring.gradients import GradientTask, budget_of, gradient_products, rate_sum


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

    @classmethod
    def of(cls, job: TrainingJob, model: LanguageModel, dataset: MixedDataset) -> "RunGradients | None":
        """Those of a run that asks for them; None for others.

        Raises:
            InputError: If a step has too few tokens for gradients of all domains and objectives.
        """
        if not job.gradients_every or job.environment is None:
            return None
        first_N = StreamSizes.of_manifest(job.manifest).offsets_N

        def samples(index: int, number: int) -> np.ndarray:
            size = job.manifest.streams[index].samples
            places = (2 * np.arange(min(size, number)) + 1) * size // (2 * max(1, min(size, number)))
            found: np.ndarray = dataset.batch(first_N[index] + places)["input_ids"].numpy()
            return found

        task = GradientTask(
            manifest=job.manifest,
            samples=samples,
            tokenizer_file=job.streams / "tokenizer.json",
            environment=job.environment,
            training=job.training,
        )
        return cls(
            every=job.gradients_every,
            task=task,
            budget=budget_of(
                task,
                tokens=job.plan.step_samples * job.manifest.seq_len,
                max_length=model.max_length,
                fix="raise --samples-per-step, or leave out --gradients-every",
            ),
            rates=rate_sum(job.steps * job.plan.step_samples, job.training),
        )

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
