"""Proxies that are trained at once come to what each comes to by itself."""

import dataclasses

import numpy as np
import pytest
import torch
import yaml

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.store import Trajectory
from dmix.training.farm.proxy import ProxyTask, proxy_feedback
from dmix.training.farm.stacked.proxies import check_stack, stacked_feedback
from dmix.training.farm.variations import FASTER, LESS_SOURCE, SLOWER
from dmix.training.model.model_stack import ModelStack
from dmix.training.model.settings import ProxySettings, TrainingSettings
from dmix.training.run.base_model import base_config, train_base
from dmix.warehouse_schema.errors import InputError, TrainingError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

# fp32 sums in another order; 1e-7 was seen, at scores of some 5 nats
ROUNDING = 2e-6


@pytest.fixture(scope="module")
def make_task(tiny_warehouse, environment, tiny_model):
    """A farm of the tiny dataset, as `dmix mix collect` would hand it to a process."""

    def make(*, base=None, architecture="llama", vary=0.0, **training):
        settings = {"batch_size": 8, "learning_rate": 3e-3, "warmup": 0.3, "weight_decay": 1e-3, **training}
        return ProxyTask(
            root=tiny_warehouse.root,
            set_name="stacked",
            dataset="tiny",
            step_samples=24,
            environment=environment,
            proxy=ProxySettings(
                architecture=architecture,
                config=tiny_model.config,
                init="scratch" if base is None else "base",
                vary=vary,
                training=TrainingSettings(**settings),
            ),
            base=base,
        )

    return make


@pytest.fixture(scope="module")
def make_trajectories(tiny_warehouse):
    space = DomainSpace.of_dataset(read_dataset_manifest(tiny_warehouse))

    def make(shares_and_steps):
        found = []
        for number, (share, steps) in enumerate(shares_and_steps):
            rows = [space.start_N] + [space.expand(np.array([1 - share, share]))] * steps
            name = f"static-{number:04d}"
            found.append(
                Trajectory(trajectory_id=name, kind="static", top_k=None, mixtures_TN=np.stack(rows))
            )
        return found

    return make


def together(task, trajectories):
    return {trajectory.trajectory_id: found for trajectory, found in stacked_feedback(task, trajectories)}


def assert_as_alone(task, trajectories):
    """Compares a stack with its proxies trained one by one through Composer; returns its results."""
    stacked = together(task, trajectories)
    assert set(stacked) == {trajectory.trajectory_id for trajectory in trajectories}
    for trajectory in trajectories:
        alone, found = proxy_feedback(task, trajectory), stacked[trajectory.trajectory_id]
        np.testing.assert_allclose(found.scores_TD, alone.scores_TD, rtol=0, atol=ROUNDING)
        np.testing.assert_array_equal(found.planned_TN, alone.planned_TN)
        assert found.variation == alone.variation
    return stacked


PATHS = [(0.1, 3), (0.9, 2), (0.5, 3)]


@pytest.mark.parametrize(
    "options",
    [
        {},  # warm-up, cosine, decay, and clipping of some batches
        {"gradient_clip": 0.05},
        {"gradient_clip": None, "schedule": "constant", "weight_decay": 0.0, "warmup": 0.0},
        {"microbatch_size": 3},
        {"reset_at_documents": True},
        {"architecture": "gpt_neox"},
    ],
    ids=str,
)
def test_every_proxy_of_a_stack_has_the_scores_that_it_has_by_itself(make_task, make_trajectories, options):
    stacked = assert_as_alone(make_task(**options), make_trajectories(PATHS))
    ends = np.array([result.scores_TD[-1] for result in stacked.values()])
    assert np.ptp(ends, axis=0).min() > 1000 * ROUNDING  # what the paths teach differs


def test_a_proxy_does_not_depend_on_its_companions(make_task, make_trajectories):
    first, second, third, fourth = make_trajectories([*PATHS, (0.7, 1)])
    task = make_task()
    one, other = together(task, [first, second]), together(task, [third, first, fourth])
    np.testing.assert_allclose(
        one[first.trajectory_id].scores_TD, other[first.trajectory_id].scores_TD, rtol=0, atol=ROUNDING
    )


def test_proxies_come_out_when_their_trajectories_end(make_task, make_trajectories):
    order = [
        trajectory.trajectory_id for trajectory, _ in stacked_feedback(make_task(), make_trajectories(PATHS))
    ]
    assert order == ["static-0001", "static-0000", "static-0002"]


