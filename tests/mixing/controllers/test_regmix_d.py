"""RegMix-D: mixtures that change with time."""

import numpy as np
from tests.mixing.controllers.scored_farm import (
    first_a_then_b,
    mixtures_of,
    scored_farm,
)

from dmix.mixing.controllers import regmix_d

farm = scored_farm


def test_regmix_d_changes_its_mixture_with_time(farm, monkeypatch):
    monkeypatch.setattr(regmix_d, "_CANDIDATES", 1000)
    monkeypatch.setattr(regmix_d, "_AVERAGED", 10)
    warehouse = farm(first_a_then_b, segments=60)
    found = mixtures_of("regmix-d:set", warehouse)
    assert found[:2, 0].min() > 0.6
    assert found[3:, 3].min() > 0.6
    monkeypatch.setattr(regmix_d, "fit_boosted_trees", None)
    assert np.array_equal(mixtures_of("regmix-d:set", warehouse), found)
