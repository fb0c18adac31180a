"""Forecasts as a band with the scores in it."""

import json

from tests.training.report.fixtures import add_run, report_page

from dmix.warehouse_schema.files.events import EventLog


def forecast(expected, width=0.05):
    return json.dumps({"maths": {"expected": expected, "low": expected - width, "high": expected + width}})


def test_forecasts_are_drawn_as_a_band(warehouse, tmp_path):
    add_run(warehouse, "one", done=False)
    log = EventLog(warehouse.run("one") / "events.jsonl", run_id="one", attempt=1)
    for step in (1, 2):
        log.write("note", step=step, kind="forecast", detail=forecast(-3.9))
    page = report_page(warehouse, tmp_path)
    (variants,) = page.figures["run-one-forecast"]
    low, high, expected, got = variants[""]["data"]
    assert (low["y"], high["y"], high["fill"]) == ([-3.95] * 2, [-3.85] * 2, "tonexty")
    assert expected["x"] == [1, 2] and got["y"] == [-4.0, -3.9, -3.8, -3.7, -3.6]
    assert "1 of 2 scores" in page.text
