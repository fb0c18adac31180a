"""An evaluated run beside natural mixing, and one vocabulary for train, eval and report."""

from types import SimpleNamespace

import pytest
from tests.training.report.fixtures import add_judged, add_run, report_page, warehouse_with_data

from dmix.cli.show.run_end import aftermath
from dmix.cli.workflows.runs.evaluate import _scores_result
from dmix.cli.workflows.runs.standing import read_standing
from dmix.training.evaluation.judging import items_sha256, stored_items
from dmix.training.evaluation.settings import EvaluationSettings
from dmix.training.evaluation.stored import Evaluation, Score
from dmix.training.evaluation.verdicts import ON_SEEN_ITEMS
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.errors import NotFoundError

SEEN = items_sha256("", "qa")
SETTINGS = EvaluationSettings()


@pytest.fixture
def place(tmp_path):
    return warehouse_with_data(tmp_path)


def task(sha256, name="judging/maths"):
    return SimpleNamespace(name=name, role="target", sha256=sha256, scale=9.0)


def evaluations(place, run_id):
    """The stored scores of a run, as `dmix eval` finds them."""
    return [
        Evaluation(
            step,
            items.task,
            (Score(task=items.task, metric="score", value=0.0, stderr=None, items=3),),
            stored=True,
            item_scores=of.scores,
        )
        for items, steps in stored_items(place, run_id).items()
        for step, of in sorted(steps.items())
    ]


def evaluated(place, run_id, one):
    standing = read_standing(place, run_id, [one])
    found = [found for found in evaluations(place, run_id) if found.task == one.name]
    return _scores_result(found, [one], standing)


@pytest.mark.parametrize(
    ("change", "of_other_seed", "word"),
    [
        (0.02, None, "unchanged"),  # of a scale of 0.25
        (0.04, None, "learned a little"),
        (-0.2, None, "worse"),
        (0.4, None, "learned much"),
        (0.4, 0.36, "learned much"),
        (0.4, 0.04, "unchanged"),
    ],
)
def test_train_eval_and_report_give_the_same_numbers_one_verdict(
    place, tmp_path, change, of_other_seed, word
):
    add_run(place, "one", gain=change / 4)
    if of_other_seed is not None:
        add_run(place, "two", gain=of_other_seed / 4, seed=1)
    # the items that the controller sees, and items that it does not see with the same changes
    for name, sha256 in (("environment", SEEN), ("judging", "1" * 64)):
        add_judged(place, "one", task=name, items=sha256, maths=(change,) * 3)
        if of_other_seed is not None:
            add_judged(place, "two", task=name, items=sha256, maths=(of_other_seed,) * 3)
    sync(place)
    assert aftermath(place, "one", kind="guided").verdicts["maths"].word == word
    for name, sha256 in (("environment/maths", SEEN), ("judging/maths", "1" * 64)):
        result = evaluated(place, "one", task(sha256, name))
        assert [str(row["verdict"]) for row in result.df(1).to_dict("records")] == [word]
        assert result.facts[1]["verdict"] == word
        assert (ON_SEEN_ITEMS in result.blocks) == (sha256 == SEEN)
    # a page on this run alone, though the noise comes from the other seed
    row = report_page(place, tmp_path, runs=("one",)).table("target objectives")["one"]
    assert row["target objectives"].startswith(f"{word} maths")
    assert row["items that no controller saw"].startswith(f"{word} maths")


def test_the_difference_from_natural_mixing_is_a_table_and_facts(place):
    add_run(place, "one")
    add_run(place, "natural-0", controller="natural", kind="baseline", gain=0.01)
    add_judged(place, "one")
    add_judged(place, "natural-0", maths=(0.0, 0.0, 0.0))
    sync(place)
    result = evaluated(place, "one", task("1" * 64))
    (row,) = result.df(2).to_dict("records")
    assert (row["metric"], row["natural_run"], row["items"]) == ("difference_from_natural", "natural-0", 3)
    assert row["value"] == pytest.approx(0.2) and row["beyond_noise"] and row in result.facts
    assert "run natural-0, same seed" in result.tables[2].title
    assert len(result.df()) == 2  # scores alone
    assert len(evaluated(place, "natural-0", task("1" * 64)).tables) == 2


def test_a_run_without_a_natural_one_says_so(place):
    add_run(place, "one")
    add_judged(place, "one")
    sync(place)
    assert "no finished run of natural mixing" in repr(evaluated(place, "one", task("1" * 64)))
    assert read_standing(place, "unknown", []) is None


def test_a_natural_run_without_scores_is_scored_once(place, monkeypatch):
    add_run(place, "one")
    add_run(place, "natural-0", controller="natural", kind="baseline", gain=0.01)
    sync(place)
    scored = []
    monkeypatch.setattr(
        "dmix.training.evaluation.candidates.run_candidates", lambda *args: scored.append(args[1:]) or []
    )
    monkeypatch.setattr(
        "dmix.training.evaluation.benchmark.benchmark_models",
        lambda found, **given: add_judged(place, given["keep"][1]),
    )
    given = [task("1" * 64), task(SEEN, "environment/maths")]
    standing = read_standing(place, "one", given)
    natural, missing = standing.natural_to_score([0, 4], SETTINGS)
    # items that the controller saw compare nothing, and neither do other steps than the last
    assert (natural.run_id, [one.name for one in missing]) == ("natural-0", ["judging/maths"])
    assert standing.natural_to_score([0, 2], SETTINGS) is None
    said = []
    for _ in range(2):
        standing.score_natural([4], SETTINGS, progress=said.append)
    assert scored == [("natural-0", ["4"])] and len(said) == 1 and "natural-0" in said[0]


def test_a_natural_run_whose_model_is_gone_stops_no_evaluation(place, monkeypatch):
    add_run(place, "one")
    add_run(place, "natural-0", controller="natural", kind="baseline", gain=0.01)
    sync(place)

    def gone(*args):
        raise NotFoundError("run natural-0 has no model of step 4")

    monkeypatch.setattr("dmix.training.evaluation.candidates.run_candidates", gone)
    said = []
    read_standing(place, "one", [task("1" * 64)]).score_natural([4], SETTINGS, progress=said.append)
    assert said[-1] == "there is no difference from natural mixing: run natural-0 has no model of step 4"
