from tests.training.report.fixtures import HOSTILE, add_run, report_page


def test_run_facts_name_controller_steps_samples_and_seeds(page):
    assert page.facts["Controller"] == HOSTILE
    assert page.facts["Status"] == "✓ done"
    assert page.facts["Steps (M)"] == "3 of 3"
    assert page.facts["Samples per step (R)"] == "80"
    assert page.facts["Batch (B)"] == "8"
    assert page.facts["Seeds"] == "samples 0, training 7"


def test_run_without_feedback_says_so(warehouse, tmp_path):
    add_run(warehouse, "one", feedback=False)
    page = report_page(warehouse, tmp_path)
    assert "no feedback yet" in page.text
    assert "run-one-feedback" not in page.figures
    assert "utility" not in page.table("source tokens")["one"]


def test_run_under_way_is_shown_as_far_as_it_went(warehouse, tmp_path):
    add_run(warehouse, "one", steps=3, finished=2, done=False)
    page = report_page(warehouse, tmp_path)
    variants = page.figures["run-one-domains"][0]
    assert variants["planned|areas"]["data"][0]["x"] == [0.5, 1, 2, 3, 3.5]
    assert variants["delivered|areas"]["data"][0]["x"] == [0.5, 1, 2, 2.5]
    assert "running" in page.table("source tokens")["one"]["status"]


def test_run_without_a_step_is_shown(warehouse, tmp_path):
    add_run(warehouse, "none", steps=0, feedback=False, done=False)
    page = report_page(warehouse, tmp_path)
    assert "not decided any step" in page.text
    assert page.table("source tokens")["none"]["steps"] == "0 of 1"


def test_run_with_a_decision_but_no_finished_step_is_shown(warehouse, tmp_path):
    add_run(warehouse, "first", steps=1, finished=0, done=False)
    drawn = report_page(warehouse, tmp_path).figures
    variants = drawn["run-first-domains"][0]
    assert variants["asked|areas"]["data"][0]["type"] == "bar"
    assert all(not trace["x"] for trace in variants["delivered|areas"]["data"])
    assert "run-first-loss" not in drawn
