import dataclasses
import json

import numpy as np
import pytest

from dmix.mixing.effects.counts import count_effects
from dmix.mixing.effects.store import (
    StoredEffects,
    effect_names,
    environment_digest,
    fitting_effects,
    newest_effects,
    read_effects,
    write_effects,
)
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.objectives import Environment, Objective, changed_names
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_json
from dmix.warehouse_schema.files.manifest_json import with_digest

ENVIRONMENT = Environment(
    objectives=(
        Objective(name="o0", role="general", kind="qa", path="a.jsonl"),
        Objective(name="o1", role="target", kind="qa", path="b.jsonl"),
    ),
    scales={"o1": 0.5},
)


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path)


@pytest.fixture
def stored(paper_counts):
    effects = count_effects(
        paper_counts,
        np.array([0.5, 0.5]),
        dataset="d",
        environment="e",
        names=(("source", "News"), ("target", "News")),
        objectives=("o0", "o1"),
        roles=("general", "target"),
        name="first",
    )
    return StoredEffects(
        effects=effects, counts=paper_counts, environment=ENVIRONMENT, facts={"items": [2, 1]}
    )


def test_what_is_read_is_what_was_written(warehouse, stored):
    write_effects(warehouse, stored)
    found = read_effects(warehouse, "first")
    assert found.effects.names == stored.effects.names and found.effects.estimator == "counts"
    assert found.effects.effect_ND == pytest.approx(stored.effects.effect_ND)
    assert found.effects.stderr_ND == pytest.approx(stored.effects.stderr_ND)
    mixture = np.array([0.3, 0.7])
    assert found.counts.values(mixture) == pytest.approx(stored.counts.values(mixture))
    assert found.environment == ENVIRONMENT and found.facts == {"items": [2, 1]}


def test_a_models_own_probabilities_come_back(warehouse, stored):
    counts = dataclasses.replace(stored.counts, model_R=np.full(4, 0.3), alpha_D=np.array([0.2, 0.5]))
    write_effects(warehouse, dataclasses.replace(stored, counts=counts))
    found = read_effects(warehouse, "first").counts
    assert found.model_R.tolist() == [0.3] * 4 and found.alpha_D.tolist() == [0.2, 0.5]


def test_equal_effects_stay_and_other_ones_need_another_name(warehouse, stored):
    path = write_effects(warehouse, stored)
    before = path.read_bytes()
    assert write_effects(warehouse, stored).read_bytes() == before
    other = dataclasses.replace(stored.effects, effect_ND=2 * stored.effects.effect_ND)
    with pytest.raises(InputError, match="another --name"):
        write_effects(warehouse, dataclasses.replace(stored, effects=other))


def test_the_newest_that_fit_are_found(warehouse, stored):
    for name, environment, when in (
        ("a", "e", "2026-01-02"),
        ("b", "e", "2026-01-01"),
        ("c", "x", "2026-01-03"),
    ):
        effects = dataclasses.replace(stored.effects, name=name, environment=environment)
        path = write_effects(warehouse, dataclasses.replace(stored, effects=effects))
        path.write_text(json.dumps({**json.loads(path.read_text()), "created_at": when}))
    assert effect_names(warehouse) == ["b", "a", "c"]
    assert newest_effects(warehouse, dataset="d").name == "c"
    assert newest_effects(warehouse, dataset="d", environment="e").name == "a"
    with pytest.raises(NotFoundError, match="mix probe"):
        newest_effects(warehouse, dataset="d", estimator="gradient")
    with pytest.raises(NotFoundError, match="available: b, a, c"):
        read_effects(warehouse, "z")


def test_damaged_effects_are_named(warehouse, stored):
    write_effects(warehouse, stored)
    (warehouse.effects("first") / "errors.parquet").write_bytes(b"x")
    with pytest.raises(InputError, match="first is damaged"):
        read_effects(warehouse, "first")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"facts": 1e308}, "facts are 1e"),
        ({"facts": {"fit": {"beta": [1.0]}}}, "beta has the shape|gamma"),
        ({"facts": {"fit": 3}}, "damaged"),
        (
            {"facts": {"probes": [{"domains": ["source/None"], "dose": 0.1, "scores": []}]}},
            "scores of a probe",
        ),
        ({"facts": {"probes": "x"}}, "damaged"),
        ({"natural": [1.0]}, "natural mixing has the shape"),
        ({"alpha": ["x"]}, "alpha"),
    ],
)
def test_a_changed_manifest_of_effects_is_named(warehouse, stored, changed, said):
    path = write_effects(warehouse, stored)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(InputError, match=rf"first is damaged.*({said})|{said}"):
        read_effects(warehouse, "first")


