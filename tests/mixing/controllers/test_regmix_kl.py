"""RegMix within a distance of natural mixing."""

import numpy as np
import pytest
from tests.mixing.controllers.scored_farm import (
    SPACE,
    WANTED,
    near_wanted,
    scored_farm,
)

from dmix.mixing.controllers import regmix_kl
from dmix.mixing.controllers.registry import make_controller, prepare_controller
from dmix.mixing.regression.radius import RADII, divergence
from dmix.warehouse_schema.errors import NotFoundError

farm = scored_farm


def test_regmix_kl_finds_the_wanted_mixture_within_the_radius_that_runs_support(farm):
    warehouse = farm(near_wanted, static=40)
    prepare_controller("regmix-kl:set", warehouse=warehouse, space=SPACE, progress=lambda line: None)
    controller = make_controller("regmix-kl:set", warehouse=warehouse, space=SPACE)
    kept = regmix_kl.plan("set", warehouse=warehouse, space=SPACE).read()
    mixture = np.array(kept["mixture"])
    assert kept["regressor"] in regmix_kl.REGRESSORS and kept["radius"] in RADII
    assert divergence(mixture[None], SPACE.natural_N)[0] <= kept["radius"] + 1e-6
    distance = [((m - WANTED) ** 2).sum() for m in (mixture, SPACE.natural_N)]
    assert distance[0] < distance[1]
    assert controller.name == "regmix-kl:set"


def test_regmix_kl_needs_its_fit(farm):
    warehouse = farm(near_wanted, static=40)
    with pytest.raises(NotFoundError, match="regmix-kl"):
        make_controller("regmix-kl:set", warehouse=warehouse, space=SPACE)
