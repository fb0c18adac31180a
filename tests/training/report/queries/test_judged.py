"""Runs that may be compared: as groups of seeds, on items of `dmix eval`, with natural mixing."""

from types import SimpleNamespace

import pytest
from tests.training.report.fixtures import add_judged, add_run

from dmix.training.evaluation.judging import Change, Items, items_sha256
from dmix.training.evaluation.natural import MEAN
from dmix.training.report.queries.judged import (
    from_natural,
    groups_of,
    judged_items,
    largest_comparison,
    natural_of,
    noise_groups,
    run_judged,
    run_verdicts,
    terms,
    with_comparable,
)
from dmix.training.report.queries.run_facts import read_run, run_ids
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync

ENVIRONMENT = {
    "objectives": [
        {"name": "news", "role": "general", "kind": "qa", "path": "a"},
        {"name": "math", "role": "target", "kind": "qa", "path": "b", "weight": 3.0},
    ],
    "scales": {"math": 0.5},
}


def run(
    run_id, controller="natural", *, seed=0, steps=4, status="done", news=(-3.0, -3.5), math=(-2.0, -1.0)
):
    return SimpleNamespace(
        run_id=run_id,
        dataset="d",
        kind="guided" if controller.startswith("agent") else "baseline",
        leads=controller.startswith("agent"),
        controller=controller,
        status=status,
        config={"steps": steps, "seed": seed, "environment": ENVIRONMENT},
        scores={"news": tuple(enumerate(news)), "math": tuple(enumerate(math))},
    )


def test_runs_that_differ_in_their_seed_are_one_group():
    [natural, agent] = groups_of([run("a"), run("b", "agent:x"), run("c", seed=1, math=(-2.0, -1.5))])
    assert (natural.controller, natural.guided) == ("natural", False) and agent.guided
    assert natural.changes == {"news": (-0.5, -0.5), "math": (1.0, 0.5)}
    # lambda 1/4 and 3/4: -0.5 / 1 / 4 + 1.0 / 0.5 * 3 / 4
    assert natural.utilities == (1.375, 0.625)
    assert natural.roles == {"news": "general", "math": "target"}
    assert natural.scales == {"news": 1.0, "math": 0.5}


def test_runs_under_way_without_scores_or_environment_are_in_no_group():
    blind = run("c")
    blind.config = {"steps": 4}
    assert groups_of([run("a", status="running"), run("b", news=(), math=()), blind]) == []


def test_a_missing_score_leaves_out_the_utility_and_keeps_the_change():
    [group] = groups_of([run("a", news=(float("nan"), -3.5))])
    assert group.utilities == () and group.changes == {"news": (), "math": (1.0,)}


def test_runs_of_other_sizes_cannot_be_compared():
    assert terms(run("a")) == terms(run("b", "agent:x", seed=3)) != terms(run("c", steps=5))


def test_the_largest_comparison_is_taken_and_of_equals_the_newest():
    long = [run("a", steps=8), run("b", "naive", steps=8)]
    short = [run("c", steps=2), run("d", "agent:x", steps=2)]
    assert [g.controller for g in largest_comparison([*long, short[0]])] == ["natural", "naive"]
    assert [g.controller for g in largest_comparison([*long, *short])] == ["natural", "agent:x"]
    assert largest_comparison([]) == []
    pool = [*long, *short, run("e", steps=2, seed=1)]
    assert [len(g.utilities) for g in noise_groups(short, pool)] == [2, 1]


@pytest.fixture
def trained(warehouse):
    """Two seeds of an agent, three natural runs, and one of another size."""
    add_run(warehouse, "one")
    add_run(warehouse, "two", seed=1, gain=0.15)
    add_run(warehouse, "natural-0", controller="natural", kind="baseline", gain=0.01)
    add_run(warehouse, "natural-1", controller="natural", kind="baseline", gain=0.01, seed=1)
    add_run(warehouse, "fast", controller="natural", kind="baseline", settings=FAST)
    add_run(warehouse, "long", controller="natural", kind="baseline", steps=5)
    add_run(warehouse, "cut", controller="natural", kind="baseline", done=False, finished=2)
    return warehouse


FAST = {"training": {"batch_size": 8, "seed": 7, "learning_rate": 1.0}}


def read(warehouse, *run_ids):
    """Runs by id, and the pool of the first."""
    sync(warehouse)
    with Catalog.open_reader(warehouse) as catalog:
        runs = {run_id: read_run(catalog, run_id) for run_id in run_ids}
        return runs, with_comparable(catalog, [runs[run_ids[0]]])


def read_every(warehouse):
    with Catalog.open_reader(warehouse) as catalog:
        return {run_id: read_run(catalog, run_id) for run_id in run_ids(catalog)}


def test_the_pool_of_a_run_is_what_it_can_be_compared_with_in_the_whole_warehouse(trained):
    runs, pool = read(trained, "one")
    assert pool[0] is runs["one"]
    # what is compared is read as for a run on the page
    whole = read_every(trained)
    for other in pool[1:]:
        of = whole[other.run_id]
        assert (other.config, other.scores, other.steps_done) == (of.config, of.scores, of.steps_done)
        assert (other.started_at, other.status, other.leads) == (of.started_at, of.status, of.leads)
        assert of.steps_done and not other.pairs
    assert {other.run_id for other in pool} == {"one", "two", "natural-0", "natural-1", "fast"}


