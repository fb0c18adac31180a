import numpy as np
import pytest
from tests.training.report.fixtures import add_dataset, add_run, report_page

from dmix.training.report.figures import run_figures
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.taxonomy import FIELDS, NVIDIA_26, Taxonomy

QUANTITIES = ("asked", "planned", "delivered")


def test_delivered_shares_are_those_of_the_samples(page):
    variants = page.figures["run-one-domains"][0]
    stacked = variants["delivered|areas"]["data"]
    assert [trace["x"] for trace in stacked] == [[0.5, 1, 2, 3, 3.5]] * 6  # a step is as wide as any other
    sums = np.sum([trace["y"] for trace in stacked], axis=0)
    assert sums == pytest.approx([1] * 5, abs=1e-4)
    assert set(variants) == {f"{q}|{v}" for q in QUANTITIES for v in ("areas", "lines")}


def test_asked_and_planned_differ_where_a_domain_was_exhausted(page):
    variants = page.figures["run-one-domains"][0]
    news = {
        key: next(trace["y"] for trace in variant["data"] if trace["name"] == "source: News")
        for key, variant in variants.items()
    }
    assert news["asked|areas"][2] == news["asked|lines"][1] > 0
    assert news["planned|areas"][2] == news["planned|lines"][1] == 0
    row = page.table("reason")["News"]
    assert (row["reason"], row["steps"], row["first step"]) == ("exhausted", "1", "2")


def test_field_mixture_has_each_quantity_alone_and_all_together(page):
    variants = page.figures["run-one-fields"][0]
    assert set(variants) == {*QUANTITIES, "together"}
    together = {t["name"]: t["y"] for t in variants["together"]["data"]}
    assert set(together) == {f"{f} {q}" for f in FIELDS for q in QUANTITIES}
    assert together["target asked"] == pytest.approx([0.25, 0.5, 0.75])
    assert np.add(together["source delivered"], together["target delivered"]) == pytest.approx(np.ones(3))
    assert {t["name"]: t["y"] for t in variants["asked"]["data"]}["target asked"] == together["target asked"]


def test_every_domain_has_a_row_whose_cells_are_its_shares(page):
    source, target = (drawing["planned"]["data"][0] for drawing in page.figures["run-one-every"])
    assert [len(row) for row in source["z"]] == [3, 3, 3]
    assert source["x"] == [1, 2, 3]
    totals = np.sum(source["z"], axis=0) + np.sum(target["z"], axis=0)
    assert totals == pytest.approx(np.ones(3), abs=1e-3)
    assert "Science &amp; &lt;b&gt;Maths&lt;/b&gt;" in source["y"]


def test_optimum_of_regmix_is_dashed_in_every_drawing_of_the_mixture(warehouse, tmp_path):
    add_run(warehouse, "best", steps=1, controller="regmix:farm", seed=3)
    add_run(warehouse, "one", steps=3)
    drawn = report_page(warehouse, tmp_path, runs=("one",)).figures
    fields = {t["name"]: t for t in drawn["run-one-fields"][0]["delivered"]["data"]}
    # the one step of `best` asks for half of each field
    assert fields["target regmix:farm"]["y"] == pytest.approx([0.5, 0.5])
    assert fields["target regmix:farm"]["line"]["dash"] == "dash"
    lines = drawn["run-one-domains"][0]["asked|lines"]["data"]
    assert sum(t["line"].get("dash") == "dash" for t in lines) == 6
    columns = [drawing["asked"]["data"][1]["z"] for drawing in drawn["run-one-every"]]
    assert np.sum(columns) == pytest.approx(1.0, abs=1e-3)


def test_loss_by_domain_is_the_mean_over_the_tokens_of_the_step(page):
    variants = page.figures["run-one-loss"][0]
    fields = {t["name"]: t["y"] for t in variants["fields"]["data"]}
    # add_run's loss is 3 - 0.1 * step / steps in every domain
    assert fields["source"] == pytest.approx([3 - 0.1 / 3, 3 - 0.2 / 3, 2.9], abs=1e-4)
    cells = variants["all"]["data"][0]
    row = cells["z"][cells["y"].index("source: News")]
    assert row[1] is None  # the step that drew nothing from it
    assert row[2] == pytest.approx(2.9)


def test_guard_rails_are_marks_by_kind_and_shadow_is_none(warehouse, tmp_path):
    add_run(warehouse, "one")
    log = EventLog(warehouse.run("one") / "events.jsonl", run_id="one", attempt=1)
    for step, kind in ((1, "shadow"), (3, "guard"), (4, "guard")):
        log.write("note", step=step, kind=kind, detail=f"a {kind}")
    marks = report_page(warehouse, tmp_path).figures["run-one-rails"][0][""]["data"]
    assert {t["name"]: t["x"] for t in marks} == {"exhausted": [2], "guard": [3, 4]}


def test_no_grey_area_is_the_largest_and_52_domains_fit(bare_warehouse, tmp_path):
    taxonomy = Taxonomy("nvidia-26", NVIDIA_26)
    add_dataset(bare_warehouse, taxonomy=taxonomy)
    add_run(bare_warehouse, "one", taxonomy=taxonomy, steps=3)
    drawn = report_page(bare_warehouse, tmp_path).figures
    largest = drawn["run-one-domains"][0]["delivered|areas"]["data"]
    planned = drawn["run-one-domains"][0]["planned|areas"]["data"]
    sizes = {t["name"]: sum(t["y"][1:-1]) for t in planned}
    for field in ("source", "target"):
        grey = [t["name"] for t in planned if t["fillcolor"].startswith(f"var(--{field}-other")]
        named = [t["name"] for t in planned if t["name"].startswith(field) and t["name"] not in grey]
        assert grey and max(sizes[name] for name in grey) <= max(sizes[name] for name in named) + 1e-4
    assert np.sum([t["y"] for t in largest], axis=0) == pytest.approx(np.ones(5), abs=1e-4)
    assert [len(drawing["asked"]["data"][0]["y"]) for drawing in drawn["run-one-every"]] == [26, 26]


def test_long_run_is_thinned_to_means_and_says_so(warehouse, tmp_path, monkeypatch):
    monkeypatch.setattr(run_figures, "MAX_STEPS", 4)
    add_run(warehouse, "long", steps=9, feedback=False)
    page = report_page(warehouse, tmp_path)
    lines = {t["name"]: t for t in page.figures["run-long-fields"][0]["asked"]["data"]}
    assert lines["target asked"]["x"] == [1, 4, 7]
    assert lines["target asked"]["y"] == pytest.approx([0.2, 0.5, 0.8])
    assert "mean of 3 neighbouring steps" in page.text


def test_colours_of_shares_begin_at_none(page):
    for figure in page.figures["run-one-every"]:
        cells = figure["delivered"]["data"][0]
        assert cells["zmin"] == 0
        assert cells["zmax"] == pytest.approx(max(value for row in cells["z"] for value in row), rel=1e-3)
