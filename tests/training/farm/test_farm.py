import dataclasses
import json
import multiprocessing
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.manifests import trajectory_set

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.feedback import feedback_file, load_feedback, read_feedback, read_trained
from dmix.mixing.trajectories.objectives import load_environment
from dmix.mixing.trajectories.store import (
    Trajectory,
    publish_set,
    read_set,
    read_trajectories,
    write_trajectory,
)
from dmix.training.farm.farm import collect, default_proxy, plan_farm, run_stack
from dmix.training.farm.proxy import order_seed, proxy_feedback, proxy_job
from dmix.training.farm.tasks import FarmTasks
from dmix.training.farm.variations import FASTER, LESS_SOURCE, NARROWER
from dmix.training.model.model_stack import ModelStack
from dmix.training.model.settings import ProxySettings, TrainingSettings
from dmix.training.run.base_model import base_config, train_base
from dmix.warehouse_schema.errors import (
    InputError,
    LockHeldError,
    NotFoundError,
    StorageError,
    TrainingError,
)
from dmix.warehouse_schema.files.changes import accepted_changes
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

pytestmark = pytest.mark.long
SHARES = {"static-0000": 0.1, "static-0001": 0.9, "static-0002": 0.5}


def publish_trajectories(
    warehouse,
    set_name,
    *,
    shares=SHARES,
    steps=3,
    step_samples=24,
    run_step_samples=24,
    max_passes=1,
    preset="default",
):
    """A set of constant target shares; the last trajectory is shorter."""
    manifest = read_dataset_manifest(warehouse)
    space = DomainSpace.of_dataset(manifest)
    publish_set(
        warehouse,
        trajectory_set(
            space.names,
            space.samples_N,
            steps=steps,
            set_name=set_name,
            dataset=manifest.dataset,
            preset=preset,
            settings={"batch_size": 8, "max_passes": max_passes},
            step_samples=step_samples,
            run_step_samples=run_step_samples,
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
        config=tiny_model.config,
        vary=0.0,
        training=TrainingSettings(batch_size=8, learning_rate=3e-3, warmup=0.0),
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


def test_a_killed_farm_goes_on_where_it_was(farmed, tiny_warehouse, environment, proxy):
    publish_trajectories(tiny_warehouse, "killed")
    farm = plan_farm(tiny_warehouse, "killed", environment=environment, proxy=proxy)
    worker = multiprocessing.get_context("fork").Process(
        target=collect, args=(tiny_warehouse, farm), kwargs={"spark": None, "progress": str}
    )
    worker.start()
    first = feedback_file(tiny_warehouse, "killed", "static-0000")
    while not first.is_file() and worker.is_alive():
        time.sleep(0.01)
    worker.kill()
    worker.join()
    kept = first.stat().st_mtime_ns
    rest = plan_farm(tiny_warehouse, "killed", environment=environment, proxy=proxy)
    assert rest.done >= 1 and rest.todo
    collect(tiny_warehouse, rest, spark=None, progress=str)
    assert first.stat().st_mtime_ns == kept
    unbroken = read_feedback(tiny_warehouse, "farm")
    for name, rows in read_feedback(tiny_warehouse, "killed").items():
        np.testing.assert_array_equal(rows, unbroken[name])


def test_a_killed_farm_of_stacks_keeps_what_a_stack_had_finished(
    farmed, tiny_warehouse, environment, proxy, monkeypatch
):
    publish_trajectories(tiny_warehouse, "killed-stack")
    losses, calls = ModelStack.losses, []

    def killed(stack, input_PBL):
        calls.append(len(input_PBL))
        if len(calls) == 8:  # in the third step, which the shorter trajectory does not have
            raise KeyboardInterrupt
        return losses(stack, input_PBL)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ModelStack, "losses", killed)
        farm = plan_farm(tiny_warehouse, "killed-stack", environment=environment, proxy=proxy)
        collect(tiny_warehouse, farm, spark=None, progress=str, stack=3)
    assert calls == [3] * 6 + [2] * 2
    kept = feedback_file(tiny_warehouse, "killed-stack", "static-0002")
    written = kept.stat().st_mtime_ns
    rest = plan_farm(tiny_warehouse, "killed-stack", environment=environment, proxy=proxy)
    assert [trajectory.trajectory_id for trajectory in rest.todo] == ["static-0000", "static-0001"]
    lines = []
    collect(tiny_warehouse, rest, spark=None, progress=lines.append, stack=3)
    assert len(lines) == 1 and lines[0].startswith("trajectory 3/3")
    assert kept.stat().st_mtime_ns == written
    unbroken = read_feedback(tiny_warehouse, "farm")
    for name, rows in read_feedback(tiny_warehouse, "killed-stack").items():
        np.testing.assert_allclose(rows, unbroken[name], rtol=0, atol=2e-6)


def test_stacks_hold_proxies_that_start_from_the_same_model(tiny_warehouse, environment, proxy):
    publish_trajectories(tiny_warehouse, "groups", shares={f"static-{n:04d}": 0.4 for n in range(30)})
    farm = plan_farm(
        tiny_warehouse, "groups", environment=environment, proxy=dataclasses.replace(proxy, vary=0.5)
    )
    names, stacks = varied_names(farm), farm.stacks(FarmTasks(stack=4))
    assert sorted(t.trajectory_id for stack in stacks for t in stack) == sorted(names)
    narrow = [stack for stack in stacks if names[stack[0].trajectory_id] == NARROWER]
    usual = [stack for stack in stacks if stack not in narrow]
    assert narrow and all(names[t.trajectory_id] == NARROWER for stack in narrow for t in stack)
    assert not any(names[t.trajectory_id] == NARROWER for stack in usual for t in stack)
    assert {len(stack) for stack in usual[:-1]} == {4}


def test_what_breaks_a_whole_stack_is_said_of_every_trajectory_that_was_not_finished(
    farmed, tiny_warehouse, environment, proxy, monkeypatch
):
    publish_trajectories(tiny_warehouse, "broken-stack")
    farm = plan_farm(tiny_warehouse, "broken-stack", environment=environment, proxy=proxy)
    one, two, three = farm.todo

    def outcomes(task, trajectories):
        if one in trajectories:
            yield one, proxy_feedback(task, one)
        yield two, TrainingError("the loss is not finite")
        raise StorageError("the disk is full")

    monkeypatch.setattr("dmix.training.farm.farm.stacked_feedback", outcomes)
    assert run_stack(farm.task, [one, two, three]) == [
        "proxy of trajectory static-0001 failed: the loss is not finite",
        "proxy of trajectory static-0002 failed: the disk is full",
    ]
    assert set(read_feedback(tiny_warehouse, "broken-stack")) == {"static-0000"}
    with pytest.raises(TrainingError, match="static-0001 failed: the loss is not finite"):
        collect(tiny_warehouse, farm, spark=None, progress=str, stack=3)


@pytest.mark.usefixtures("farmed")
@pytest.mark.parametrize("stack", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_spark_gives_the_same_scores_in_stacks_of_one_and_of_two(
    tiny_warehouse, environment, proxy, spark, stack
):
    two = {name: SHARES[name] for name in ("static-0000", "static-0002")}
    name_of_set = f"farm-on-spark-{stack}"
    publish_trajectories(tiny_warehouse, name_of_set, shares=two)
    farm = plan_farm(tiny_warehouse, name_of_set, environment=environment, proxy=proxy)
    lines = []
    collect(tiny_warehouse, farm, spark=spark, progress=lines.append, stack=stack)
    here, there = read_feedback(tiny_warehouse, "farm"), read_feedback(tiny_warehouse, name_of_set)
    assert set(there) == set(two)
    for name in two:
        np.testing.assert_allclose(there[name], here[name], atol=1e-6)
    assert all(line.startswith("trajectory ") for line in lines)


def test_a_failing_proxy_is_named_and_not_tried_again(tiny_warehouse, environment, proxy, spark):
    publish_trajectories(tiny_warehouse, "failing", shares={"static-0000": 0.5})
    training = dataclasses.replace(proxy.training, learning_rate=1e30, gradient_clip=None)
    broken = dataclasses.replace(proxy, training=training)
    farm = plan_farm(tiny_warehouse, "failing", environment=environment, proxy=broken)
    with pytest.raises(TrainingError, match=r"1 of 1 proxy failed.* static-0000 failed: the loss is not"):
        collect(tiny_warehouse, farm, spark=spark, progress=print)
    assert read_feedback(tiny_warehouse, "failing") == {}


def test_another_proxy_does_not_mix_into_the_feedback_of_a_set(farmed, tiny_warehouse, environment, proxy):
    other = dataclasses.replace(proxy, seed=5)
    with pytest.raises(InputError, match="has another proxy"):
        plan_farm(tiny_warehouse, "farm", environment=environment, proxy=other)


def test_items_of_another_content_do_not_mix_into_the_feedback_of_a_set(
    farmed, tiny_warehouse, environment, proxy
):
    path = Path(environment.folder) / "general.jsonl"
    before = path.read_bytes()
    path.write_text(json.dumps({"id": "g", "text": "dcba dcba"}))
    try:
        with pytest.raises(InputError, match="items of objective general changed"):
            plan_farm(tiny_warehouse, "farm", environment=environment, proxy=proxy)
    finally:
        path.write_bytes(before)
    assert plan_farm(tiny_warehouse, "farm", environment=environment, proxy=proxy).todo == ()


def test_a_farm_whose_items_changed_goes_on_where_that_is_accepted(
    farmed, tiny_warehouse, environment, proxy, tmp_path
):
    publish_trajectories(tiny_warehouse, "farm-changed")
    shutil.copytree(tiny_warehouse.feedback("farm"), tiny_warehouse.feedback("farm-changed"))
    folder = Path(shutil.copytree(environment.folder, tmp_path / "items"))
    (folder / "general.jsonl").write_text(json.dumps({"id": "g", "text": "dcba dcba"}))
    environment = dataclasses.replace(environment, folder=str(folder))
    record = tiny_warehouse.feedback("farm-changed") / "farm.json"
    stored = json.loads(record.read_text())
    del stored["proxy"]["training"]["keep"]  # a farm of a version without this setting is the same
    record.write_text(json.dumps(stored))
    asked = {"environment": environment, "proxy": proxy}
    farm = plan_farm(tiny_warehouse, "farm-changed", **asked, accept_changes=True)
    collect(tiny_warehouse, farm, spark=None, progress=print)
    change = dict(accepted_changes(tiny_warehouse))["farm farm-changed"]
    assert change.what == "the items of objective general"
    assert change.before == stored["items"]["general"]
    assert change.after == json.loads(record.read_text())["items"]["general"]
    assert plan_farm(tiny_warehouse, "farm-changed", **asked).changes == ()  # from here on they are its items


def test_proxies_start_from_a_base_model_with_its_optimiser(tiny_warehouse, environment, proxy, tmp_path):
    model_file = tmp_path / "model.yaml"
    model_file.write_text(yaml.safe_dump({"architecture": "llama", "config": proxy.config}))
    config = base_config(
        tiny_warehouse, model=str(model_file), tokens=4000, name="farm-base", training=proxy.training
    )
    train_base(tiny_warehouse, config, progress=lambda _: None)
    publish_trajectories(tiny_warehouse, "farm-from-base")
    space = read_set(tiny_warehouse, "farm-from-base").domain_space
    many = {f"static-{number:04d}": 0.5 for number in range(12)}
    publish_trajectories(tiny_warehouse, "farm-from-base-2", shares=many)
    from_base = dataclasses.replace(proxy, init="base")
    farm = plan_farm(
        tiny_warehouse, "farm-from-base", environment=environment, proxy=from_base, base="farm-base"
    )
    collect(tiny_warehouse, farm, spark=None, progress=print)
    scores = read_feedback(tiny_warehouse, "farm-from-base")
    # the base knows the source and not the target, and training on the target makes it forget
    start, end = scores["static-0001"][0], scores["static-0001"][-1]
    assert start[0] > start[1] + 1 and end[1] > start[1] + 0.5

    # a base of the same name with other weights is another one
    weights = tiny_warehouse.model("farm-base") / "model.safetensors"
    trained = weights.read_bytes()
    weights.write_bytes(trained[:-4] + bytes(4))
    with pytest.raises(InputError, match="base model farm-base changed"):
        plan_farm(
            tiny_warehouse, "farm-from-base", environment=environment, proxy=from_base, base="farm-base"
        )
    weights.write_bytes(trained)

    # varied proxies may start from a further base, here the first one under another name
    shutil.copytree(tiny_warehouse.model("farm-base"), tiny_warehouse.model("farm-base-2"))
    varied = dataclasses.replace(from_base, vary=0.9)
    farm = plan_farm(
        tiny_warehouse,
        "farm-from-base-2",
        environment=environment,
        proxy=varied,
        base="farm-base",
        other_bases=["farm-base-2"],
    )
    other = next(
        t for t in farm.todo if farm.task.variation(t.trajectory_id, space=space) == "base=farm-base-2"
    )
    job = proxy_job(farm.task, other, warehouse=tiny_warehouse)
    assert job.model == str(tiny_warehouse.model("farm-base-2"))
    assert job.optimizer.parent.name == "farm-base-2"
    with pytest.raises(InputError, match="--base contains a model twice: farm-base, farm-base; remove one"):
        plan_farm(
            tiny_warehouse,
            "farm-from-base-2",
            environment=environment,
            proxy=varied,
            base="farm-base",
            other_bases=["farm-base"],
        )


@pytest.mark.usefixtures("farmed")
@pytest.mark.parametrize(
    ("init", "base", "message"),
    [
        ("scratch", "b", "init is scratch"),
        ("base", None, "give a base model with --base"),
        ("base", "absent", "'absent' is not in"),
    ],
)
def test_base_and_init_must_agree(tiny_warehouse, environment, init, base, message):
    with pytest.raises(InputError, match=message):
        plan_farm(tiny_warehouse, "farm", environment=environment, proxy=ProxySettings(init=init), base=base)


def test_missing_items_are_found_before_any_proxy_is_trained(farmed, tiny_warehouse, environment, proxy):
    lost = dataclasses.replace(environment.objectives[0], path="nowhere.jsonl")
    wrong = dataclasses.replace(environment, objectives=(lost, *environment.objectives[1:]))
    with pytest.raises(NotFoundError, match=r"nowhere\.jsonl does not exist"):
        plan_farm(tiny_warehouse, "farm", environment=wrong, proxy=proxy)


def test_a_set_without_trajectories_is_named(tiny_warehouse, environment, proxy):
    with pytest.raises(NotFoundError):
        plan_farm(tiny_warehouse, "absent", environment=environment, proxy=proxy)


def test_the_batch_of_the_default_proxy_fits_the_set(farmed, tiny_warehouse):
    found = read_set(tiny_warehouse, "farm")
    assert default_proxy(found, base=None).training.batch_size == 8
    assert default_proxy(found, base="b").init == "base"


def varied_names(farm):
    space = farm.found.domain_space
    return {t.trajectory_id: farm.task.variation(t.trajectory_id, space=space) for t in farm.todo}


def test_a_quarter_of_a_default_farm_is_varied_and_none_of_a_paper_one(tiny_warehouse, environment, proxy):
    many = {f"static-{number:04d}": 0.5 for number in range(40)}
    publish_trajectories(tiny_warehouse, "quarter", shares=many)
    preset = dataclasses.replace(proxy, vary=None)
    farm = plan_farm(tiny_warehouse, "quarter", environment=environment, proxy=preset)
    assert farm.task.proxy.vary == 0.25
    assert 4 <= sum(farm.variations.values()) <= 16
    assert Counter(filter(None, varied_names(farm).values())) == farm.variations
    publish_trajectories(tiny_warehouse, "literal", preset="paper")
    farm = plan_farm(tiny_warehouse, "literal", environment=environment, proxy=preset)
    assert (farm.task.proxy.vary, farm.variations) == (0.0, {})


def test_varied_proxies_are_recorded_with_what_they_were_trained_on(tiny_warehouse, environment, proxy):
    publish_trajectories(tiny_warehouse, "search", shares={f"static-{n:04d}": 0.4 for n in range(30)})
    always = dataclasses.replace(proxy, vary=1.0)
    names = varied_names(plan_farm(tiny_warehouse, "search", environment=environment, proxy=always))
    chosen = {next(t for t in names if names[t] == wanted): 0.4 for wanted in (LESS_SOURCE, FASTER, NARROWER)}
    publish_trajectories(tiny_warehouse, "varied", shares=chosen)
    farm = plan_farm(tiny_warehouse, "varied", environment=environment, proxy=always)
    collect(tiny_warehouse, farm, spark=None, progress=lambda _: None)
    assert load_feedback(tiny_warehouse, "varied").variations == {name: names[name] for name in chosen}
    sampled = {t.trajectory_id: t.mixtures_TN for t in read_trajectories(tiny_warehouse, "varied")}
    for trajectory in read_trained(tiny_warehouse, "varied", load_feedback(tiny_warehouse, "varied")):
        name, mixtures = trajectory.trajectory_id, trajectory.mixtures_TN
        assert mixtures.sum(1) == pytest.approx(np.ones(len(mixtures)))
        if names[name] != LESS_SOURCE:
            np.testing.assert_allclose(mixtures, sampled[name])
            continue
        # two active source domains: one is withheld, the other has all of the source
        assert np.count_nonzero(mixtures[0, :3]) == np.count_nonzero(mixtures[-1, :3]) == 1
        assert mixtures[1:, 3:].sum(1) == pytest.approx(sampled[name][1:, 3:].sum(1))


def test_planned_mixtures_are_recorded_where_a_domain_runs_out(tiny_warehouse, environment, proxy):
    # 16 of 24 samples per step come from target B, which has 16
    publish_trajectories(tiny_warehouse, "scarce", shares={"static-0000": 1.0})
    path = tiny_warehouse.trajectories("scarce") / "static-0000.parquet"
    asked = np.array([[1.0, 0, 0, 0, 0, 0]] + [[1 / 3, 0, 0, 0, 2 / 3, 0]] * 3)
    write_trajectory(
        path.parent, Trajectory(trajectory_id="static-0000", kind="static", top_k=None, mixtures_TN=asked)
    )
    farm = plan_farm(tiny_warehouse, "scarce", environment=environment, proxy=proxy)
    collect(tiny_warehouse, farm, spark=None, progress=lambda _: None)
    [trained] = read_trained(tiny_warehouse, "scarce", load_feedback(tiny_warehouse, "scarce"))
    np.testing.assert_allclose(trained.mixtures_TN[:2], asked[:2])
    # its share goes to the rest of its field
    np.testing.assert_allclose(trained.mixtures_TN[2], [1 / 3, 0, 0, 2 / 3, 0, 0], atol=1e-9)


def test_a_farm_repeats_data_as_often_as_the_run_it_is_for(tiny_warehouse, environment, proxy):
    for passes, rule in ((1, "redistribute"), (3, "repeat")):
        publish_trajectories(tiny_warehouse, f"passes-{passes}", max_passes=passes)
        farm = plan_farm(tiny_warehouse, f"passes-{passes}", environment=environment, proxy=proxy)
        plan = proxy_job(farm.task, farm.todo[0], warehouse=tiny_warehouse).plan
        assert (plan.exhaustion, plan.max_passes) == (rule, passes)


def test_another_supply_of_target_in_the_run_is_worth_a_warning(tiny_warehouse, environment, proxy):
    publish_trajectories(tiny_warehouse, "alike")
    farm = plan_farm(tiny_warehouse, "alike", environment=environment, proxy=proxy)
    assert farm.warning == ""
    publish_trajectories(tiny_warehouse, "unlike", run_step_samples=48)
    farm = plan_farm(tiny_warehouse, "unlike", environment=environment, proxy=proxy)
    # 80 target samples; 3 steps of 24 and of 48 samples
    assert "1.11 samples for each sample of a proxy and 0.556 for each sample of the run" in farm.warning


def test_every_proxy_reads_other_samples():
    assert order_seed("a", seed=0) != order_seed("b", seed=0) != order_seed("b", seed=1)


def test_one_process_collects_feedback_on_a_set(tiny_warehouse, environment, proxy, monkeypatch):
    monkeypatch.setattr("dmix.training.farm.farm.LOCK_SECONDS", 0.0)
    publish_trajectories(tiny_warehouse, "two-farms")
    first = plan_farm(tiny_warehouse, "two-farms", environment=environment, proxy=proxy)
    other = dataclasses.replace(proxy, seed=7)
    second = plan_farm(tiny_warehouse, "two-farms", environment=environment, proxy=other)
    with (
        held_lock(tiny_warehouse.lock_of("farm", "two-farms"), what="the farm"),
        pytest.raises(LockHeldError, match="feedback on set two-farms is locked"),
    ):
        collect(tiny_warehouse, first, spark=None, progress=print)
    assert not tiny_warehouse.feedback("two-farms").exists()
    collect(tiny_warehouse, first, spark=None, progress=print)
    # both were planned while there was no feedback; that of the second is not mixed into it
    with pytest.raises(InputError, match=r"two-farms.* has another proxy"):
        collect(tiny_warehouse, second, spark=None, progress=print)
    lines = []
    collect(tiny_warehouse, first, spark=None, progress=lines.append)
    assert lines == []


def test_a_proxy_that_its_last_batch_broke_leaves_its_stack_without_feedback(
    tiny_warehouse, environment, proxy, monkeypatch
):
    publish_trajectories(tiny_warehouse, "broken-last", steps=1, step_samples=8, run_step_samples=8)
    training = dataclasses.replace(
        proxy.training, learning_rate=1e30, gradient_clip=None, schedule="constant"
    )
    broken = dataclasses.replace(proxy, training=training)
    farm = plan_farm(tiny_warehouse, "broken-last", environment=environment, proxy=broken)
    two = farm.todo[:2]  # the third has no step at all
    for stack in (two, two[:1]):
        (said,) = {said.partition(" failed: ")[2] for said in run_stack(farm.task, stack)}
        assert "no score is finite after step 1" in said and "lower the learning rate" in said
    assert read_feedback(tiny_warehouse, "broken-last") == {}