def test_natural_mixing_of_the_same_seed_and_settings_comes_first(trained):
    runs, pool = read(trained, "one", "two", "natural-0")
    assert [natural_of(runs[name], pool).run_id for name in ("one", "two")] == ["natural-0", "natural-1"]
    assert natural_of(runs["natural-0"], pool) is None
    others = [run for run in pool if run.run_id != "natural-0"]
    assert natural_of(runs["one"], others).run_id == "natural-1"
    only = [run for run in pool if run.run_id == "fast"]
    assert natural_of(runs["one"], only).run_id == "fast" and natural_of(runs["one"], []) is None
    found = from_natural(trained, runs["one"], only)
    assert found.who == "run fast, same seed, another learning_rate" and found.sentence == ""


def test_a_run_differs_from_natural_mixing_item_by_item(trained):
    add_judged(trained, "one")
    add_judged(trained, "natural-0", maths=(0.0, 0.1, 0.2))
    runs, pool = read(trained, "one")
    found = from_natural(trained, runs["one"], pool)
    assert [one.name for one in found.differences] == ["general", "maths", MEAN]
    # each item by 0.1, so no error over items; 0.05 in the mean of both
    assert found.differences[1].difference == pytest.approx(0.1) and found.same_seed
    assert found.speaking.difference == pytest.approx(0.05) and found.speaking.noise is None
    told = "Difference from natural mixing (run natural-0, same seed) on the same items: "
    assert found.sentence.startswith(told) and "maths +0.100 ± 0.000, better, beyond noise" in found.sentence
    for run_id in ("one", "natural-0"):
        add_judged(trained, run_id, task="wide", items="3" * 64, maths=(1.0,) * 4)
    names = [one.name for one in from_natural(trained, runs["one"], pool).differences]
    assert names == ["judging/general", "judging/maths", "wide/general", "wide/maths", MEAN]
    for path in trained.root.glob("runs/*/evaluations/step*-wide-*.json"):
        path.write_text(path.read_text().replace('"wide/', '"judging/'))
    wide = from_natural(trained, runs["one"], pool, only=None).differences
    assert [one.name for one in wide] == ["general", "maths", MEAN] and wide[1].difference == 0
    for path in trained.root.glob("runs/*/evaluations/step*-wide-*.json"):
        path.unlink()
    other = Items("judging/maths", "2" * 64, None)
    assert from_natural(trained, runs["one"], pool, only=[other]).differences == ()
    # two seeds of natural mixing spread by 0.2: a standard deviation of 0.14, of a difference 0.2
    add_judged(trained, "natural-1", maths=(0.2, 0.3, 0.4))
    maths = from_natural(trained, runs["one"], pool).differences[1]
    assert maths.noise == pytest.approx(0.02**0.5) and maths.word == "within noise between seeds"


def test_scores_of_an_earlier_step_and_of_items_that_the_controller_saw_are_no_comparison(trained):
    for run_id in ("one", "natural-0"):
        add_judged(trained, run_id, step=2)
        add_judged(trained, run_id, task="environment", items=items_sha256("", "qa"))
    runs, pool = read(trained, "one")
    assert from_natural(trained, runs["one"], pool).differences == ()


def test_noise_on_judging_items_comes_from_the_seeds_of_the_warehouse(trained):
    add_judged(trained, "one")
    runs, pool = read(trained, "one")
    assert [one.word for one in run_judged(trained, runs["one"], pool)] == ["learned", "unchanged"]
    add_judged(trained, "two", maths=(0.5, 0.6, 0.7))
    # 0.2 and 0.6: a standard deviation of 0.28
    maths, _ = run_judged(trained, runs["one"], pool)
    assert maths.noise == pytest.approx(0.08**0.5) and maths.word == "unchanged"
    items, change = Items("judging/maths", "1" * 64, None), maths.change
    given = {"items": items, "change": change, "role": "target", "scale": None}
    alike = judged_items(trained, runs["one"], pool, steps=(0, 4), **given)
    assert alike == maths
    assert judged_items(trained, runs["one"], pool, steps=(2, 4), **given).noise is None


def test_items_that_the_controller_saw_take_the_noise_of_the_run(trained):
    runs, pool = read(trained, "one")
    items = Items("environment/other-name", items_sha256("", "qa"), None)
    found = judged_items(
        trained, runs["one"], pool, items=items, steps=(0, 4), change=Change(-4.0, -3.6, 0.4, 0.1),
        role="target", scale=9.0,
    )  # fmt: skip
    # the digest stands for both objectives here, and the last one is maths: 0.4 and 0.6 with two seeds
    word = run_verdicts(runs["one"], "target", pool)["maths"].word
    assert found.scale == 0.25 and found.noise == pytest.approx((0.02 / 2) ** 0.5) and found.word == word
