"""What a run takes gradients of, where its effect agent asks for them."""

import numpy as np

from dmix.mixing.delivery.dataset import MixedDataset
from dmix.mixing.delivery.streams import StreamSizes
from dmix.mixing.effects.counting import evenly
from dmix.training.model.language_model import LanguageModel
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.scoring.gradient_task import GradientTask, budget_of
from dmix.training.scoring.gradients import rate_sum
from dmix.training.scoring.run_gradients import RunGradients


def run_gradients(job: TrainingJob, model: LanguageModel, dataset: MixedDataset) -> RunGradients | None:
    """Gradients of a run, each over as many tokens as a step has; None where no agent asks for them.

    Raises:
        InputError: If a step has too few tokens for gradients of all domains and objectives.
    """
    if not job.gradients_every or job.environment is None:
        return None
    first_N = StreamSizes.of_manifest(job.manifest).offsets_N

    def samples(index: int, number: int) -> np.ndarray:
        places = np.array(evenly(job.manifest.streams[index].samples, number), np.int64)
        found: np.ndarray = dataset.batch(first_N[index] + places)["input_ids"].numpy()
        return found

    task = GradientTask(
        manifest=job.manifest,
        samples=samples,
        tokenizer_file=job.streams / "tokenizer.json",
        environment=job.environment,
        training=job.training,
    )
    return RunGradients(
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
