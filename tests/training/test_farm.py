import dataclasses

import numpy as np
import pytest
import yaml

from dmix.mixing.domains import DomainSpace
from dmix.mixing.feedback import feedback_file, read_feedback
from dmix.mixing.objectives import load_environment
from dmix.mixing.trajectory_store import Trajectory, TrajectorySet, publish_set, read_set, write_trajectory
from dmix.training.base import base_config, train_base
from dmix.training.farm import collect, default_proxy, plan_farm
from dmix.training.proxy import order_seed
from dmix.training.settings import ProxySettings, TrainingSettings
from dmix.warehouse_schema.errors import InputError, NotFoundError, TrainingError
from dmix.warehouse_schema.manifests import read_dataset_manifest

SHARES = {"static-0000": 0.1, "static-0001": 0.9, "static-0002": 0.5}


def publish_trajectories(warehouse, set_name, *, shares=SHARES, steps=3, step_samples=24):
    """A set of constant target shares; the last trajectory is shorter."""
    manifest = read_dataset_manifest(warehouse)
    space = DomainSpace.of_dataset(manifest)
    publish_set(
        warehouse,
        TrajectorySet(
            set_name=set_name,
            dataset=manifest.dataset,
            preset="default",
            settings={"batch_size": 8},
            space=space.names,
            samples=tuple(space.samples_N.tolist()),
            step_samples=step_samples,
            run_step_samples=step_samples,
            steps=steps,
        ),
    )
    for name, share in shares.items():
        mixture = space.expand(np.array([1 - share, share]))
        length = steps if name == "static-0002" else steps + 1
        rows = np.stack([space.start_N] + [mixture] * (length - 1))
        trajectory = Trajectory(trajectory_id=name, kind="static", top_k=None, mixtures_TN=rows)
        write_trajectory(warehouse.trajectories(set_name), trajectory)


@pytest.fixture(scope="module")
def proxy(tiny_model):
    return ProxySettings(
        config=tiny_model.config, training=TrainingSettings(batch_size=8, learning_rate=3e-3, warmup=0.0)
    )


@pytest.fixture(scope="module")
def farmed(tiny_warehouse, environment, proxy):
    """A set whose feedback was collected in this process; what was said on the way."""
    publish_trajectories(tiny_warehouse, "farm")
    lines = []
    farm = plan_farm(tiny_warehouse, "farm", environment=environment, proxy=proxy)
    assert farm.tokens == (3 + 3 + 2) * 24 * 16
    scored = collect(tiny_warehouse, farm, spark=None, progress=lines.append)
    return scored, lines


def test_every_trajectory_gets_a_score_for_each_step_and_objective(farmed, tiny_warehouse):
    scores = read_feedback(tiny_warehouse, "farm")
    assert {name: rows.shape for name, rows in scores.items()} == {
        "static-0000": (4, 2), "static-0001": (4, 2), "static-0002": (3, 2)
    }  # fmt: skip
    assert all(np.isfinite(rows).all() for rows in scores.values())
    # all start from the same weights, and learn what they are given most of
    assert len({tuple(rows[0]) for rows in scores.values()}) == 1
    source_led, target_led = scores["static-0000"][-1], scores["static-0001"][-1]
    assert source_led[0] > target_led[0] and source_led[1] < target_led[1]


def test_the_environment_of_the_set_carries_the_scales_of_the_farm(farmed, tiny_warehouse):
    scored, _ = farmed
    rows = np.concatenate(list(read_feedback(tiny_warehouse, "farm").values()))
    np.testing.assert_allclose(scored.scales_D, rows.std(axis=0))
    assert load_environment(tiny_warehouse.feedback("farm") / "environment.yaml") == scored


def test_scales_of_the_user_win(farmed, tiny_warehouse, environment, proxy):
    own = dataclasses.replace(environment, scales={"target": 3.0})
    farm = plan_farm(tiny_warehouse, "farm", environment=own, proxy=proxy)
    scored = collect(tiny_warehouse, farm, spark=None, progress=print)
    assert scored.scales["target"] == 3.0 and 0 < scored.scales["general"] != 1


