"""The Composer callback that turns epochs into re-weighting steps.

One Composer epoch is one step. At its start rank 0 asks the controller (or replays what an earlier
attempt decided), writes the decision and tells the other ranks; every rank plans the same step and
hands it to its sampler. Batches are noted as they are consumed; at the end of the step the notes of
all ranks are compared with the plan, proved, scored and written, all before Composer saves its
checkpoint. Shapes: N (field, domain) pairs, D objectives.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import torch
from composer.core import Callback, State, get_precision_context
from composer.loggers import Logger
from composer.utils import dist

from dmix.mixing.controllers import Controller
from dmix.mixing.controllers.interface import context_of
from dmix.mixing.delivery.dataset import StepBatchSampler
from dmix.mixing.delivery.ledger import RankNotes, StepLedger
from dmix.mixing.delivery.step_plan import (
    MixerState,
    PlanSettings,
    StepPlan,
    ending,
    plan_step,
    remaining_samples,
)
from dmix.mixing.delivery.streams import StreamSizes
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.space.history import History
from dmix.mixing.trajectories.objectives import Environment, utility
from dmix.training.model.language_model import LanguageModel
from dmix.training.run.decisions import Decision, decide, log_controller_events
from dmix.training.run.ranks import is_first_rank, on_first_rank
from dmix.training.run.resuming.checkpoint_files import SAVED, fingerprint
from dmix.training.run.resuming.restored import restored_state
from dmix.training.run.state import RunState
from dmix.training.run.watching.first_step import jump_warning
from dmix.training.run.watching.metrics import score_metrics, step_metrics
from dmix.training.run.watching.progress import BatchReport, Monitor, StepReport
from dmix.training.run.watching.signals import StopRequest
from dmix.training.run.watching.step_events import (
    MICROBATCH,
    decision_values,
    microbatch_detail,
    step_values,
)
from dmix.training.scoring.environment import Scorer, no_finite_score
from dmix.training.scoring.run_gradients import RunGradients
from dmix.warehouse_schema.errors import TrainingError, VerificationError
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.progress import doing
from dmix.warehouse_schema.sizes import num_text

# Kind of the note with effects that gradients of the run's model gave.
GRADIENTS = "gradients"

logger_of_run = logging.getLogger(__name__)


class MixtureCallback(Callback):
    """Decides, plans, proves and scores the steps of one run.

    Args:
        space: The domain space of the dataset.
        streams: Its shard sizes.
        settings: R, B and the rules of planning.
        steps: M, the number of steps to train.
        rate_shares: Share of the summed learning rate that falls into each step, length M.
        seq_len: Tokens per sample.
        controller: Chooses mixtures; asked on rank 0 alone.
        sampler: Receives the plan of each step.
        model: What is trained, for scoring.
        scorer: Computes feedback; None for a run without an environment.
        environment: The objectives behind the scorer.
        state: Where the run starts; a loaded checkpoint replaces it.
        log: Event file on rank 0, None elsewhere.
        recorded: Decisions on steps that an earlier attempt decided.
        chain: Chained digest of the samples up to the checkpoint that is resumed, as the events have it;
            empty if they do not.
        stop: Whether the run was asked to stop.
        monitor: Told of batches and steps, on rank 0.
        learning_rate: Peak rate, to name when it makes the loss jump.
        finds_microbatch: Whether the size of a forward pass was found, not given; then it is an event.
        gradients: Measures effects of the model as it is; None in a run without.
    """

    def __init__(
        self,
        *,
        space: DomainSpace,
        streams: StreamSizes,
        settings: PlanSettings,
        steps: int,
        rate_shares: Sequence[float],
        seq_len: int,
        controller: Controller,
        sampler: StepBatchSampler,
        model: LanguageModel,
        scorer: Scorer | None,
        environment: Environment | None,
        state: RunState,
        log: EventLog | None,
        recorded: dict[int, Decision],
        stop: StopRequest,
        monitor: Monitor,
        learning_rate: float,
        finds_microbatch: bool = False,
        gradients: RunGradients | None = None,
        chain: str = "",
    ) -> None:
        self.space, self.streams, self.settings = space, streams, settings
        self.steps, self.rate_shares_M, self.seq_len = steps, np.array(rate_shares), seq_len
        self.controller, self.sampler, self.model = controller, sampler, model
        self.scorer, self.environment = scorer, environment
        self.state = state
        self.log, self.recorded, self.stop, self.monitor = log, recorded, stop, monitor
        self.stopping = False
        self.plan: StepPlan | None = None
        self._notes = RankNotes()
        self._pending: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._step_started = self._run_started = time.monotonic()
        self._batches_before = 0
        self._said: set[str] = set()
        self.learning_rate = learning_rate
        self._first_losses: list[float] = []
        self._finds_microbatch, self._microbatch = finds_microbatch, 0
        self._gradients = gradients
        self._recorded_chain = chain

    @property
    def batches_in_step(self) -> int:
        """Global batches of the step under way."""
        return 0 if self.plan is None else len(self.plan.ids) // self.settings.batch_size

    @property
    def ending(self) -> str:
        """Why the run ends after this step, and the samples that it leaves."""
        return ending(self.state.mixer, steps=self.steps, streams=self.streams, settings=self.settings)

    # ---- Composer's events, in the order in which they come

    def fit_start(self, state: State, logger: Logger) -> None:
        """Scores the untrained model, or resumes the step of a checkpoint."""
        self._batches_before = state.timestamp.batch.value
        self._run_started = self._step_started = time.monotonic()
        if self.state.asked is not None:
            decision = self.recorded.get(
                self.state.mixer.step + 1, Decision(np.array(self.state.asked), replayed=True)
            )
            plan = self._plan_after(self.state.mixer, decision.asked_N)
            self._write_decision(decision, plan)
            self._use_plan(plan, state, first_batch=state.timestamp.batch_in_epoch.value)
        elif not self.state.feedback:
            self._score(step=0, state=state)

    def epoch_start(self, state: State, logger: Logger) -> None:
        """Decides and plans the next step; the decision is on disk before a batch is trained."""
        self._step_started = time.monotonic()
        self._measure_effects(state)
        decision = on_first_rank(lambda: decide(self.controller, self._history(), self.recorded))
        self.state.asked = decision.asked_N.tolist()
        plan = self._plan_after(self.state.mixer, decision.asked_N)
        if is_first_rank() and not decision.replayed:
            log_controller_events(decision.events, step=plan.step, said=self._said)
        self._write_decision(decision, plan)
        self._use_plan(plan, state, first_batch=0)

    def before_train_batch(self, state: State, logger: Logger) -> None:
        """Forgets what a batch noted before memory ran out; it begins again with smaller microbatches."""
        self._pending.clear()

    def after_loss(self, state: State, logger: Logger) -> None:
        """Notes the samples of a microbatch; nothing is copied from the device yet."""
        batch, outputs = state.batch, state.outputs
        self._pending.append((batch["sample_ids"], batch["domains"], outputs["loss_B"]))

    def batch_end(self, state: State, logger: Logger) -> None:
        """Takes over the notes of a trained batch; fails on a loss that is not finite."""
        ids, domains, losses = (torch.cat(part).cpu() for part in zip(*self._pending, strict=True))
        self._pending.clear()
        self._note_microbatch(state)
        self._notes.ids.append(ids.numpy())
        self._notes.domains.append(domains.numpy())
        self._notes.losses.append(losses.double().numpy())
        self._check_finite(state)
        if self.plan is not None and self.plan.step == 1 and not self._batches_before:
            self._first_losses.append(math.fsum(map(float, state.total_loss_dict.values())))
        self.stopping = any(dist.all_gather_object(bool(self.stop)))
        self._note_batch(state.timestamp.batch_in_epoch.value)
        self._report_batch(state)
        if self.stopping and state.timestamp.batch_in_epoch.value < self.batches_in_step:
            state.stop_training()

    def epoch_end(self, state: State, logger: Logger) -> None:
        """Proves, records and scores the step; ends the run after the last one."""
        assert self.plan is not None
        plan = self.plan
        self._merge_notes()
        digest = self.state.consumed.prove(plan)
        self.state.finish_step(plan.planned_N, state_after=plan.state_after, digest=digest)
        self._write_step(plan, digest)
        self._score(step=plan.step, state=state)
        self._log_metrics(plan, logger)
        self._report_step(plan, state)
        self._warn_of_jump(plan.step)
        self.state.consumed = StepLedger.empty(len(self.space))
        self.state.forget(context_of(self.controller))
        self.state.finished = plan.last or plan.step >= self.steps
        if self.state.finished or self.stopping:
            state.stop_training()

    # ---- Composer's checkpoints

    def state_dict(self) -> dict[str, str]:
        """The run's state as JSON. All ranks call it together, as Composer does."""
        self._merge_notes()
        return {"run": self.state.to_json()}

    def load_state_dict(self, state: dict[str, str]) -> None:
        """Takes over the state of a checkpoint.

        Raises:
            VerificationError: If it belongs to other data or settings, or to another run.
            ValueError: If no run saves such a state.
        """
        self.state = restored_state(
            state.get("run"),
            streams=self.streams,
            settings=self.settings,
            steps=self.steps,
            objectives=0 if self.environment is None else len(self.environment.names),
            recorded=self.recorded,
        )
        if self._recorded_chain not in ("", self.state.chain):
            raise VerificationError(
                f"the checkpoint after step {self.state.steps_done} was trained on other samples than"
                " events.jsonl lists, so it belongs to another run; remove it to resume from the previous one"
            )

    # ---- steps

    def _plan_after(self, mixer: MixerState, asked_N: Vector) -> StepPlan:
        return plan_step(asked_N, mixer, streams=self.streams, settings=self.settings)

    def _use_plan(self, plan: StepPlan, state: State, *, first_batch: int) -> None:
        self.plan = plan
        self._note_batch(first_batch)
        self.sampler.set_plan(plan, first_batch=first_batch)
        state.dataloader_len = -1  # Composer reads the length anew: the last step may be shorter

    def _history(self) -> History:
        environment = self.environment
        return History(
            space=self.space,
            mixtures_TN=self.state.mixtures_TN(),
            feedback_TD=self.state.feedback_TD(),
            objectives=() if environment is None else environment.names,
            weights_D=np.zeros(0) if environment is None else environment.weights_D,
            scales_D=np.zeros(0) if environment is None else environment.scales_D,
            steps=self.steps,
            step_samples=self.settings.step_samples,
            remaining_samples_N=remaining_samples(
                self.state.mixer, streams=self.streams, settings=self.settings
            ),
            seed=self.settings.seed,
            losses_TN=self.state.losses_TN(),
            counts_TN=self.state.counts_TN(),
            truncated=self.state.truncated,
            roles=() if environment is None else environment.roles,
            rate_shares_M=self.rate_shares_M,
            effects=tuple(self.state.effects),
        )

    def _check_finite(self, state: State) -> None:
        losses = state.total_loss_dict.values()  # means over all ranks: every rank sees the same
        if all(math.isfinite(loss) for loss in losses):
            return
        with self._not_finite(state):
            raise TrainingError("the loss is not finite")

    @contextmanager
    def _not_finite(self, state: State) -> Iterator[None]:
        """Says where numbers stopped being finite, and writes it down."""
        try:
            yield
        except TrainingError as error:
            step, batch = self.state.steps_done + 1, state.timestamp.batch_in_epoch.value
            detail = f"{error.message} in batch {batch} of step {step}"
            self._write("note", step=step, kind="non_finite_loss", detail=detail)
            raise TrainingError(f"{detail}; lower the learning rate or the gradient clip") from None

    def _note_microbatch(self, state: State) -> None:
        """Writes down how many samples fit into a forward pass, when that was found or became fewer."""
        size, before = int(state.device_train_microbatch_size or 0), self._microbatch
        if not self._finds_microbatch or size == before:
            return
        self._microbatch = size
        detail = microbatch_detail(size, before=before)
        self._write("note", step=self.state.steps_done + 1, kind=MICROBATCH, detail=detail, value=size)
        if is_first_rank():
            logger_of_run.info("%s", detail)

    def _warn_of_jump(self, step: int) -> None:
        """Says so if the first step made the model worse, which is what too large a rate does."""
        if step != 1 or not is_first_rank():
            return
        losses, feedback_TD = self._first_losses, self.state.feedback_TD()
        detail = jump_warning(losses, feedback_TD, learning_rate=self.learning_rate)
        if detail:
            self._write("note", step=step, kind="loss_jump", detail=detail)
            logger_of_run.warning("%s", detail)

    def _merge_notes(self) -> None:
        notes = dist.all_gather_object(self._notes)
        self.state.consumed.merge(notes, batch_size=self.settings.batch_size)
        self._notes = RankNotes()

    def _score(self, *, step: int, state: State) -> None:
        if self.scorer is None:
            self.state.feedback.append([])
            return
        scores_D = self.scorer.scores(self.model, precision=_precision(state))
        self.state.feedback.append(scores_D.tolist())
        scores = dict(zip(self.scorer.names, scores_D.tolist(), strict=True))
        self._write("feedback", step=step, scores=scores)
        if not np.isfinite(scores_D).any():
            raise no_finite_score(step=step)

    def _measure_effects(self, state: State) -> None:
        """Takes gradients of the model where they are due, also before a step that was decided earlier."""
        step = self.state.steps_done + 1
        if self._gradients is None or not self._gradients.due(step):
            return
        gradients, started = self._gradients, time.monotonic()
        optimizer = state.optimizers[0]
        found = on_first_rank(lambda: gradients.measure(self.model, optimizer, step=step))
        self.state.note_effects(found)
        detail = (
            f"gradients of the model over {num_text(gradients.budget.tokens, 'token')},"
            f" {time.monotonic() - started:.0f} s"
        )
        self._write("note", step=step, kind=GRADIENTS, detail=detail, value=found.to_json())

    # ---- what is written and said

    def _note_batch(self, done: int) -> None:
        """Notes the batch under way, for a command that says nothing between two steps."""
        assert self.plan is not None
        batch = min(done + 1, self.batches_in_step)
        doing(f"step {self.plan.step} of {self.steps}, batch {batch} of {self.batches_in_step}")

    def note_checkpoint(self, path: Path) -> None:
        """Writes down what a checkpoint holds that is on disk, so that no other takes its place."""
        self._write(SAVED, step=self.state.steps_done, file=path.name, fingerprint=fingerprint(path))

    def _write(self, event: str, **values: object) -> None:
        if self.log is not None:
            self.log.write(event, **values)

    def _write_decision(self, decision: Decision, plan: StepPlan) -> None:
        for event in decision.events:
            self._write("note", step=plan.step, kind=event.kind, detail=event.detail)
        decided_to = max([plan.step, *self.recorded])
        values = decision_values(decision, plan, scores=self._newest_scores(), decided_to=decided_to)
        self._write("decision", **values)

    def _write_step(self, plan: StepPlan, digest: str) -> None:
        values = step_values(
            plan,
            self.state.consumed,
            digest=digest,
            chain=self.state.chain,
            seq_len=self.seq_len,
            seconds=time.monotonic() - self._step_started,
        )
        self._write("step_done", **values)

    def _newest_scores(self) -> dict[str, float]:
        """By objective; empty without an environment."""
        names = () if self.environment is None else self.environment.names
        return dict(zip(names, self.state.feedback[-1], strict=True))

    def _log_metrics(self, plan: StepPlan, logger: Logger) -> None:
        logger.log_metrics(
            {
                **step_metrics(
                    self.space,
                    step=plan.step,
                    planned_N=plan.planned_N,
                    consumed=self.state.consumed,
                    seq_len=self.seq_len,
                ),
                **score_metrics(self._newest_scores(), utility=self._utility()),
            }
        )

    def _utility(self) -> float | None:
        """U of the newest scores; None without an environment."""
        if self.environment is None:
            return None
        feedback_TD = self.state.feedback_TD()
        scales_D, weights_D = self.environment.scales_D, self.environment.weights_D
        return float(utility(feedback_TD[-1], feedback_TD[0], scales_D, weights_D))

    def _report_batch(self, state: State) -> None:
        if not is_first_rank():
            return
        assert self.plan is not None
        batch = state.timestamp.batch_in_epoch.value
        source, target = self._tokens_before(self.state.mixer)
        self.monitor.batch(
            BatchReport(
                step=self.plan.step,
                steps=self.steps,
                batch=batch,
                batches=self.batches_in_step,
                target_share=float(self.space.coarsen(self.plan.drawn_N)[1]),
                source_tokens=source,
                target_tokens=target,
                step_tokens=batch * self.settings.batch_size * self.seq_len,
                seconds_left=self._seconds_left(state),
            )
        )

    def _report_step(self, plan: StepPlan, state: State) -> None:
        if not is_first_rank():
            return
        names = () if self.environment is None else self.environment.names
        source, target = self._tokens_before(self.state.mixer)
        self.monitor.step(
            StepReport(
                step=plan.step,
                steps=self.steps,
                target_share=float(self.space.coarsen(plan.drawn_N)[1]),
                source_tokens=source,
                target_tokens=target,
                loss=self.state.consumed.mean_loss,
                scores=self._newest_scores(),
                first_scores=dict(zip(names, self.state.feedback[0], strict=True)),
                utility=self._utility(),
                seconds=time.monotonic() - self._step_started,
                seconds_left=self._seconds_left(state),
            )
        )

    def _tokens_before(self, mixer: MixerState) -> tuple[int, int]:
        """Tokens of source and target that the steps before the next one of `mixer` took."""
        taken_N = mixer.pass_N * self.space.samples_N + mixer.cursor_N
        target = int(taken_N[self.space.target_N].sum())
        return (int(taken_N.sum()) - target) * self.seq_len, target * self.seq_len

    def _seconds_left(self, state: State) -> float:
        """At the pace of this process so far; a run that ends sooner (exhaustion) is not foreseen."""
        done = state.timestamp.batch.value
        total = self.steps * self.settings.step_samples // self.settings.batch_size
        pace = (time.monotonic() - self._run_started) / max(1, done - self._batches_before)
        return pace * max(0, total - done)


def _precision(state: State) -> AbstractContextManager[None]:
    context: AbstractContextManager[None] = get_precision_context(state.precision, state.precision_config)
    return context
