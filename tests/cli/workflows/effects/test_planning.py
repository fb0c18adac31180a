"""What a plan from effects refuses before it reads anything."""

import pytest

from dmix.cli.workflows.effects.planning import plan_from_effects
from dmix.mixing.effects.settings import PlanRules
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"check": True}, "--check needs --model"),
        ({"model": "m"}, "--model needs --check"),
        ({"second_round": True}, "--second-round needs --check"),
    ],
)
def test_flags_that_need_each_other_are_refused_alone(tmp_path, given, named):
    with pytest.raises(InputError, match=named):
        plan_from_effects(
            Warehouse.at(tmp_path), out=tmp_path / "m.yaml", rules=PlanRules(), progress=str, **given
        )


def test_a_folder_is_no_mixture_file(tmp_path):
    with pytest.raises(InputError, match=r"is a folder; give a file in it, for example .*mixture\.yaml"):
        plan_from_effects(Warehouse.at(tmp_path), out=tmp_path, rules=PlanRules(), progress=str)
