"""Controllers that learn from a farm alone: what all of them refuse."""

import pytest
from tests.mixing.controllers.scored_farm import (
    SPACE,
    near_wanted,
    scored_farm,
)

from dmix.mixing.controllers.registry import check_controller, make_controller
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.errors import InputError, NotFoundError

farm = scored_farm


@pytest.mark.parametrize("kind", ["regmix", "regmix-d", "schedule"])
def test_other_domains_are_refused(farm, kind):
    other = DomainSpace(("a", "c"), SPACE.samples_N)
    with pytest.raises(InputError, match="other domains than the dataset"):
        check_controller(f"{kind}:set", warehouse=farm(near_wanted, static=8), space=other)


@pytest.mark.parametrize("kind", ["regmix", "regmix-d", "schedule"])
def test_set_without_feedback_is_refused(farm, kind):
    warehouse = farm(near_wanted, static=2)
    for file in warehouse.feedback("set").glob("*.parquet"):
        file.unlink()
    with pytest.raises(InputError, match="run 'dmix mix collect"):
        check_controller(f"{kind}:set", warehouse=warehouse, space=SPACE)


@pytest.mark.parametrize("kind", ["regmix", "regmix-d", "schedule", "decision-transformer"])
def test_a_controller_that_is_not_prepared_is_refused_and_nothing_is_written(farm, kind):
    warehouse, spec = farm(near_wanted, static=8), f"{kind}:set"
    check_controller(spec, warehouse=warehouse, space=SPACE)
    with pytest.raises(NotFoundError, match=r"has no fit to set 'set'.*dmix train"):
        make_controller(spec, warehouse=warehouse, space=SPACE)
    assert not (warehouse.trajectories("set") / "fits").exists()
