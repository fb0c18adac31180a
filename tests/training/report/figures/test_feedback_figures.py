import numpy as np
from tests.training.report.fixtures import add_run, report_page

from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.taxonomy import FIELDS


def test_feedback_runs_over_steps_and_over_tokens_of_each_field(page):
    variants = page.figures["run-one-feedback"][0]
    assert set(variants) == {f"{x}|{y}" for x in ("step", "source", "target") for y in ("change", "score")}
    by_step = {t["name"]: t for t in variants["step|score"]["data"]}
    assert by_step["maths"]["x"] == [0, 1, 2, 3]
    assert by_step["maths"]["y"] == [-4.0, -3.9, -3.8, -3.7]
    assert {t["name"]: t["y"] for t in variants["step|change"]["data"]}["general"] == [0, -0.01, -0.02, -0.03]
    source, target = (variants[f"{field}|score"]["data"][0]["x"] for field in FIELDS)
    assert source[0] == target[0] == 0
    assert np.add(source, target).tolist() == [0, 80 * 64, 160 * 64, 240 * 64]


def test_runs_side_by_side_share_a_drawing_an_objective(warehouse, tmp_path):
    add_run(warehouse, "one")
    add_run(warehouse, "two", seed=1)
    drawn = report_page(warehouse, tmp_path).figures
    assert len(drawn["compare-feedback"]) == 2
    assert [t["name"] for t in drawn["compare-feedback"][0]["step|score"]["data"]] == ["one", "two"]
    assert [t["name"] for t in drawn["compare-target"][0]["delivered"]["data"]] == ["one", "two"]


def test_runs_that_differ_in_seeds_alone_share_a_colour_in_every_drawing(warehouse, tmp_path):
    add_run(warehouse, "base", kind="baseline", controller="natural", feedback=False)
    add_run(warehouse, "one")
    add_run(warehouse, "two", seed=1)
    drawn = report_page(warehouse, tmp_path).figures
    shares = {t["name"]: t["line"] for t in drawn["compare-target"][0]["delivered"]["data"]}
    scores = {t["name"]: t["line"] for t in drawn["compare-feedback"][0]["step|score"]["data"]}
    assert shares["one"] == scores["one"] and shares["two"] == scores["two"]
    assert shares["one"]["color"] == shares["two"]["color"] != shares["base"]["color"]
    assert shares["one"]["dash"] != shares["two"]["dash"]


def test_general_objectives_are_cool_and_those_of_the_target_warm(page):
    lines = {t["name"]: t["line"] for t in page.figures["run-one-feedback"][0]["step|score"]["data"]}
    assert lines["general"]["color"] == "var(--line-1)"
    assert lines["maths"]["color"] == "var(--line-2)"


def test_failed_score_leaves_a_gap_and_no_utility(warehouse, tmp_path):
    add_run(warehouse, "one", steps=1, done=False)
    log = EventLog(warehouse.run("one") / "events.jsonl", run_id="one", attempt=1)
    log.write("feedback", step=0, scores={"general": -2.0, "maths": float("nan")})
    page = report_page(warehouse, tmp_path)
    maths = page.figures["run-one-feedback"][0]["step|score"]["data"][1]
    assert (maths["name"], maths["x"]) == ("maths", [1])
    assert page.table("source tokens")["one"]["maths"] == "-3.90"
