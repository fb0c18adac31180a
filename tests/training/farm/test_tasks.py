"""How a farm is cut into Spark tasks, and what these ask of the cluster."""

import numpy as np
import pytest

from dmix.mixing.trajectories.store import Trajectory
from dmix.training.farm.tasks import FarmTasks
from dmix.warehouse_schema.errors import InputError


def trajectories(number):
    return [
        Trajectory(trajectory_id=str(i), kind="static", top_k=None, mixtures_TN=np.ones((2, 2)) / 2)
        for i in range(number)
    ]


@pytest.mark.parametrize(("stack", "sizes"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (9, [5])])
def test_a_task_gets_a_stack_of_trajectories_in_order(stack, sizes):
    stacks = FarmTasks(stack=stack).stacks(trajectories(5), alike=lambda _: "")
    assert [len(found) for found in stacks] == sizes
    assert [t.trajectory_id for found in stacks for t in found] == list("01234")


def test_a_stack_holds_trajectories_that_are_alike():
    stacks = FarmTasks(stack=2).stacks(trajectories(7), alike=lambda t: t.trajectory_id in "25")
    assert [[t.trajectory_id for t in found] for found in stacks] == [
        ["0", "1"], ["3", "4"], ["6"], ["2", "5"]
    ]  # fmt: skip


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("gpus", [0.25, 0.5, 1, 2.0])
def test_gpus_are_stage_resources(gpus):
    profile = FarmTasks(gpus_per_task=gpus).profile()
    assert profile.taskResources["gpu"].amount == gpus
    assert profile.taskResources["cpus"].amount == 1
    assert profile.executorResources == {}


def test_without_gpus_the_stage_asks_for_nothing():
    assert FarmTasks().profile() is None


@pytest.mark.parametrize("gpus", [0, -1, 0.75, 1.5])
def test_gpu_amounts_that_spark_cannot_give_are_refused(gpus):
    with pytest.raises(InputError, match=f"--gpus-per-task is {gpus}, expected a whole number, or at most"):
        FarmTasks(gpus_per_task=gpus)


def test_a_stack_holds_at_least_one():
    with pytest.raises(InputError, match="--stack is 0, expected at least 1"):
        FarmTasks(stack=0)


def test_a_local_spark_has_no_gpus_to_give(spark):
    with pytest.raises(InputError, match=r"--gpus-per-task needs a cluster, but Spark runs as local"):
        FarmTasks(gpus_per_task=1).run(
            [tuple(trajectories(1))], spark=spark, group="g", work=print, finished=lambda: 0, progress=print
        )
