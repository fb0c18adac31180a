"""The proxies of several trajectories, trained at once: the loop of `dmix mix collect --stack`.

Each proxy has the samples, their order, the learning rate and the number of steps that it has by
itself (`dmix.training.farm.proxy`), and the arithmetic is that of Composer's loop, so that scores agree
to rounding. All take their batches together. A proxy whose trajectory or data has ended, or whose
loss is not finite, leaves the stack, which trains the others on.

Traded away: samples are read in this process, and there are no loggers. Shapes: P proxies, B
samples, L tokens, D objectives.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from composer.utils import get_device, reproducibility
from torch import Tensor

from dmix.mixing.delivery.dataset import Batch, MixedDataset
from dmix.mixing.delivery.loader import MixedLoader
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.space.simplex import masked_mixture
from dmix.mixing.trajectories.store import Trajectory
from dmix.training.farm.proxy import ProxyResult, ProxyTask, asked_mixtures, proxy_job, proxy_result
from dmix.training.farm.stacked.adamw import StackedAdamW, clip_gradients
from dmix.training.model.model_stack import ModelStack, check_stackable
from dmix.training.model.models import empty_model, load_model
from dmix.training.model.precision import precision_context
from dmix.training.model.settings import learning_rate_factor
from dmix.training.run.assembly.job import TrainingJob, open_streams
from dmix.training.run.assembly.trainer import make_optimizer, make_scorer
from dmix.training.scoring.environment import Scorer, no_finite_score
from dmix.warehouse_schema.errors import InputError, TrainingError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import doing, during
from dmix.warehouse_schema.sizes import num_text

# A trajectory with what its proxy came to, or why it broke.
Outcome = tuple[Trajectory, ProxyResult | TrainingError]


def check_stack(task: ProxyTask, trajectory: Trajectory) -> None:
    """Refuses, without building a model, what proxies that are trained at once cannot do.

    Args:
        task: What the proxies share.
        trajectory: One of the stack.

    Raises:
        InputError: If the model or the training settings are not for a stack.
    """
    job = proxy_job(task, trajectory, warehouse=Warehouse.at(task.root))
    check_stackable(empty_model(job.model, job.manifest))
    refused = [name for name in ("loggers", "sharding") if getattr(job.training, name) not in ((), "none")]
    if refused:
        raise InputError(
            f"{refused[0]} does not work with several proxies per task; leave {refused[0]} out of the "
            "proxy file, or give --stack 1"
        )


def stacked_feedback(task: ProxyTask, trajectories: Sequence[Trajectory]) -> Iterator[Outcome]:
    """Trains and scores the proxies of trajectories together; each comes out when it is done.

    Args:
        task: What the proxies share.
        trajectories: Two or more whose proxies start from the same model.

    Raises:
        TrainingError: If the GPU's memory does not hold them.
        DmixError: If something that they share is wrong.
    """
    warehouse = Warehouse.at(task.root)
    jobs = [proxy_job(task, trajectory, warehouse=warehouse) for trajectory in trajectories]
    if jobs[0].training.deterministic:
        reproducibility.configure_deterministic_mode()
    with open_streams(jobs[0]) as dataset:
        proxies = [
            _Proxy.of_job(task, trajectory, job, dataset=dataset)
            for trajectory, job in zip(trajectories, jobs, strict=True)
        ]
        try:
            with during(""):
                yield from _StackRun(task, proxies).outcomes()
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"the GPU has too little memory to train {num_text(len(jobs), 'proxy')} at once; give "
                "a smaller --stack, or set microbatch_size under 'training' in the proxy file"
            ) from error


@dataclass(eq=False)
class _Proxy:
    """One proxy of a stack: its data, and what it has come to.

    Attributes:
        trajectory: What it follows.
        job: Its training by itself.
        asked: Mixtures to train on; entry t belongs to step t, 0 is its start state.
        loader: Plans its steps and reads its samples.
        batches: What is left of the step under way.
        batches_done: Batches trained in all.
        planned: Mixtures of the steps done.
        scores: Scores before any step and after each, shape (D,).
    """

    trajectory: Trajectory
    job: TrainingJob
    asked: list[Vector]
    loader: MixedLoader
    batches: Iterator[Batch] = field(default_factory=lambda: iter(()))
    batches_done: int = 0
    planned: list[Vector] = field(default_factory=list)
    scores: list[Vector] = field(default_factory=list)

    @classmethod
    def of_job(
        cls, task: ProxyTask, trajectory: Trajectory, job: TrainingJob, *, dataset: MixedDataset
    ) -> "_Proxy":
        space = DomainSpace.of_dataset(job.manifest)
        asked = [masked_mixture(row_N, space) for row_N in asked_mixtures(task, trajectory, space=space)]
        return cls(trajectory, job, asked, MixedLoader(dataset, settings=job.plan, rank=0, world_size=1))

    @property
    def steps_done(self) -> int:
        return self.loader.state.step

    @property
    def ended(self) -> bool:
        """True if no step is left of the trajectory, or no data for one."""
        return self.loader.finished or self.steps_done >= self.job.steps

    @property
    def rate_factor(self) -> float:
        """Share of its peak learning rate that the next batch is trained at.

        Composer (0.32) moves the rate before it counts the batch that was trained, so that the
        first two batches of a run have the same.
        """
        return learning_rate_factor(
            max(0, self.batches_done - 1), total=self.job.planned_batches, settings=self.job.training
        )

    def begin_step(self) -> None:
        plan = self.loader.begin_step(self.asked[self.steps_done + 1])
        self.planned.append(plan.planned_N)
        self.batches = iter(self.loader)

    def next_batch(self) -> list[Tensor]:
        """Ids of the next batch of the step, shape (B, L); nothing once the step is at its end.

        Proxies of a farm draw equally many samples per step from equally many, whatever their
        mixtures, so the steps of a stack are all equally long.
        """
        return [batch["input_ids"] for batch in islice(self.batches, 1)]

    def not_finite(self) -> TrainingError:
        """What is wrong where the loss of the last batch is not finite."""
        batches_a_step = self.job.plan.step_samples // self.job.plan.batch_size
        batch = self.batches_done - self.steps_done * batches_a_step
        return TrainingError(
            f"the loss is not finite in batch {batch} of step {self.steps_done + 1}; lower the learning rate"
            " or the gradient clip, then start again"
        )

    def result(self, task: ProxyTask) -> ProxyResult:
        return proxy_result(
            task,
            self.trajectory,
            space=DomainSpace.of_dataset(self.job.manifest),
            planned_SN=np.array(self.planned),
            scores_TD=np.array(self.scores),
        )


class _StackRun:
    """The training of a stack, whose proxies leave it one by one.

    Args:
        task: What the proxies share.
        proxies: At least one.
    """

    def __init__(self, task: ProxyTask, proxies: list[_Proxy]) -> None:
        job = proxies[0].job
        self._task, self._training, self._proxies = task, job.training, proxies
        model = load_model(job.model, job.manifest, reset_at_documents=job.training.reset_at_documents)
        model = get_device(None).module_to_device(model)
        self._optimizer = StackedAdamW.of_copies(
            model,
            len(proxies),
            optimizer=make_optimizer(model, job.training, job.optimizer),
            settings=job.training,
        )
        self._models = ModelStack.of_copies(model, len(proxies))
        self._scorer: Scorer = make_scorer(job, task.environment, model)

    def outcomes(self) -> Iterator[Outcome]:
        """Trains all proxies to their ends."""
        yield from self._score()
        while self._proxies:
            for proxy in self._proxies:
                proxy.begin_step()
            done = 0
            while batches := [batch for proxy in self._proxies for batch in proxy.next_batch()]:
                done += 1
                doing(f"step {self._proxies[0].steps_done + 1}, batch {done}")
                yield from self._train_batch(torch.stack(batches).to(self._models.device))
            if self._proxies:
                yield from self._score()
            ended = self._leave([place for place, proxy in enumerate(self._proxies) if proxy.ended])
            yield from ((proxy.trajectory, proxy.result(self._task)) for proxy in ended)

    def _train_batch(self, ids_PBL: Tensor) -> Iterator[Outcome]:
        """One update of all proxies; what comes out are those whose loss is not finite."""
        samples = ids_PBL.shape[1]
        loss_P = torch.zeros(len(ids_PBL), device=ids_PBL.device)
        for part_PBL in ids_PBL.split(self._training.rows_at_a_time(samples), dim=1):
            with precision_context(self._training):
                part_loss_P = self._models.losses(part_PBL) * (part_PBL.shape[1] / samples)
            part_loss_P.sum().backward()
            loss_P += part_loss_P.detach()
        if self._training.gradient_clip is not None:
            clip_gradients(self._models, largest=self._training.gradient_clip)
        self._optimizer.update(
            self._models,
            peaks_P=np.array([proxy.job.training.peak_rate for proxy in self._proxies]),
            factors_P=np.array([proxy.rate_factor for proxy in self._proxies]),
        )
        for proxy in self._proxies:
            proxy.batches_done += 1
        broken = (~loss_P.isfinite()).nonzero().flatten().tolist()
        yield from ((proxy.trajectory, proxy.not_finite()) for proxy in self._leave(broken))

    def _score(self) -> Iterator[Outcome]:
        """The scores of all proxies; what comes out are those without a finite one."""
        scores_PD = self._scorer.stack_scores(self._models, precision=precision_context(self._training))
        for proxy, scores_D in zip(self._proxies, scores_PD, strict=True):
            proxy.scores.append(scores_D)
        broken = np.flatnonzero(~np.isfinite(scores_PD).any(axis=1)).tolist()
        yield from (
            (proxy.trajectory, no_finite_score(step=proxy.steps_done)) for proxy in self._leave(broken)
        )

    def _leave(self, places: Sequence[int]) -> list[_Proxy]:
        """Takes proxies out of the stack, with their weights and moments."""
        if not places:
            return []
        leaving = [self._proxies[place] for place in places]
        staying = [place for place in range(len(self._proxies)) if place not in places]
        self._proxies = [self._proxies[place] for place in staying]
        self._models, self._optimizer = self._models.subset(staying), self._optimizer.subset(staying)
        return leaving
