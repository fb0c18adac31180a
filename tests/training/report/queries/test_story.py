import dataclasses
import json

import numpy as np
from tests.training.report.fixtures import add_run, report_page

from dmix.training.report.queries import run_facts
from dmix.training.report.queries.run_facts import RunEvent
from dmix.training.report.queries.story import forecast_story, forecasts, mixture_story
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync


def read(warehouse):
    sync(warehouse)
    with Catalog.open_reader(warehouse) as catalog:
        return run_facts.read_run(catalog, "one")


def with_events(run, *events):
    marks = tuple(RunEvent(step=step, kind=kind, detail=detail) for step, kind, detail in events)
    return dataclasses.replace(run, events=marks)


def forecast(expected, width=0.05):
    return json.dumps({"maths": {"expected": expected, "low": expected - width, "high": expected + width}})


def test_the_share_and_what_held_the_agent_back_in_sentences(warehouse):
    add_run(warehouse, "one")
    guard = [(step, "guard", "the guard rails moved 3 of 80 samples") for step in (1, 2, 4)]
    told = mixture_story(with_events(read(warehouse), *guard))
    assert told.startswith(
        "The agent raised the target share from 22% to 82%; it was 52% over the whole run."
    )
    assert "three times (steps 1, 2, 4): the guard rails moved 3 of 80" in told


def test_a_high_between_the_ends_is_told(warehouse):
    add_run(warehouse, "one")
    run = read(warehouse)
    up_and_down = dataclasses.replace(run, samples_TN=run.samples_TN[[0, 3, 3, 1]])
    told = mixture_story(up_and_down)
    assert told.startswith(
        "The agent raised the target share from 22% to 41%, with a high of 82% in between; it was 57% over"
    )
    assert "A domain ran out of samples once (step 2): source/News" in told


def test_a_change_of_one_sample_is_rounding(warehouse):
    add_run(warehouse, "one")
    run = read(warehouse)
    samples_TN = np.zeros((4, len(run.pairs)))
    samples_TN[:, 0], samples_TN[:, -1] = [6, 7, 6, 7], [2, 1, 2, 1]
    assert mixture_story(dataclasses.replace(run, samples_TN=samples_TN)).startswith(
        "The agent kept the target share at 19%."
    )


def test_a_run_without_steps_has_no_story(warehouse):
    add_run(warehouse, "one", steps=1, finished=0, feedback=False, done=False)
    run = read(warehouse)
    assert mixture_story(run) == forecast_story(run) == ""


def test_forecasts_are_held_against_scores(warehouse):
    add_run(warehouse, "one")  # maths: -3.9, -3.8, -3.7, -3.6
    run = with_events(
        read(warehouse),
        (1, "forecast", forecast(-3.92)),
        (2, "forecast", forecast(-3.5)),
        (3, "forecast", "no JSON"),
        (4, "forecast", forecast(-1.0)),
        (4, "forecast", forecast(-3.6)),  # decided again after a resume
        (5, "forecast", forecast(-3.5)),
    )
    found = forecasts(run)["maths"]
    assert [(one.step, one.held) for one in found] == [(1, True), (2, False), (4, True), (5, None)]
    told = forecast_story(run)
    assert told.startswith("2 of 3 scores")
    assert "maths -3.60, forecast -3.60 (-3.65 to -3.55)" in told


def test_one_run_is_open_and_the_others_are_folded(warehouse, tmp_path):
    add_run(warehouse, "natural", controller="natural", kind="baseline")
    add_run(warehouse, "one")
    html = report_page(warehouse, tmp_path).html
    assert '<details id="run-one" class="part" open>' in html
    assert '<details id="run-natural" class="part">' in html
