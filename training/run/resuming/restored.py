"""The state of a run out of a checkpoint that somebody may have changed: only what the run can have saved.

Whether the run has ended follows from the rest, so it is computed, not read.
"""

from collections.abc import Mapping

import numpy as np
from composer.core import Timestamp

from dmix.mixing.delivery.digest import Ids
from dmix.mixing.delivery.exhaustion import SUM_TOLERANCE
from dmix.mixing.delivery.step_plan import (
    MixerState,
    PlanSettings,
    check_state,
    drawn_samples,
    is_over,
    plan_step,
)
from dmix.mixing.delivery.streams import StreamSizes
from dmix.mixing.space.domains import Vector
from dmix.training.run.decisions import Decision
from dmix.training.run.state import RunState
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.sizes import num_text


def restored_state(
    text: object,
    *,
    streams: StreamSizes,
    settings: PlanSettings,
    steps: int,
    objectives: int,
    recorded: Mapping[int, Decision],
) -> RunState:
    """The state that a run saved.

    Args:
        text: JSON, from a checkpoint.
        streams: Shard sizes of the dataset.
        settings: R, B and the rules of planning.
        steps: M, the number of steps to train.
        objectives: D, the number of objectives.
        recorded: Decisions on steps after the checkpoint, from the events.

    Raises:
        ValueError: If no run of these streams, settings and objectives saves such a state.
        VerificationError: If its step under way used other samples than the planned ones.
    """
    ids: Ids = np.zeros(0, np.int64)

    def planned_ids(mixer: MixerState, asked_N: Vector) -> Ids:
        nonlocal ids
        check_state(mixer, streams=streams, settings=settings)
        ids = plan_step(asked_N, mixer, streams=streams, settings=settings).ids
        return ids

    try:
        state = RunState.from_json(text if isinstance(text, str) else "null", planned_ids=planned_ids)
        check_state(state.mixer, streams=streams, settings=settings)
        over = is_over(state.mixer, streams=streams, settings=settings)
    except InputError as error:  # its advice is for other readers of such a state
        raise ValueError(error.message.partition(";")[0]) from None
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} is missing") from None
    state.finished = over or state.steps_done >= steps
    _check_history(state, settings=settings, objectives=objectives)
    _check_step_under_way(state, ids, streams=streams, settings=settings, recorded=recorded)
    return state


def check_place(state: RunState, timestamp: Timestamp, *, streams: StreamSizes, batch_size: int) -> None:
    """Raises a ValueError unless a state is that of a run at this step and global batch."""
    under_way = int(state.consumed.samples_N.sum())
    samples = int(drawn_samples(state.mixer, streams).sum()) + under_way
    place = (timestamp.epoch.value, timestamp.batch.value, timestamp.batch_in_epoch.value)
    found = (state.steps_done, samples / batch_size, under_way / batch_size)
    if found != place:
        raise ValueError(
            "its state is that after {:g} steps and {:g} batches, {:g} of them of the next step, but it says "
            "{:g}, {:g} and {:g}".format(*found, *place)
        )


def _check_history(state: RunState, *, settings: PlanSettings, objectives: int) -> None:
    """Raises a ValueError unless the rows of past steps can be those of a run."""
    mixtures_TN, losses_TN, counts_TN = state.mixtures_TN(), state.losses_TN(), state.counts_TN()
    if len(state.feedback[0]) != objectives:
        raise ValueError(
            f"it has scores on {num_text(len(state.feedback[0]), 'objective')}, but the run has {objectives}"
        )
    if (mixtures_TN < -SUM_TOLERANCE).any() or (abs(mixtures_TN.sum(axis=1) - 1) > SUM_TOLERANCE).any():
        raise ValueError("a mixture of its steps has weights below 0, or does not sum to 1")
    taken_T = counts_TN.sum(axis=1)[1:]
    full_T = taken_T == settings.step_samples
    if not (full_T[:-1].all() and (full_T[-1:].all() or taken_T[-1] < settings.step_samples)):
        raise ValueError(f"its steps have {taken_T.tolist()[:3]} samples, expected {settings.step_samples}")
    if not np.isfinite(losses_TN[counts_TN > 0]).all():
        raise ValueError("the loss of a step is not finite")
    if any(found.effect_ND.shape[1] != objectives for found in state.effects):
        raise ValueError("its effects are those on other objectives")


def _check_step_under_way(
    state: RunState,
    ids: Ids,
    *,
    streams: StreamSizes,
    settings: PlanSettings,
    recorded: Mapping[int, Decision],
) -> None:
    """Raises a ValueError unless the step after those that are done can have begun as it says.

    Args:
        state: The state.
        ids: Planned for that step; none between steps.
        streams: Shard sizes of the dataset.
        settings: R, B and the rules of planning.
        recorded: Decisions on steps after the checkpoint, from the events.
    """
    samples_N = state.consumed.samples_N
    consumed = int(samples_N.sum())
    if consumed % settings.batch_size or not np.array_equal(samples_N, streams.count(ids[:consumed])):
        raise ValueError("the step under way has samples of other domains than planned")
    if not np.isfinite(state.consumed.loss_sum_N).all():
        raise ValueError("the loss of the step under way is not finite")
    if state.asked is None:
        return
    decided = recorded.get(state.steps_done + 1)
    if decided is not None and decided.asked_N.tolist() != state.asked:
        raise ValueError("the mixture of the step under way is not the one in events.jsonl")
    if state.finished:
        raise ValueError("a step is under way after the last one")
