"""What all drawings share: plain values, lines that differ in more than colour, scales of heat maps."""

import numpy as np
import pytest

from dmix.training.report.figures.charts import (
    DASHES,
    LINE_COLOURS,
    Choice,
    Drawing,
    Figure,
    Panel,
    domain_text,
    drawing,
    heat_map,
    largest,
    line_style,
    plain_text,
    rounded,
    thinning_note,
    to_json,
)


def test_a_trace_leaves_what_is_none_to_the_page():
    made = Drawing().trace("scatter", x=[1], name=None).x_axis(range=[0, 1]).layout(height=7)
    assert made.to_json() == {
        "data": [{"type": "scatter", "x": [1]}],
        "layout": {"showlegend": False, "xaxis": {"range": [0, 1]}, "yaxis": {}, "height": 7},
    }
    assert made.height == 7 and Drawing().height is None


def test_steps_are_whole_and_shares_are_percentages():
    layout = drawing(x_title="step", y_title="share", y_format=".1%").to_json()["layout"]
    assert layout["xaxis"]["rangemode"] == "tozero" and layout["yaxis"]["tickformat"] == ".0%"
    layout = drawing(x_title="tokens", y_title="loss", y_format=None).to_json()["layout"]
    assert "rangemode" not in layout["xaxis"] and "hoverformat" not in layout["yaxis"]


def test_no_two_lines_of_the_first_palettes_look_alike():
    styles = [line_style(slot, points=5) for slot in range(LINE_COLOURS * len(DASHES))]
    looks = {(s["line"]["color"], s["line"]["dash"]) for s in styles}
    assert len(looks) == len(styles)
    assert styles[0]["mode"] == "lines+markers" and line_style(0, points=101)["mode"] == "lines"


def test_members_of_a_group_share_a_colour_and_differ_otherwise():
    first, second = (line_style(2, points=5, member=member) for member in (0, 1))
    assert first["line"]["color"] == second["line"]["color"]
    assert first["line"]["dash"] != second["line"]["dash"]
    assert first["marker"]["symbol"] != second["marker"]["symbol"]


def test_a_heat_map_has_a_row_a_name_and_empty_cells_for_unknown_values():
    made = heat_map(
        np.array([[0.123456, np.nan], [2.0, 0.0]]),
        x=[1, 2],
        rows=["a <b>", "c"],
        colour="--source",
        z_title="share",
        z_format=".1%",
    )
    [trace] = made.traces
    assert trace["z"] == [[0.1235, None], [2.0, 0.0]] and trace["y"] == ["a &lt;b&gt;", "c"]
    assert (trace["zmin"], trace["zmax"]) == (0, 2.0) and trace["colorbar"]["tickformat"] == "~%"
    free = heat_map(
        np.ones((1, 1)),
        x=[1],
        rows=["a"],
        colour="--x",
        z_title="z",
        z_format="d",
        spread=False,
        from_zero=False,
    ).traces[0]
    assert "zmin" not in free and free["colorscale"][1][0] == 0.33


@pytest.mark.parametrize(
    ("values", "end"), [([0.0, 3.0], 3.0), ([np.nan, 0.5], 0.5), ([0.0], 1.0), ([np.nan], 1.0), ([], 1.0)]
)
def test_a_scale_ends_at_the_largest_number_above_zero(values, end):
    assert largest(np.array(values)) == end


def test_numbers_have_few_digits_and_unknown_ones_are_null():
    assert rounded([1.23456789, float("nan"), float("inf"), 0]) == [1.2346, None, None, 0.0]


def test_labels_are_text_and_no_html():
    assert domain_text("Arts_and_<b>") == "Arts and &lt;b&gt;" and plain_text('"a" & b') == '"a" &amp; b'
    assert thinning_note(1) == "" and "mean of 4" in thinning_note(4)


def test_a_panel_is_the_variants_of_its_figures():
    figure = Figure(title="t", variants={"a": Drawing().layout(height=3), "b": Drawing()})
    panel = Panel(panel_id="p", note="n", choices=(Choice("c", (("a", "A"), ("b", "B"))),), figures=(figure,))
    assert figure.height == 3 and [set(variants) for variants in to_json(panel)] == [{"a", "b"}]