def test_views_show_effects_and_how_much_of_them_is_noise(warehouse, stored):
    write_effects(warehouse, stored)
    sync(warehouse)
    with Catalog.open_reader(warehouse) as catalog:
        _, rows = catalog.query(
            "select name, estimator, dataset, model, environment, field, domain, objective, effect, stderr"
            " from effects order by field, objective"
        )
        _, objectives = catalog.query("select objective, role, telling from effect_objectives order by all")
    assert rows[3][:8] == ("first", "counts", "d", "", "e", "target", "News", "o1")
    assert rows[3][8:] == pytest.approx((stored.effects.effect_ND[1, 1], stored.effects.stderr_ND[1, 1]))
    assert objectives == [("o0", "general", False), ("o1", "target", False)]


def test_effects_that_are_not_whole_do_not_exist(warehouse, stored):
    path = write_effects(warehouse, stored)
    path.unlink()
    sync(warehouse)
    with Catalog.open_reader(warehouse) as catalog:
        assert catalog.query("from effects")[1] == []
    assert effect_names(warehouse) == []


def test_items_decide_the_digest_and_weights_do_not(tmp_path):
    for name, answer in (("a", "x"), ("b", "y")):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"id": "1", "question": "q", "answer": answer}))
    first = dataclasses.replace(ENVIRONMENT, folder=str(tmp_path))
    weighted = dataclasses.replace(
        first, scales={}, objectives=tuple(dataclasses.replace(o, weight=3.0) for o in first.objectives)
    )
    before = environment_digest(first)
    assert environment_digest(weighted) == before
    (tmp_path / "b.jsonl").write_text(json.dumps({"id": "1", "question": "q", "answer": "z"}))
    assert environment_digest(first) != before


def space_of(stored):
    return DomainSpace(("News",), np.array([10, 10]))


def written(folder, *, limit=None, first="one"):
    """An environment over two files of three items each."""
    folder.mkdir(exist_ok=True)
    for name, word in (("a", first), ("b", "one")):
        rows = [json.dumps({"id": f"{i}", "question": f"{i}?", "answer": word}) for i in range(3)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    objectives = (dataclasses.replace(ENVIRONMENT.objectives[0], limit=limit), ENVIRONMENT.objectives[1])
    return Environment(objectives=objectives, folder=str(folder))


@pytest.mark.parametrize("old", [False, True])
def test_effects_for_other_objectives_say_what_changed_and_how_to_measure_again(
    tmp_path, warehouse, stored, old
):
    before = written(tmp_path / "items")
    effects = dataclasses.replace(stored.effects, environment=environment_digest(before))
    path = write_effects(warehouse, dataclasses.replace(stored, effects=effects, environment=before))
    if old:  # files of before, which do not say what each objective measured
        manifest = json.loads(path.read_text())
        del manifest["item_digests"], manifest["digest"]
        publish_json(path, with_digest(manifest))
    space = space_of(stored)
    for name in (None, "first"):
        assert fitting_effects(warehouse, space, name=name, environment=before).name == "first"

    def said(environment):
        said = []
        for name, kind in ((None, NotFoundError), ("first", InputError)):
            with pytest.raises(kind) as error:
                fitting_effects(warehouse, space, name=name, environment=environment)
            assert "dmix mix probe --environment FILE --dataset d" in error.value.message
            said.append(error.value.message.partition("Changes since effects 'first': ")[2])
        assert said[0] == said[1]
        return said[0]

    assert "o0 has limit 2 (before: none)" in said(written(tmp_path / "items", limit=2))
    more = dataclasses.replace(
        before, objectives=(before.objectives[1], dataclasses.replace(before.objectives[0], name="o2"))
    )
    assert "added o2; removed o0" in said(more)
    changed = said(written(tmp_path / "items", first="two"))
    assert ("other items in a.jsonl or b.jsonl" if old else "o0 has other items") in changed


def test_the_order_of_objectives_is_a_change_and_weights_are_none():
    assert (
        changed_names(("a", "b"), ("a", "b")) == ""
        and changed_names(("a", "b"), ("b", "a")) == "another order"
    )
    assert changed_names(("a",), ("b", "c")) == "added b, c; removed a"
