from tests.training.report.fixtures import add_run, report_page


def test_final_table_gives_scores_tokens_and_utility_of_each_run(warehouse, tmp_path):
    add_run(warehouse, "one", steps=2)
    add_run(warehouse, "two", steps=2, finished=1, done=False, controller="natural")
    page = report_page(warehouse, tmp_path, runs=("one", "two"))
    rows = page.table("source tokens")
    assert rows["one"]["maths"] == "-3.80 (+0.20)"
    # (-0.02 / 0.5 + 0.2 / 0.25) / 2, worked by hand
    assert rows["one"]["utility"] == "+0.38"
    assert rows["one"]["steps"] == "2 of 2"
    used = [int(rows["one"][f"{field} tokens"].replace(",", "")) for field in ("source", "target")]
    assert sum(used) == 160 * 64
    assert (rows["two"]["controller"], rows["two"]["steps"]) == ("natural", "1 of 2")
    assert "There is no interval" in page.text


def test_runs_that_differ_in_their_seeds_alone_get_a_mean_with_an_interval(warehouse, tmp_path):
    add_run(warehouse, "one", steps=2)
    add_run(warehouse, "two", steps=2, seed=1)
    add_run(warehouse, "other", steps=2, controller="natural")
    page = report_page(warehouse, tmp_path)
    row = page.table("seeds")["agent:tiny"]
    assert (row["seeds"], row["runs"]) == ("2", "one, two")
    assert row["maths"] == "-3.80 ± 0.00"
    assert "There is no interval" not in page.text
