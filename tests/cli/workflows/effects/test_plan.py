"""A plan from stored effects, and what it promises in lines."""

from dataclasses import replace

import numpy as np
import pytest
from tests.manifests import dataset_manifest

from dmix.cli.workflows.effects.plan import CheckedGain, most_changed, plan_mixture, promise_lines
from dmix.mixing.effects.effects import Effects
from dmix.mixing.effects.store import StoredEffects, write_effects
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.objectives import Environment, Objective
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import write_dataset_manifest

ENVIRONMENT = Environment(
    objectives=(Objective(name="maths", role="target", kind="qa", path="a.jsonl"),), scales={"maths": 0.5}
)


def store(warehouse, manifest, name="p", **changes):
    space = DomainSpace.of_dataset(manifest)
    effects = Effects(
        name=name,
        estimator="probe",
        dataset=manifest.dataset,
        environment="e",
        names=space.names,
        natural_N=space.natural_N,
        objectives=("maths",),
        roles=("target",),
        effect_ND=np.array([[-1.0], [0.0], [-1.0], [3.0]]),
        errors=(np.full((1, 4), 0.01),),
    )
    stored = StoredEffects(effects=effects, counts=None, environment=ENVIRONMENT, facts={"items": [1]})
    write_effects(warehouse, replace(stored, effects=replace(effects, **changes)))


@pytest.fixture
def warehouse(tmp_path):
    warehouse = Warehouse.at(tmp_path)
    manifest = dataset_manifest([40, 0, 30, 30])
    write_dataset_manifest(warehouse, manifest)
    store(warehouse, manifest)
    return warehouse


def test_text_that_helps_gets_more_and_empty_domains_get_nothing(warehouse):
    found = plan_mixture(warehouse)
    mixture_N = found.plan.mixture_N
    assert mixture_N[3] > 0.3 > mixture_N[2] and mixture_N[1] == 0
    assert (found.total, found.scales, found.max_passes) == (100, {"maths": 0.5}, 4)
    assert most_changed(found)[0] == 3 and set(most_changed(found)) == {0, 2, 3}
    assert found.scales_from == "from the environment file"


def test_named_effects_bring_their_dataset(warehouse):
    write_dataset_manifest(warehouse, dataset_manifest([1, 1], dataset="other"))
    assert plan_mixture(warehouse, probes=["p"]).manifest.dataset == "counts"
    with pytest.raises(InputError, match="effects 'p' are for dataset counts, not for other"):
        plan_mixture(warehouse, probes=["p"], dataset="other")


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"samples": 0}, "--samples is 0"),
        ({"max_passes": 0}, "--max-passes 0"),
        ({"samples": 401}, "401 samples, but 4 passes of 100"),
    ],
)
def test_more_than_the_dataset_can_give_is_refused(warehouse, asked, named):
    with pytest.raises(InputError, match=named):
        plan_mixture(warehouse, **asked)
    assert plan_mixture(warehouse, samples=400).total == 400


def test_effects_that_are_not_there_are_named(warehouse):
    with pytest.raises(NotFoundError, match="mix probe"):
        plan_mixture(warehouse, probes=["none"])


def test_the_promise_has_intervals_and_what_a_check_run_gained_beside_it(warehouse):
    planned = plan_mixture(warehouse)
    said = "\n".join(promise_lines(planned))
    assert "effects p, for 100 samples of dataset counts" in said and "measured in the check" not in said
    gain, error = planned.plan.gain_D[0], planned.plan.stderr_D[0]
    assert f"maths: predicted gain {gain:+.3f}" in said and f"{gain + 1.96 * error:+.3f})" in said
    got = CheckedGain(gain_D=np.array([0.25]), utility=0.5, utility_stderr=0.1)
    said = "\n".join(promise_lines(replace(planned, measured=got, checked="6 runs checked it.")))
    assert "measured in the check run: +0.250" in said and "+0.500 (standard error 0.100)" in said
    assert "6 runs checked it." in said
