"""Settings of distilling a classifier."""

import pytest

from dmix.etl.distilling.settings import DistilSettings
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize(("name", "least"), [("documents_per_label", 10), ("epochs", 1), ("seed", 0)])
def test_numbers_below_their_least_are_refused(name, least):
    DistilSettings(**{name: least})
    with pytest.raises(InputError, match=f"{least - 1}, expected at least {least}; change --{name[:4]}"):
        DistilSettings(**{name: least - 1})
