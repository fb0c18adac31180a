"""The farm: proxy feedback on every trajectory of a set.

A finished trajectory is a file under `feedback/<set>/` and is never done again, so a killed farm
goes on where it was. Proxies run in Spark executors (`dmix.training.farm.tasks`), or in this
process; both give the same scores on the same kind of machine. Those of one stack are trained at
once (`dmix.training.farm.stacked.proxies`), which gives the same scores to rounding.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from dmix.mixing.trajectories.feedback import farm_scales, feedback_file, read_feedback, write_feedback
from dmix.mixing.trajectories.objectives import (
    Environment,
    write_environment,
)
from dmix.mixing.trajectories.store import Trajectory
from dmix.training.farm.plan import (
    FarmPlan,
    check_same_farm,
    default_proxy,
    farm_file,
    farm_record,
    plan_farm,
    without_feedback,
)
from dmix.training.farm.proxy import ProxyResult, ProxyTask, proxy_feedback
from dmix.training.farm.stacked.proxies import Outcome, stacked_feedback
from dmix.training.farm.tasks import FarmTasks
from dmix.training.run.run import LOCK_SECONDS
from dmix.training.run.watching.progress import duration
from dmix.warehouse_schema.errors import DmixError, TrainingError
from dmix.warehouse_schema.files.layout import Warehouse, publish_json, read_json
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.progress import counted

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["FarmPlan", "collect", "default_proxy", "plan_farm", "run_stack", "with_scales"]

logger = logging.getLogger(__name__)


def collect(
    warehouse: Warehouse,
    farm: FarmPlan,
    *,
    spark: "SparkSession | None",
    progress: Callable[[str], None],
    stack: int = 1,
    gpus_per_task: float | None = None,
) -> Environment:
    """Trains the missing proxies, then publishes the environment with the farm's scales.

    Args:
        warehouse: Where feedback goes.
        farm: From `plan_farm`.
        spark: Runs the stacks as tasks; None runs them in this process, one after the other.
        progress: Receives a line whenever trajectories have finished.
        stack: Most trajectories whose proxies are trained at once.
        gpus_per_task: GPUs that Spark gives each task; a part of one lets tasks share it.

    Returns:
        The environment with scales s_i.

    Raises:
        InputError: If the stack is smaller than 1 or its proxies cannot be trained at once, or the GPU
            amount is not one that Spark can give.
        LockHeldError: If another process collects feedback on the set.
        TrainingError: If a proxy fails.
    """
    name = farm.task.set_name
    tasks = FarmTasks(stack=stack, gpus_per_task=gpus_per_task)
    lock, what = warehouse.lock_of("farm", name), f"the feedback on set {name}"
    with held_lock(lock, what=what, timeout_seconds=LOCK_SECONDS, of_job=True):
        # another process may have collected since the plan was made
        check_same_farm(warehouse, farm.task, accept_changes=bool(farm.changes))
        todo = without_feedback(warehouse, name, farm.todo)
        farm = dataclasses.replace(farm, todo=todo, done=farm.done + len(farm.todo) - len(todo))
        _collect(warehouse, farm, tasks, spark=spark, progress=progress)
        scored = with_scales(warehouse, farm.task.environment, name)
        write_environment(warehouse.feedback(name) / "environment.yaml", scored)
    return scored


def _collect(
    warehouse: Warehouse,
    farm: FarmPlan,
    tasks: FarmTasks,
    *,
    spark: "SparkSession | None",
    progress: Callable[[str], None],
) -> None:
    """Trains the missing proxies, in tasks of Spark or one stack after the other."""
    name, stacks = farm.task.set_name, farm.stacks(tasks)
    _publish_record(warehouse, farm)
    started = time.monotonic()
    if spark is None:
        finished = 0
        for trajectories in counted(stacks, "proxy" if tasks.stack == 1 else "stack of proxies"):
            failures = run_stack(farm.task, trajectories)
            if failures:
                raise TrainingError(failures[0])
            finished += len(trajectories)
            progress(_progress_line(farm, finished, time.monotonic() - started))
    elif farm.todo:
        tasks.run(
            stacks,
            spark=spark,
            group=f"dmix-farm-{name}",
            work=partial(run_stack, farm.task),
            finished=lambda: _finished(warehouse, farm.todo, name),
            progress=lambda number: progress(_progress_line(farm, number, time.monotonic() - started)),
        )


def run_stack(task: ProxyTask, trajectories: Sequence[Trajectory]) -> list[str]:
    """Trains the proxies of a stack and publishes the feedback of each as soon as it is there.

    A single one goes through Composer, like every other run.

    Returns:
        What went wrong, a sentence for each trajectory without feedback.
    """
    failures: dict[str, DmixError] = {}
    left = {trajectory.trajectory_id for trajectory in trajectories}
    try:
        for trajectory, outcome in _outcomes(task, trajectories):
            if isinstance(outcome, TrainingError):
                failures[trajectory.trajectory_id] = outcome
            else:
                _publish(task, trajectory, outcome)
            left.remove(trajectory.trajectory_id)
    except DmixError as error:
        failures |= dict.fromkeys(left, error)
    return [f"proxy of trajectory {name} failed: {failures[name].message}" for name in sorted(failures)]


def _outcomes(task: ProxyTask, trajectories: Sequence[Trajectory]) -> Iterator[Outcome]:
    if len(trajectories) > 1:
        return stacked_feedback(task, trajectories)
    return ((trajectory, proxy_feedback(task, trajectory)) for trajectory in trajectories)


def _publish(task: ProxyTask, trajectory: Trajectory, result: ProxyResult) -> None:
    write_feedback(
        Warehouse.at(task.root),
        set_name=task.set_name,
        trajectory_id=trajectory.trajectory_id,
        objectives=task.environment.names,
        scores_TD=result.scores_TD,
        variation=result.variation,
        planned_TN=result.planned_TN,
    )


def with_scales(warehouse: Warehouse, environment: Environment, set_name: str) -> Environment:
    """The environment with the farm's standard deviations where the user gave no scale."""
    if set(environment.scales) >= set(environment.names):
        return environment
    scores = read_feedback(warehouse, set_name)
    found = farm_scales(scores.values(), objectives=environment.names)
    farm = dict(zip(environment.names, found.tolist(), strict=True))
    return dataclasses.replace(environment, scales={**farm, **environment.scales})


def _finished(warehouse: Warehouse, todo: Sequence[Trajectory], set_name: str) -> int:
    return sum(feedback_file(warehouse, set_name, item.trajectory_id).is_file() for item in todo)


def _progress_line(farm: FarmPlan, finished: int, seconds: float) -> str:
    total = farm.done + len(farm.todo)
    line = f"trajectory {farm.done + finished}/{total} · {duration(seconds)}"
    left = len(farm.todo) - finished
    return line if not left else f"{line} · about {duration(seconds / finished * left)} left"


def _publish_record(warehouse: Warehouse, farm: FarmPlan) -> None:
    path = farm_file(warehouse, farm.task.set_name)
    before = read_json(path).get("changes", []) if path.is_file() else []
    changes = [*before, *(change.to_json() for change in farm.changes)]
    publish_json(path, farm_record(farm.task) | ({"changes": changes} if changes else {}))
