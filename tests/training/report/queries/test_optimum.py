import os

import pytest
from tests.training.report.fixtures import add_farm, add_run

from dmix.mixing.regression.fits import PlannedFit
from dmix.training.report.queries.optimum import regmix_optima
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync

DATASET = "d0123456789abcde"


def optima(warehouse):
    sync(warehouse)
    with Catalog.open_reader(warehouse) as catalog:
        return regmix_optima(catalog, warehouse, datasets=[DATASET])


def test_run_under_regmix_gives_what_it_asked_for_first_and_regmix_d_does_not(warehouse):
    add_run(warehouse, "other", controller="regmix-d:farm")
    assert optima(warehouse) == {}
    add_run(warehouse, "best", steps=3, controller="regmix:farm")
    found = optima(warehouse)[DATASET]
    assert (found.name, found.origin) == ("regmix:farm", "run best")
    assert sum(found.weights.values()) == pytest.approx(1)
    assert sum(weight for pair, weight in found.weights.items() if pair[0] == "target") == pytest.approx(0.25)


def test_without_such_a_run_the_newest_fit_kept_with_a_set_counts(warehouse):
    add_farm(warehouse)
    for kind, settings, mixture in (
        ("regmix", {"seed": 0}, [1.0, 0, 0, 0, 0, 0]),
        ("regmix", {"seed": 1}, [0, 0.5, 0, 0.5, 0, 0]),
        ("regmix-d", {}, "no mixture at all"),
    ):
        PlannedFit(
            warehouse=warehouse,
            set_name="farm",
            kind=kind,
            arrays=[],
            settings=settings,
            fit=lambda progress, mixture=mixture: mixture,
        ).prepare(progress=print)
    first, second = sorted(
        (warehouse.trajectories("farm") / "fits").glob("regmix-*.json"),
        key=lambda path: ("regmix-d" in path.name, "0.5" not in path.read_text()),
    )[:2]
    os.utime(second, (1, 1))
    found = optima(warehouse)[DATASET]
    assert found.origin == "fit of set farm"
    assert found.weights["target", "News"] == 0.5
    os.utime(first, (0, 0))
    assert optima(warehouse)[DATASET].weights["source", "News"] == 1.0
