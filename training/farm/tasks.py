"""The tasks of a farm on Spark: one trajectory each, or a stack of them, and a GPU if asked for.

GPUs are given by stage resources: the stage asks for an amount a task, and Spark tells each task
which device is its own. With a part of one (0.25), that many tasks share a device at the same time;
the proxies of one stack are trained at once, which a small model needs more to fill a device
(docs/guide/gpus.md).
"""

import os
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dmix.mixing.trajectories.store import Trajectory
from dmix.training.farm.proxy import use_one_thread
from dmix.warehouse_schema.errors import InputError, TrainingError
from dmix.warehouse_schema.progress import doing, during
from dmix.warehouse_schema.settings import check_range
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

_POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class FarmTasks:
    """How trajectories become Spark tasks.

    Attributes:
        stack: Most trajectories of one task.
        gpus_per_task: GPUs of one task: a whole number, or at most 0.5; None leaves it to the cluster.
    """

    stack: int = 1
    gpus_per_task: float | None = None

    def __post_init__(self) -> None:
        check_range(self, "stack", least=1, flags=True)
        gpus = self.gpus_per_task
        if gpus is not None and not (0 < gpus <= 0.5 or (gpus >= 1 and gpus == int(gpus))):
            raise InputError(
                f"--gpus-per-task is {gpus}, expected a whole number, or at most 0.5 to share a GPU"
            )

    def stacks(
        self, trajectories: Sequence[Trajectory], *, alike: Callable[[Trajectory], Hashable]
    ) -> list[tuple[Trajectory, ...]]:
        """The trajectories of each task, in order, those that are alike together."""
        groups: dict[Hashable, list[Trajectory]] = {}
        for trajectory in trajectories:
            groups.setdefault(alike(trajectory), []).append(trajectory)
        return [
            tuple(group[start : start + self.stack])
            for group in groups.values()
            for start in range(0, len(group), self.stack)
        ]

    def profile(self) -> "ResourceProfile | None":
        """The stage resources; None without GPUs."""
        if self.gpus_per_task is None:
            return None
        from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

        # Task resources alone: the cluster says which executors have GPUs (spark.executor.resource.gpu.*).
        wanted = TaskResourceRequests().cpus(1).resource("gpu", self.gpus_per_task)
        return ResourceProfileBuilder().require(wanted).build

    @during("")
    def run(
        self,
        stacks: Sequence[tuple[Trajectory, ...]],
        *,
        spark: "SparkSession",
        group: str,
        work: Callable[[Sequence[Trajectory]], list[str]],
        finished: Callable[[], int],
        progress: Callable[[int], None],
    ) -> None:
        """Does the work on every stack and waits for the end.

        Args:
            stacks: The trajectories of each task; at least one.
            spark: Where the tasks run.
            group: Name of the job.
            work: Trains the proxies of a stack, publishes their feedback and says what went wrong; runs
                in an executor. Raising would make Spark try again what fails the same way.
            finished: Counts the trajectories whose results are there.
            progress: Gets that count whenever it has grown.

        Raises:
            InputError: If GPUs are asked for of a local Spark, which has none to give.
            TrainingError: If a proxy fails; the others are done all the same.
        """
        context, profile = spark.sparkContext, self.profile()
        if profile is not None and str(context.master).startswith("local"):
            raise InputError(
                f"--gpus-per-task needs a cluster, but Spark runs as {context.master}; give a cluster "
                "with --master, or leave --gpus-per-task out. Local proxies share the machine's GPU"
            )
        tasks = context.parallelize(stacks, len(stacks))
        if profile is not None:
            tasks = tasks.withResources(profile)
        answers = tasks.map(lambda stack: _work_in_executor(work, stack))

        def submit() -> list[list[str]]:
            context.setJobGroup(group, "training of proxies", interruptOnCancel=True)
            return list(answers.collect())

        seen = 0
        with ThreadPoolExecutor(max_workers=1) as pool:
            future = pool.submit(submit)
            try:
                while not future.done():
                    doing(f"{seen} of {num_text(sum(map(len, stacks)), 'proxy', 'are')} done")
                    time.sleep(_POLL_SECONDS)
                    number = finished()
                    if number > seen:
                        seen = number
                        progress(number)
            except KeyboardInterrupt:
                context.cancelJobGroup(group)
                raise
            failures = [message for stack in future.result() for message in stack]
        if failures:
            raise TrainingError(
                f"{len(failures)} of {num_text(sum(map(len, stacks)), 'proxy')} failed. The first error: "
                f"{failures[0]}. dmix keeps finished trajectories; run the same command again for the "
                "others"
            )


def _work_in_executor(
    work: Callable[[Sequence[Trajectory]], list[str]], stack: Sequence[Trajectory]
) -> list[str]:
    use_one_thread()
    _use_own_gpu()
    return work(stack)


def _use_own_gpu() -> None:
    """Shows this process the devices that Spark gave its task, and no others.

    CUDA reads the variable once. A worker process that serves several tasks keeps its first device,
    which is its own as long as an executor holds one device, as Spark recommends.
    """
    from pyspark import TaskContext

    context = TaskContext.get()
    resources = {} if context is None else context.resources()
    if "gpu" in resources:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(resources["gpu"].addresses)
