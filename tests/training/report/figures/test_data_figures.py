import pytest

from dmix.training.report.figures.data_figures import _log_ticks, convergence, start_state
from dmix.training.report.queries.data_facts import ConvergencePoint, StartState, StartWeight

UNKNOWN = dict.fromkeys(("document_low", "document_high", "weight_low", "weight_high"))


def weight(estimator, domain, share, **interval):
    shares = {"document_weight": share, "sample_weight": 1 - share, **UNKNOWN, **interval}
    return StartWeight(estimator=estimator, field="source", domain=domain, **shares)


def test_start_state_of_a_dataset_is_drawn_by_field(page):
    source, target = (drawn["samples"]["data"] for drawn in page.figures["dataset-d0123456789abcde-start"])
    assert [trace["name"] for trace in source] == ["corpus"]
    assert source[0]["x"] == target[0]["x"] == [0.71429, 0.28571]
    assert source[0]["y"][0] == "News"
    colours = [trace[0]["marker"]["color"] for trace in (source, target)]
    assert colours == ["var(--source-1)", "var(--target-1)"]
    assert "error_x" not in source[0]


def test_estimates_stand_beside_the_count_with_their_intervals():
    known = weight("model:m", "News", 0.6, document_low=0.5, document_high=0.8)
    start = StartState(weights=(weight("corpus", "News", 0.7), known), convergence=())
    (figure,) = start_state(start, panel_id="x").figures
    counted, estimated = figure.variants["documents"].traces
    assert (counted["x"], estimated["x"]) == ([0.7], [0.6])
    assert "error_x" not in counted
    assert estimated["error_x"]["array"] == pytest.approx([0.2])
    assert estimated["error_x"]["arrayminus"] == pytest.approx([0.1])
    assert figure.variants["samples"].traces[1]["x"] == [0.4]


def test_convergence_shows_each_curve_that_is_known_and_leaves_out_its_zero():
    points = tuple(
        ConvergencePoint(
            estimator="model:m",
            documents=documents,
            divergence=divergence,
            divergence_bound=0.5,
            divergence_to_corpus=None,
            kl_bound=0.05,
            confidence=0.95,
        )
        for documents, divergence in ((10, 0.4), (100, 0.0))
    )
    (figure,) = convergence(StartState(weights=(), convergence=points), panel_id="x").figures
    lines = {trace["name"]: trace["y"] for trace in figure.variants[""].traces}
    assert lines == {
        "model:m: from the end of the sampling": [0.4, None],
        "model:m: bound at 95%": [0.5, 0.5],
        "model:m: wanted": [0.05, 0.05],
    }


def test_logarithmic_axis_has_ticks_at_round_numbers():
    assert _log_ticks([0.03, 0.5]) == [0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
    assert _log_ticks([]) == []


def test_nothing_known_draws_nothing():
    nothing = StartState(weights=(), convergence=())
    assert start_state(nothing, panel_id="x") is None
    assert convergence(nothing, panel_id="x") is None
