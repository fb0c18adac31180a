"""How bold a plan may be."""

import pytest

from dmix.mixing.effects.settings import PlanRules
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize(
    "given", [{"pull": -0.1}, {"caution": -1.0}, {"pull": float("inf")}, {"caution": float("nan")}]
)
def test_rules_are_finite_and_not_negative(given):
    with pytest.raises(InputError, match="expected 0 or more"):
        PlanRules(**given)


def test_zero_means_zero():
    assert (PlanRules(pull=0.0, caution=0.0).pull, PlanRules().pull) == (0.0, 0.25)
