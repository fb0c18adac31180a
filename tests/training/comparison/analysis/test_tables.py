"""Rows tell every started run, and the numbers that were put in."""

import csv
import io

import pytest
from tests.training.comparison.generated_results import results_below, three_controllers

from dmix.training.comparison.analysis import tables
from dmix.training.comparison.analysis.evidence import read_evidence
from dmix.training.comparison.analysis.tables import controller_rows

make_results = pytest.fixture(results_below)
evidence = pytest.fixture(three_controllers)


def test_rows_are_best_first_and_count_every_started_run(evidence):
    rows = controller_rows(evidence, "screening")
    assert [row.controller for row in rows] == ["rl", "natural", "naive", "odm"]
    assert [(row.started, row.done, row.failed, row.running) for row in rows] == [
        (3, 3, 0, 0),
        (5, 3, 1, 1),
        (3, 3, 0, 0),
        (1, 0, 1, 0),
    ]
    assert sum(row.started for row in rows) == len(evidence.runs)
    assert tables.accounts(rows[1]) == "3 of 5 (1 failed, 1 running)"


def test_rows_hold_the_numbers_that_were_put_in(evidence):
    best, natural, _, odm = controller_rows(evidence, "screening")
    # ½ · (−0.011)/0.1 + ½ · 0.4/0.2
    assert best.development.value == pytest.approx(0.945)
    assert best.confirmation is None and best.judged is best.development
    assert (best.rival, natural.rival) == ("natural", "rl")
    assert best.difference.value == pytest.approx(-natural.difference.value) == pytest.approx(0.29)
    assert best.difference.verdict == "above"
    assert best.general_gain == pytest.approx(-0.011) and best.target_gain == pytest.approx(0.4)
    assert (best.proxy_tokens, best.uses) == (9_000, 3)
    assert odm.development is None and odm.difference is None


def test_pareto_front_of_the_rows(evidence):
    on_front = {row.controller: row.on_front for row in controller_rows(evidence, "screening")}
    assert on_front == {"rl": True, "natural": True, "naive": False, "odm": False}


def test_finished_run_without_scores_counts_as_failed(make_results):
    results = make_results().add("a").add("a", seed=1, layers=())
    (row,) = controller_rows(read_evidence(results.write()), "screening")
    assert (row.started, row.done, row.failed) == (2, 1, 1)


def test_confirmation_items_are_judged_in_the_confirmation_alone(make_results):
    results = make_results()
    for stage in ("screening", "confirmation"):
        results.add("rl", stage=stage, layers=("development", "confirmation"))
    evidence = read_evidence(results.write())
    (screened,), (confirmed,) = (controller_rows(evidence, stage) for stage in ("screening", "confirmation"))
    assert screened.confirmation is None and screened.judged is screened.development
    assert confirmed.judged is confirmed.confirmation is not None
    assert "confirmation" not in tables.controller_table([screened])
    assert "U confirmation [95%]" in tables.controller_table([confirmed])


def test_constraint_puts_those_that_keep_the_source_first(evidence):
    lines = tables.constraint_table(controller_rows(evidence, "screening")).splitlines()[2:]
    assert [line.split(" | ")[:3] for line in lines] == [
        ["| `rl`", "yes", "3 of 3"],
        ["| `natural`", "yes", "3 of 3"],
        ["| `naive`", "no", "0 of 3"],
    ]


def test_cost_is_told_once_and_shared(evidence):
    line = tables.cost_table(controller_rows(evidence, "screening")).splitlines()[2]
    # 2,000 source + 500 target, 9,000 by proxies, a third of it a run
    assert line == "| `rl` | 2.5k | 9k | 11.5k | 5.5k (3 runs) |"


def test_csv_reads_back(evidence):
    rows = controller_rows(evidence, "screening")
    read = list(csv.DictReader(io.StringIO(tables.to_csv([("confirmation", []), ("screening", rows)]))))
    assert [line["controller"] for line in read] == ["rl", "natural", "naive", "odm"]
    assert float(read[0]["development_value"]) == rows[0].development.value
    assert float(read[0]["difference_p"]) == rows[0].difference.p
    assert read[3]["development_value"] == "" and read[3]["failed"] == "1"
    assert tables.to_csv([]) == ""


def test_slices_stand_side_by_side(make_results):
    evidence = read_evidence(make_results().add("a", near_duplicate=(0,)).write())
    header = tables.slice_table(evidence.panel("screening", "development")).splitlines()[0]
    assert header == "| controller | all items (12 items) | without near-duplicates (10 items) |"


@pytest.mark.parametrize(
    ("value", "written"), [(0, "0"), (999, "999"), (1_500, "1.5k"), (2e6, "2M"), (3.21e9, "3.21B")]
)
def test_counts_have_units(value, written):
    assert tables.count(value) == written


def test_numbers_have_true_minus_signs_and_a_dash_for_the_unknown():
    assert tables.number(-0.5) == "−0.500"
    assert tables.number(0.25, sign=True, digits=1) == "+0.2"
    assert tables.number(float("nan")) == tables.interval(None) == "–"


def test_cells_cannot_break_a_table():
    assert tables.markdown(["a"], [["x|y"]]).splitlines()[-1] == "| x\\|y |"
