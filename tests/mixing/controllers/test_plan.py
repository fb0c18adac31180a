import dataclasses

import numpy as np
import pytest

from dmix.mixing.controllers.plan import plan_for_run, promised_controller
from dmix.mixing.controllers.registry import make_controller, prepare_controller
from dmix.mixing.effects.effects import Effects
from dmix.mixing.effects.plan import Supply
from dmix.mixing.effects.store import StoredEffects, environment_digest, write_effects
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.objectives import Environment, Objective
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse


def quiet(line):
    """Takes no notice of progress."""


@pytest.fixture
def environment(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"id": "1", "text": "abcd"}\n')
    objective = Objective(name="x", role="target", kind="continuation", path="x.jsonl")
    return Environment(objectives=(objective,), folder=str(tmp_path))


@pytest.fixture
def warehouse(tmp_path, space, environment):
    """Effects that want the target's Law, and no other."""
    found = Warehouse.at(tmp_path / "warehouse")
    effect_N = np.where(space.active_N, [0.0, 0.0, 0.2, 0.8], 0.0)
    effects = Effects(
        name="measured",
        estimator="probe",
        dataset="d",
        environment=environment_digest(environment),
        names=space.names,
        natural_N=space.natural_N,
        objectives=("x",),
        roles=("target",),
        effect_ND=(effect_N - space.natural_N @ effect_N * space.active_N)[:, None],
        errors=(0.01 * np.diag(space.active_N),),
    )
    write_effects(found, StoredEffects(effects=effects, counts=None, environment=environment, facts={}))
    return found


def supply(space, *, total=50, passes=1):
    return Supply(total=total, samples_N=space.samples_N, max_passes=passes)


@pytest.mark.parametrize("spec", ["plan", "plan:measured"])
def test_a_prepared_plan_is_a_constant_mixture(warehouse, space, history, spec):
    with pytest.raises(NotFoundError, match="plan"):
        make_controller(spec, warehouse=warehouse, space=space)
    prepare_controller(spec, warehouse=warehouse, space=space, progress=quiet)
    controller = make_controller(spec, warehouse=warehouse, space=space)
    assert controller.name == "plan:measured"
    first, later = (controller.propose(history(step)).mixture_N for step in (1, 4))
    assert first.tolist() == later.tolist() and first.sum() == pytest.approx(1)
    assert first[3] > 2 * space.natural_N[3] and first[1] == 0


def test_a_run_plans_for_its_own_supply_and_writes_the_promise_down(warehouse, space, environment):
    name, promise = plan_for_run(
        "", warehouse=warehouse, space=space, environment=environment, supply=supply(space)
    )
    assert name == "measured" and promise["objectives"]["x"]["gain"] > 0
    mixture = promised_controller(promise, name="plan:measured", space=space).propose(None).mixture_N
    # 50 samples, 20 of Law: no more than one pass
    assert mixture[3] == pytest.approx(0.4) and (mixture * 50 <= space.samples_N + 1e-6).all()


def test_a_run_with_other_objectives_or_domains_is_refused(warehouse, space, environment):
    renamed = dataclasses.replace(
        environment, objectives=(dataclasses.replace(environment.objectives[0], name="y"),)
    )
    given = {"warehouse": warehouse, "supply": supply(space)}
    said = r"added y; removed x\)?.*dmix mix probe --environment FILE"
    with pytest.raises(InputError, match=said):
        plan_for_run("measured", space=space, environment=renamed, **given)
    with pytest.raises(NotFoundError, match=f"'measured': {said}"):
        plan_for_run("", space=space, environment=renamed, **given)
    other = DomainSpace(space.labels, np.array([30, 0, 50, 60]))
    with pytest.raises(InputError, match="another dataset"):
        plan_for_run("measured", space=other, environment=environment, **given)
