"""Controllers by the names users give: mixtures worked by hand, and what they refuse."""

import numpy as np
import pytest

from dmix.mixing.controllers.registry import make_controller
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

SPACE = DomainSpace(("News-2", "Law/Tax"), np.array([30, 0, 50, 20]))


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path)


def static(tmp_path, content):
    file = tmp_path / "mix.yaml"
    file.write_text(content)
    return f"static:{file}"


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("nautral", "did you mean 'natural'"),
        ("static", "did you mean 'static:FILE'"),
        ("natural:x", ""),
        ("", ""),
    ],
)
def test_unknown_controllers_list_the_known_ones(spec, hint, warehouse):
    with pytest.raises(InputError, match=rf"is not one of natural, naive.*{hint}"):
        make_controller(spec, warehouse=warehouse, space=SPACE)