def test_finished_trajectories_are_not_done_again_and_missing_ones_come_out_the_same(
    farmed, tiny_warehouse, environment, proxy
):
    before = read_feedback(tiny_warehouse, "farm")
    lost = feedback_file(tiny_warehouse, "farm", "static-0001")
    kept = feedback_file(tiny_warehouse, "farm", "static-0000").stat().st_mtime_ns
    lost.unlink()
    farm = plan_farm(tiny_warehouse, "farm", environment=environment, proxy=proxy)
    assert [trajectory.trajectory_id for trajectory in farm.todo] == ["static-0001"] and farm.done == 2
    lines = []
    collect(tiny_warehouse, farm, spark=None, progress=lines.append)
    assert lines[0].startswith("trajectory 3/3")
    after = read_feedback(tiny_warehouse, "farm")
    np.testing.assert_array_equal(after["static-0001"], before["static-0001"])
    assert feedback_file(tiny_warehouse, "farm", "static-0000").stat().st_mtime_ns == kept


def test_spark_gives_the_same_scores(farmed, tiny_warehouse, environment, proxy, spark):
    two = {name: SHARES[name] for name in ("static-0000", "static-0002")}
    publish_trajectories(tiny_warehouse, "farm-on-spark", shares=two)
    farm = plan_farm(tiny_warehouse, "farm-on-spark", environment=environment, proxy=proxy)
    lines = []
    collect(tiny_warehouse, farm, spark=spark, progress=lines.append)
    here, there = read_feedback(tiny_warehouse, "farm"), read_feedback(tiny_warehouse, "farm-on-spark")
    assert set(there) == set(two)
    for name in two:
        np.testing.assert_allclose(there[name], here[name], atol=1e-6)
    assert all(line.startswith("trajectory ") for line in lines)


def test_a_failing_proxy_is_named_and_not_tried_again(tiny_warehouse, environment, proxy, spark):
    publish_trajectories(tiny_warehouse, "failing", shares={"static-0000": 0.5})
    training = dataclasses.replace(proxy.training, learning_rate=1e30, gradient_clip=None)
    broken = dataclasses.replace(proxy, training=training)
    farm = plan_farm(tiny_warehouse, "failing", environment=environment, proxy=broken)
    with pytest.raises(TrainingError, match=r"1 of 1 proxies failed, .* static-0000 failed: the loss is not"):
        collect(tiny_warehouse, farm, spark=spark, progress=print)
    assert read_feedback(tiny_warehouse, "failing") == {}


def test_another_proxy_does_not_mix_into_the_feedback_of_a_set(farmed, tiny_warehouse, environment, proxy):
    other = dataclasses.replace(proxy, seed=5)
    with pytest.raises(InputError, match="collected with another proxy"):
        plan_farm(tiny_warehouse, "farm", environment=environment, proxy=other)


def test_proxies_start_from_a_base_model_with_its_optimiser(tiny_warehouse, environment, proxy, tmp_path):
    model_file = tmp_path / "model.yaml"
    model_file.write_text(yaml.safe_dump({"architecture": "llama", "config": proxy.config}))
    config = base_config(
        tiny_warehouse, model=str(model_file), tokens=4000, name="farm-base", training=proxy.training
    )
    train_base(tiny_warehouse, config, progress=lambda _: None)
    publish_trajectories(tiny_warehouse, "farm-from-base")
    from_base = dataclasses.replace(proxy, init="base")
    farm = plan_farm(
        tiny_warehouse, "farm-from-base", environment=environment, proxy=from_base, base="farm-base"
    )
    collect(tiny_warehouse, farm, spark=None, progress=print)
    scores = read_feedback(tiny_warehouse, "farm-from-base")
    # the base knows the source and not the target, and training on the target makes it forget
    start, end = scores["static-0001"][0], scores["static-0001"][-1]
    assert start[0] > start[1] + 1 and end[1] > start[1] + 0.5


@pytest.mark.usefixtures("farmed")
@pytest.mark.parametrize(
    ("init", "base", "message"),
    [
        ("scratch", "b", "init is scratch"),
        ("base", None, "name a base model with --base"),
        ("base", "absent", "'absent' is not in"),
    ],
)
def test_base_and_init_must_agree(tiny_warehouse, environment, init, base, message):
    with pytest.raises(InputError, match=message):
        plan_farm(tiny_warehouse, "farm", environment=environment, proxy=ProxySettings(init=init), base=base)


def test_a_set_without_trajectories_is_named(tiny_warehouse, environment, proxy):
    with pytest.raises(NotFoundError):
        plan_farm(tiny_warehouse, "absent", environment=environment, proxy=proxy)


def test_the_batch_of_the_default_proxy_fits_the_set(farmed, tiny_warehouse):
    found = read_set(tiny_warehouse, "farm")
    assert default_proxy(found, base=None).training.batch_size == 8
    assert default_proxy(found, base="b").init == "base"


def test_every_proxy_reads_other_samples():
    assert order_seed("a", seed=0) != order_seed("b", seed=0) != order_seed("b", seed=1)
