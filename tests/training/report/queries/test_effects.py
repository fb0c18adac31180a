"""Effects from the catalog: domains without text are left out."""

import numpy as np
import pytest

from dmix.mixing.effects.effects import Effects
from dmix.mixing.effects.store import StoredEffects, write_effects
from dmix.mixing.trajectories.objectives import Environment, Objective
from dmix.training.report.queries.effects import read_effects
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync

ENVIRONMENT = Environment(
    objectives=(
        Objective(name="maths", role="target", kind="qa", path="a.jsonl"),
        Objective(name="books", role="general", kind="qa", path="b.jsonl"),
    )
)
EFFECT_ND = np.array([[2.0, -1.0], [0.0, 0.0], [-2.0, 1.0], [0.0, 0.0]])


def write(warehouse, name, dataset):
    effects = Effects(
        name=name,
        estimator="probe",
        dataset=dataset,
        model="m",
        environment="e",
        names=(("source", "a"), ("source", "b"), ("target", "a"), ("target", "b")),
        natural_N=np.array([0.5, 0.0, 0.5, 0.0]),
        objectives=("maths", "books"),
        roles=("target", "general"),
        effect_ND=EFFECT_ND,
        errors=tuple(np.diag([0.5, 0, 0.25, 0]) * size for size in (1, 2)),
    )
    stored = StoredEffects(effects=effects, counts=None, environment=ENVIRONMENT, facts={"items": [1, 1]})
    write_effects(warehouse, stored)


@pytest.fixture
def catalog(bare_warehouse):
    write(bare_warehouse, "first", "d")
    write(bare_warehouse, "second", "other")
    sync(bare_warehouse)
    with Catalog.open_reader(bare_warehouse) as opened:
        yield opened


def test_rows_are_domains_with_text_and_columns_are_objectives(catalog):
    (found,) = read_effects(catalog, datasets={"d"})
    assert (found.name, found.estimator, found.model) == ("first", "probe", "m")
    assert set(found.pairs) == {("source", "a"), ("target", "a")}
    assert found.objectives == ("books", "maths"), "general objectives come first"
    row = found.pairs.index(("source", "a"))
    assert found.effect_PD[row].tolist() == [-1.0, 2.0]
    assert found.stderr_PD[row].tolist() == [1.0, 0.5]
    assert [kind for kind, *_ in found.reliability] == ["general", "target"]


def test_effects_are_those_of_the_datasets_asked_for(catalog):
    assert {found.name for found in read_effects(catalog)} == {"first", "second"}
    assert read_effects(catalog, datasets=[]) == []
    assert [found.name for found in read_effects(catalog, datasets={"other", None})] == ["second"]
