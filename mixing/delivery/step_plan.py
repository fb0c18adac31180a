"""The plan of a step: from an asked mixture and a small state to sample ids in order.

Everything is a pure function of its arguments: the same seed, state and mixture give the same
ids on every rank, machine and attempt, so a plan is never stored, only what it follows from.
Shapes: N (field, domain) pairs; R samples a step, R' <= R in the last one. A step costs O(R)
time and the state is O(N), however long the run and however large the data.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dmix.mixing.delivery.apportion import apportion
from dmix.mixing.delivery.exhaustion import EXHAUSTION, allocate, checked_mixture
from dmix.mixing.delivery.order import Ids, interleaved, order_slice
from dmix.mixing.delivery.streams import Counts, StreamSizes
from dmix.mixing.space.domains import Vector
from dmix.mixing.space.plain_values import count_of, counts_of, floats_of
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import check_range, setting
from dmix.warehouse_schema.sizes import num_text

__all__ = [
    "MixerState",
    "PlanSettings",
    "StepPlan",
    "StreamSizes",
    "check_settings",
    "check_state",
    "drawn_samples",
    "ending",
    "is_over",
    "plan_step",
    "remaining_samples",
    "step_total",
]


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """What a run fixes before its first step; together with the mixtures it decides every id."""

    step_samples: int = setting(help="R: samples drawn under one mixture, a multiple of the batch.")
    batch_size: int = setting(help="B: samples in a global batch, over all ranks.")
    seed: int = setting(0, help="Seed of the sample order.")
    exhaustion: str = setting(
        "stop",
        choices=EXHAUSTION,
        help="Rule for a domain without samples left. stop: other domains get its share, and the run ends"
        " once it has drawn all target samples (as in the paper). redistribute: other domains get its"
        " share until no samples are left. repeat: the domain starts a new pass.",
    )
    max_passes: int = setting(4, help="Maximum number of passes through each domain under repeat.")
    shuffle_block: int = setting(
        8,
        help="Number of a domain's shards that are shuffled together. Fewer shards mean fewer open files"
        " per step; all of a domain's shards give a full shuffle.",
    )

    def __post_init__(self) -> None:
        check_range(self, "step_samples", "batch_size", "max_passes", "shuffle_block", least=1)
        if not -(2**63) <= self.seed < 2**63:
            raise InputError(f"seed is {self.seed}, expected a number of at most 64 bits")
        if self.exhaustion not in EXHAUSTION:
            raise InputError(f"exhaustion is {self.exhaustion!r}, expected one of {', '.join(EXHAUSTION)}")

    @property
    def passes(self) -> int:
        """Passes that a domain can be drawn from."""
        return self.max_passes if self.exhaustion == "repeat" else 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class MixerState:
    """State of a run between two steps. A step never changes it; it makes the next state.

    Attributes:
        step: Steps done.
        carry_N: Samples owed to each domain, negative where it had too many; float64, sum 0.
        cursor_N: Samples taken in the current pass.
        pass_N: Passes completed.
    """

    step: int
    carry_N: Vector
    cursor_N: Counts
    pass_N: Counts

    @classmethod
    def start(cls, size: int) -> "MixerState":
        """Nothing taken from any of `size` domains."""
        return cls(
            step=0,
            carry_N=np.zeros(size),
            cursor_N=np.zeros(size, dtype=np.int64),
            pass_N=np.zeros(size, dtype=np.int64),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; Python's JSON writes and reads float64 without loss."""
        return {
            "step": self.step,
            "carry": self.carry_N.tolist(),
            "cursor": self.cursor_N.tolist(),
            "pass": self.pass_N.tolist(),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "MixerState":
        """The state that `to_json` wrote.

        Raises:
            InputError: If a part is missing, is no number that it can be, or the lengths disagree.
        """
        try:
            step = count_of(value["step"], what="step")
            carry_N = floats_of(value["carry"], shape=(None,), what="carry")
            cursor_N, pass_N = (
                counts_of(value[name], shape=carry_N.shape, what=name) for name in ("cursor", "pass")
            )
        except (KeyError, TypeError, ValueError) as error:
            said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
            raise InputError(f"mixer state is damaged ({said}); resume from an earlier checkpoint") from None
        return cls(step=step, carry_N=carry_N, cursor_N=cursor_N, pass_N=pass_N)


@dataclass(frozen=True, kw_only=True, eq=False)
class StepPlan:
    """What a step draws.

    Attributes:
        step: Number of the step, from 1.
        asked_N: The mixture as the controller gave it, float64.
        planned_N: After masks and exhaustion, sum 1.
        counts_N: Samples of each domain, sum R'.
        ids: Global sample ids in the order of consumption, int64, shape (R',).
        passes_N: Passes through each domain after the step, fractional; 0 for empty domains.
        reasons: Why the planned weight of a domain is not the asked one. Differences below the
            tolerance of 1e-6, from dividing by the sum, need none.
        state_after: State to plan the next step from.
        last: True if the run ends with this step.
        unserved_samples: Samples left in open domains after it.
    """

    step: int
    asked_N: Vector
    planned_N: Vector
    counts_N: Counts
    ids: Ids
    passes_N: Vector
    reasons: dict[int, str]
    state_after: MixerState
    last: bool
    unserved_samples: int

    @property
    def drawn_N(self) -> Vector:
        """Shares of the samples that the step draws; `planned_N`, rounded to whole samples."""
        return self.counts_N / max(1, int(self.counts_N.sum()))


def plan_step(
    asked_N: Vector, state: MixerState, *, streams: StreamSizes, settings: PlanSettings
) -> StepPlan:
    """The step after `state` under an asked mixture (design: counts, order, exhaustion).

    Args:
        asked_N: Weights, sum 1 within 1e-6, shape (N,).
        state: From the previous plan, or `MixerState.start`.
        streams: Sizes of the N streams.
        settings: R, B, seed and rules.

    Raises:
        InputError: If the mixture is no mixture, the state belongs to other streams, or no
            batch can be filled any more.
    """
    mixture_N = checked_mixture(asked_N, size=len(streams))
    remaining_N = remaining_samples(state, streams=streams, settings=settings)
    total = step_total(remaining_N, settings=settings)
    if total == 0:
        raise InputError(
            f"step {state.step + 1} has only {num_text(int(remaining_N.sum()), 'sample')} left, fewer than a "
            f"batch of {settings.batch_size}; end the run after its last planned step"
        )
    allocation = allocate(
        mixture_N,
        total=total,
        carry_N=state.carry_N,
        remaining_N=remaining_N,
        samples_N=streams.samples_N,
        target_N=streams.target_N,
    )
    counts_N = apportion(allocation.quota_N, total=total, limit_N=remaining_N)
    drawn_N = drawn_samples(state, streams) + counts_N
    pass_size_N = np.maximum(streams.samples_N, 1)
    left_N = remaining_N - counts_N
    ids = _drawn_ids(counts_N, state, streams=streams, settings=settings)
    return StepPlan(
        step=state.step + 1,
        asked_N=np.array(asked_N, dtype=np.float64),
        planned_N=allocation.planned_N,
        counts_N=counts_N,
        ids=interleaved(ids, counts_N=counts_N, seed=settings.seed, step=state.step + 1),
        passes_N=drawn_N / pass_size_N,
        reasons=allocation.reasons,
        state_after=MixerState(
            step=state.step + 1,
            carry_N=allocation.quota_N - counts_N,
            cursor_N=drawn_N % pass_size_N,
            pass_N=drawn_N // pass_size_N,
        ),
        last=_is_last(left_N, streams=streams, settings=settings),
        unserved_samples=int(left_N.sum()),
    )


def remaining_samples(state: MixerState, *, streams: StreamSizes, settings: PlanSettings) -> Counts:
    """Samples that each domain can still give before its last pass ends, shape (N,).

    Raises:
        InputError: If the state cannot come from these streams.
    """
    if len(state.cursor_N) != len(streams):
        raise InputError(
            f"the state has {num_text(len(state.cursor_N), 'domain')}, but the streams have "
            f"{len(streams)}; resume with the first dataset of the run"
        )
    if ((state.cursor_N > 0) & (state.cursor_N >= streams.samples_N)).any():
        raise InputError(
            "the state has used more samples than a domain has; resume with the first dataset of the run"
        )
    return np.maximum(0, settings.passes * streams.samples_N - drawn_samples(state, streams))


def is_over(state: MixerState, *, streams: StreamSizes, settings: PlanSettings) -> bool:
    """Whether a run has drawn all that its rule lets it draw, so that no step can follow `state`."""
    left_N = remaining_samples(state, streams=streams, settings=settings)
    return _is_last(left_N, streams=streams, settings=settings)


def check_state(state: MixerState, *, streams: StreamSizes, settings: PlanSettings) -> None:
    """Checks that steps of these settings can have led to a state that was stored.

    Raises:
        InputError: If its steps and its samples disagree, or it cannot come from these streams.
    """
    remaining_N = remaining_samples(state, streams=streams, settings=settings)
    used_up_N = (state.pass_N > settings.passes) | ((streams.samples_N == 0) & (state.pass_N > 0))
    drawn_N = drawn_samples(state, streams)
    if used_up_N.any() or (drawn_N > settings.passes * streams.samples_N).any():
        raise InputError("the state has used more samples than a domain has; resume from an earlier one")
    drawn, full = int(drawn_N.sum()), state.step * settings.step_samples
    # only a step after which too little is left for a batch is a shorter one
    shorter = full - settings.step_samples < drawn < full and drawn % settings.batch_size == 0
    if drawn != full and not (shorter and step_total(remaining_N, settings=settings) == 0):
        raise InputError(
            f"the state has used {num_text(drawn, 'sample')} in {num_text(state.step, 'step')} of "
            f"{settings.step_samples}; resume from an earlier one"
        )


def step_total(remaining_N: Counts, *, settings: PlanSettings) -> int:
    """R', the samples of the next step: R, or the largest multiple of the batch that is left."""
    available = int(remaining_N.sum())
    return min(settings.step_samples, available - available % settings.batch_size)


def ending(state: MixerState, *, steps: int, streams: StreamSizes, settings: PlanSettings) -> str:
    """Why a run of at most `steps` steps ends after `state`, and what it leaves undrawn, in words."""
    left_N = remaining_samples(state, streams=streams, settings=settings)
    if not left_N.any():
        return "the run has drawn every sample"
    if state.step >= steps:
        why = "the only step is done" if steps == 1 else f"all {num_text(steps, 'step')} are done"
    elif step_total(left_N, settings=settings) == 0:
        why = f"the remaining samples are too few for a batch of {settings.batch_size}"
    else:
        why = "the run has drawn all target samples"
    target = int(left_N[streams.target_N].sum())
    source = int(left_N.sum()) - target
    if settings.passes > 1:
        # samples of passes that nobody meant to use would dwarf those of the run
        drawn_N = drawn_samples(state, streams)
        target = int(drawn_N[streams.target_N].sum())
        source = int(drawn_N.sum()) - target
        why += "; drawn: "
    else:
        why += "; not drawn: "
    return f"{why}{num_text(source, 'source sample')} and {num_text(target, 'target sample')}"


def check_settings(
    settings: PlanSettings, *, streams: StreamSizes | None = None, world_size: int = 1
) -> None:
    """Checks before the first step that every step can be cut into batches, and batches into ranks.

    Raises:
        InputError: If R is no multiple of the batch, the batch none of the ranks, or the data
            cannot fill one batch.
    """
    step, batch = settings.step_samples, settings.batch_size
    if step % batch:
        raise InputError(
            f"--samples-per-step is {step}, which is not a multiple of the batch of {batch}; nearest "
            f"valid: {_nearest(step, batch)}"
        )
    if batch % world_size:
        raise InputError(
            f"--batch-size is {batch}, which is not a multiple of the {world_size} ranks; nearest "
            f"valid: {_nearest(batch, world_size)}"
        )
    if streams is not None and settings.passes * streams.samples_N.sum() < batch:
        raise InputError(
            f"the domains have {num_text(int(streams.samples_N.sum()), 'sample')}, fewer than one batch of "
            f"{batch}; lower --batch-size or add text"
        )


def _nearest(number: int, divisor: int) -> str:
    """The multiples of `divisor` next to a number, 0 left out, in words."""
    lower = number - number % divisor
    return f"{lower} and {lower + divisor}" if lower else f"{divisor}"


def drawn_samples(state: MixerState, streams: StreamSizes) -> Counts:
    """Samples taken from each domain so far; closing a domain does not forget them."""
    return state.pass_N * streams.samples_N + state.cursor_N


def _is_last(left_N: Counts, *, streams: StreamSizes, settings: PlanSettings) -> bool:
    """Whether a run with `left_N` samples left is over."""
    if step_total(left_N, settings=settings) == 0:
        return True
    has_target = bool(streams.samples_N[streams.target_N].any())
    return settings.exhaustion == "stop" and has_target and not left_N[streams.target_N].any()


def _drawn_ids(counts_N: Counts, state: MixerState, *, streams: StreamSizes, settings: PlanSettings) -> Ids:
    """The next ids of every domain, domain after domain, crossing into further passes if need be."""
    parts = []
    for domain in np.flatnonzero(counts_N).tolist():
        size = int(streams.samples_N[domain])
        wanted, at, turn = int(counts_N[domain]), int(state.cursor_N[domain]), int(state.pass_N[domain])
        while wanted:
            count = min(wanted, size - at)
            local = order_slice(
                domain,
                shuffle_pass=turn,
                start=at,
                count=count,
                shard_samples=streams.shard_samples[domain],
                seed=settings.seed,
                shuffle_block=settings.shuffle_block,
            )
            parts.append(local + streams.offsets_N[domain])
            wanted, at, turn = wanted - count, 0, turn + 1
    return np.concatenate(parts)