def test_learning_rates_and_sources_may_differ_within_a_stack(make_task, make_trajectories, tiny_warehouse):
    task = make_task(vary=1.0)
    space = DomainSpace.of_dataset(read_dataset_manifest(tiny_warehouse))
    found = {}
    for trajectory in make_trajectories([(0.4, 2)] * 30):
        found.setdefault(task.variation(trajectory.trajectory_id, space=space), trajectory)
    stacked = assert_as_alone(task, [found[name] for name in (SLOWER, FASTER, LESS_SOURCE)])
    assert [result.variation for result in stacked.values()] == [SLOWER, FASTER, LESS_SOURCE]


def test_a_stack_ends_with_its_data(make_task, make_trajectories, caplog):
    # 216 samples are five steps of 40 and one of 16
    task = dataclasses.replace(make_task(), step_samples=40)
    stacked = assert_as_alone(task, make_trajectories([(0.1, 9), (0.9, 9)]))
    assert [np.isfinite(result.scores_TD).all(1).sum() for result in stacked.values()] == [7, 7]
    assert "ran out of samples" in caplog.text


def test_a_stack_goes_on_from_a_base_model_and_the_moments_of_its_optimiser(
    make_task, make_trajectories, tiny_warehouse, tiny_model, tmp_path
):
    model_file = tmp_path / "model.yaml"
    model_file.write_text(yaml.safe_dump({"architecture": "llama", "config": tiny_model.config}))
    config = base_config(
        tiny_warehouse,
        model=str(model_file),
        tokens=4000,
        name="stack-base",
        training=TrainingSettings(batch_size=8, learning_rate=3e-3),
    )
    train_base(tiny_warehouse, config, progress=lambda _: None)
    assert_as_alone(make_task(base=tiny_warehouse.model("stack-base")), make_trajectories(PATHS[:2]))


def test_a_loss_that_is_not_finite_takes_one_proxy_out_of_the_stack(
    make_task, make_trajectories, monkeypatch
):
    task, trajectories = make_task(), make_trajectories(PATHS)
    unbroken = together(task, trajectories)
    losses, calls = ModelStack.losses, []

    def break_one(stack, input_PBL):
        calls.append(len(input_PBL))
        factor_P = torch.ones(len(input_PBL))
        if len(calls) == 5:  # the second batch of the second step
            factor_P[0] = torch.nan
        return losses(stack, input_PBL) * factor_P

    monkeypatch.setattr(ModelStack, "losses", break_one)
    found = together(task, trajectories)
    assert calls == [3] * 5 + [2] + [1] * 3
    broken = found.pop("static-0000")
    assert isinstance(broken, TrainingError) and "not finite in batch 2 of step 2" in broken.message
    for name, result in found.items():
        np.testing.assert_allclose(result.scores_TD, unbroken[name].scores_TD, rtol=0, atol=ROUNDING)


def test_too_little_memory_of_a_gpu_names_the_way_out(make_task, make_trajectories, monkeypatch):
    def full(stack, input_PBL):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(ModelStack, "losses", full)
    with pytest.raises(TrainingError, match="memory to train 3 proxies at once; give a smaller --stack"):
        list(stacked_feedback(make_task(), make_trajectories(PATHS)))


def test_what_a_stack_cannot_do_is_refused_by_name(make_task, make_trajectories):
    [trajectory] = make_trajectories([(0.5, 1)])
    check_stack(make_task(), trajectory)
    for options, message in [
        ({"loggers": ("tensorboard",)}, "leave loggers out"),
        ({"sharding": "full"}, "leave sharding out"),
    ]:
        with pytest.raises(InputError, match=message):
            check_stack(make_task(**options), trajectory)
    drops = make_task()
    config = {**drops.proxy.config, "attention_dropout": 0.1}
    drops = dataclasses.replace(drops, proxy=dataclasses.replace(drops.proxy, config=config))
    with pytest.raises(InputError, match="several models with attention_dropout at once"):
        check_stack(drops, trajectory)


def test_a_stack_in_bf16_scores_nearly_as_its_proxies_alone(make_task, make_trajectories):
    task, trajectories = make_task(precision="bf16"), make_trajectories(PATHS[:2])
    stacked = together(task, trajectories)
    for trajectory in trajectories:
        alone = proxy_feedback(task, trajectory).scores_TD
        np.testing.assert_allclose(stacked[trajectory.trajectory_id].scores_TD, alone, rtol=0, atol=0.02)
