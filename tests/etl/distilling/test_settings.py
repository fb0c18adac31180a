"""Settings of distilling a classifier."""

import pytest

from dmix.etl.distilling.settings import DistilSettings
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize(("name", "least"), [("documents_per_label", 10), ("epochs", 1), ("seed", 0)])
def test_numbers_below_their_least_are_refused(name, least):
    DistilSettings(**{name: least})
    expected = f"at least {least}" if least else "0 or more"
    flag = name.replace("_", "-")
    with pytest.raises(InputError, match=f"--{flag} is {least - 1}, expected {expected}"):
        DistilSettings(**{name: least - 1})
