"""Mixing in a bare PyTorch loop: the same plans and batches without Composer.

    with MixedDataset(manifest, warehouse.stream(manifest.dataset)) as dataset:
        loader = MixedLoader(dataset, settings=settings, num_workers=2)
        while not loader.finished:
            if not loader.in_step:  # it is, right after resuming in the middle of one
                loader.begin_step(weights)
            for batch in loader:
                train(batch["input_ids"])
                saved = loader.state_dict()  # plain JSON, at any batch

Ranks call the same methods in the same order; `state_dict` and the end of a step gather ids.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import distributed

from dmix.mixing.delivery.dataset import Batch, MixedDataset, StepBatchSampler, build_dataloader
from dmix.mixing.delivery.digest import CHAIN_START, StepDigest, chain_digest, checked_chain
from dmix.mixing.delivery.ledger import RankNotes, StepLedger
from dmix.mixing.delivery.step_plan import (
    MixerState,
    PlanSettings,
    StepPlan,
    check_state,
    is_over,
    plan_step,
    remaining_samples,
)
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.space.mixtures import parse_mixture
from dmix.mixing.space.plain_values import count_of, floats_of
from dmix.warehouse_schema.errors import InputError

Ids = NDArray[np.int64]
Gather = Callable[[Ids], Sequence[Ids]]

FORMAT = 1
_STATE = ("dataset", "settings", "mixer", "chain", "finished", "asked", "batches_done", "consumed_digest")


@dataclass(frozen=True, kw_only=True, eq=False)
class StepRecord:
    """What all ranks consumed in a step that is done.

    Attributes:
        plan: The plan of the step.
        delivered_samples_N: Samples of each domain, counted in the batches, shape (N,).
        digest: SHA-256 of the ids in order.
        chain: SHA-256 over the chain before and the digest.
    """

    plan: StepPlan
    delivered_samples_N: NDArray[np.int64]
    digest: str
    chain: str


class MixedLoader:
    """Batches of a run whose mixture is chosen before each step.

    Args:
        dataset: Where samples come from.
        settings: R, B, seed and rules.
        rank: Of this process; None asks torch.distributed.
        world_size: Number of ranks; None asks torch.distributed.
        num_workers: Loader processes of this rank.
        gather: Collects an array from all ranks, in rank order; None uses torch.distributed.

    Attributes:
        state: The mixer between steps.
        plan: The step under way, or None.
        record: The last step that is done, or None.
        chain: Digest chain after that step.
    """

    def __init__(
        self,
        dataset: MixedDataset,
        *,
        settings: PlanSettings,
        rank: int | None = None,
        world_size: int | None = None,
        num_workers: int = 0,
        gather: Gather | None = None,
    ) -> None:
        self.dataset, self.settings = dataset, settings
        self.sampler = StepBatchSampler(dataset, settings=settings, rank=rank, world_size=world_size)
        self.dataloader = build_dataloader(dataset, self.sampler, num_workers=num_workers)
        self.state = MixerState.start(len(dataset.sizes))
        self.plan: StepPlan | None = None
        self.record: StepRecord | None = None
        self.chain = CHAIN_START
        self._gather = gather or _gather_distributed
        self._last = False
        self._ledger = StepLedger.empty(len(dataset.sizes))
        self._new_ids: list[Ids] = []
        self._batches_done = 0

    @property
    def in_step(self) -> bool:
        """True from `begin_step` until the last batch of the step was taken."""
        return self.plan is not None

    @property
    def finished(self) -> bool:
        """True when no further step can begin: the run's data is used up as the settings say."""
        return self._last

    def remaining_samples(self) -> NDArray[np.int64]:
        """Samples that each domain can still give at the start of the next step, shape (N,)."""
        return remaining_samples(self.state, streams=self.dataset.sizes, settings=self.settings)

    def begin_step(self, weights: Vector | Mapping[str, float]) -> StepPlan:
        """Plans the next step under a mixture.

        Args:
            weights: The same on every rank: one weight per (field, domain), shape (N,), sum 1; or weights by
                name, as a mixture file has them, such as `{"source/News": 0.3, "target": 0.7}`.

        Raises:
            InputError: If a step is under way, the run is finished, or it is no mixture.
        """
        if self.plan is not None:
            raise InputError(
                f"step {self.plan.step} has batches left; iterate over the loader before the next step"
            )
        if self._last:
            raise InputError(f"the run ended with step {self.state.step}; no samples are left")
        self._set_plan(self._weights(weights))
        assert self.plan is not None
        return self.plan

    def __iter__(self) -> Iterator[Batch]:
        """What is left of the step. A batch counts as consumed when it is handed out.

        Raises:
            InputError: If no step is under way.
            VerificationError: At the end of the step, if the samples were not the planned ones.
        """
        if self.plan is None:
            raise InputError("no step has begun; call begin_step() with a mixture first")
        self.sampler.set_plan(self.plan, first_batch=self._batches_done)
        for batch in self.dataloader:
            self._new_ids.append(batch["sample_ids"].numpy().copy())
            self._batches_done += 1
            yield batch
        self._end_step(self.plan)

    def state_dict(self) -> dict[str, Any]:
        """The state of the run, as plain JSON values; on several ranks, all of them call it."""
        self._take_in()
        return {
            "format": FORMAT,
            "dataset": self.dataset.manifest.dataset,
            "settings": self.settings.to_json(),
            "mixer": self.state.to_json(),
            "chain": self.chain,
            "finished": self._last,
            "asked": None if self.plan is None else self.plan.asked_N.tolist(),
            "batches_done": self._batches_done,
            "consumed_digest": self._ledger.digest.hexdigest(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was called, on any number of ranks and workers.

        Raises:
            InputError: If the state belongs to another dataset, other settings or a newer dmix.
            VerificationError: If the plan is no longer the one that was consumed.
        """
        if state.get("format") != FORMAT:
            raise InputError(
                f"loader state has format {state.get('format')!r}, expected {FORMAT}; update dmix"
            )
        missing = [name for name in _STATE if name not in state]
        if missing:
            raise InputError(f"loader state lacks {', '.join(missing)}; resume from an earlier one")
        if not isinstance(state["settings"], Mapping):
            raise InputError("loader state is damaged (settings); resume from an earlier one")
        here = {"dataset": self.dataset.manifest.dataset, **self.settings.to_json()}
        saved = {"dataset": state["dataset"], **state["settings"]}
        for name, value in here.items():
            if saved.get(name) != value:
                raise InputError(
                    f"the run started with {name} {saved.get(name)!r}, but this loader has {value!r}; "
                    "resume with the first settings of the run"
                )
        mixer = MixerState.from_json(state["mixer"])
        check_state(mixer, streams=self.dataset.sizes, settings=self.settings)
        try:
            chain, batches = (
                checked_chain(state["chain"]),
                count_of(state["batches_done"], what="batches_done"),
            )
            digest, asked = str(state["consumed_digest"]), state["asked"]
            if asked is not None:
                asked = floats_of(asked, shape=(len(self.dataset.sizes),), what="asked")
        except ValueError as error:
            raise InputError(f"loader state is damaged ({error}); resume from an earlier one") from None
        self.state, self.chain = mixer, chain
        # what the state says of its end follows from the rest
        self._last = is_over(mixer, streams=self.dataset.sizes, settings=self.settings)
        self._batches_done = 0
        self.plan = self.record = None
        self._restart_ledger()
        if asked is not None:
            self._set_plan(asked)
            assert self.plan is not None
            self._batches_done = batches
            self.sampler.set_plan(self.plan, first_batch=batches)
            consumed = self.plan.ids[: batches * self.settings.batch_size]
            self._ledger.digest = StepDigest.resumed(consumed, expected=digest)
            self._ledger.samples_N = self.dataset.sizes.count(consumed)

    def _weights(self, weights: Vector | Mapping[str, float]) -> Vector:
        if not isinstance(weights, Mapping):
            return weights
        space = DomainSpace.of_dataset(self.dataset.manifest)
        return parse_mixture(weights, space=space, where="begin_step()")

    def _set_plan(self, weights_N: Vector) -> None:
        self.plan = plan_step(weights_N, self.state, streams=self.dataset.sizes, settings=self.settings)
        self._batches_done = 0
        self._restart_ledger()

    def _restart_ledger(self) -> None:
        self._ledger, self._new_ids = StepLedger.empty(len(self.dataset.sizes)), []

    def _take_in(self) -> None:
        """Adds what all ranks consumed since the last time to the ledger."""
        if not self._new_ids:
            return
        own, self._new_ids = np.concatenate(self._new_ids), []
        by_rank = [own] if self.sampler.num_replicas == 1 else self._gather(own)
        notes = [RankNotes([ids], [self.dataset.sizes.domains_of(ids)]) for ids in by_rank]
        self._ledger.merge(notes, batch_size=self.settings.batch_size)

    def _end_step(self, plan: StepPlan) -> None:
        self._take_in()
        digest = self._ledger.prove(plan)
        self.chain = chain_digest(self.chain, digest)
        self.record = StepRecord(
            plan=plan, delivered_samples_N=self._ledger.samples_N, digest=digest, chain=self.chain
        )
        self.state, self._last = plan.state_after, plan.last
        self.plan, self._batches_done = None, 0
        self._restart_ledger()


def _gather_distributed(own: Ids) -> Sequence[Ids]:
    if not (distributed.is_available() and distributed.is_initialized()):
        raise InputError(
            "several ranks need torch.distributed to compare their samples; call "
            "torch.distributed.init_process_group() first, or pass gather="
        )
    gathered: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, own)
    return gathered
