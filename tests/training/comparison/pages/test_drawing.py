"""Figures of the comparison: labels apart from each other, colours by name, the same bytes."""

import math

import pytest

from dmix.training.comparison.pages.drawing import (
    COLOURS,
    Panel,
    dots,
    labels_right,
    limits,
    short,
    spread,
    svg,
    whisker,
)


def test_labels_with_room_stay_where_they_want_to_be():
    assert spread([30.0, 0.0, 90.0], gap=10, low=0, high=100) == [30.0, 0.0, 90.0]
    assert spread([], gap=10, low=0, high=100) == []


def test_labels_that_touch_are_centred_on_what_they_want():
    assert spread([50.0, 50.0], gap=10, low=0, high=100) == [45.0, 55.0]
    assert spread([48.0, 52.0, 60.0], gap=10, low=0, high=100) == pytest.approx([130 / 3, 160 / 3, 190 / 3])


def test_labels_keep_inside_and_come_closer_where_room_lacks():
    assert spread([99.0, 99.0], gap=10, low=0, high=100) == [90.0, 100.0]
    assert spread([5.0] * 11, gap=20, low=0, high=100) == pytest.approx([10.0 * i for i in range(11)])


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 1.0], (-0.06, 1.06)), ([2.0], (1.8, 2.2)), ([0.0], (-1.0, 1.0)), ([math.nan], (-1.0, 1.0))],
)
def test_limits_hold_the_finite_values_with_room(values, expected):
    assert limits(values) == pytest.approx(expected)


def test_long_names_are_cut_to_the_limit():
    assert short("abc", limit=3) == "abc" and short("abcd", limit=3) == "ab…"


def drawn():
    def draw(axes):
        axes.set_xlim(0, 3)
        axes.set_ylim(0, 3)
        whisker(axes, 1, value=1, low=0.5, high=1.5, colour="agent")
        whisker(axes, 2, value=2, low=math.nan, high=math.inf, colour="rival", hollow=True)
        dots(axes, [1], [2], colour="natural")
        labels_right(axes, {"a < b": (1, 2)}, colours={"a < b": "natural"}, gap=10, height=100)

    panel = Panel(title="Part", height=100, left=60, right=100, draw=draw)
    return svg([panel, panel], heading="All", title="T < U", description="what is seen")


def test_a_figure_names_its_colours_and_says_what_it_shows():
    content = drawn()
    assert content == drawn()
    assert "<title>T &lt; U</title><desc>what is seen</desc>" in content and 'role="img"' in content
    assert content.count("var(--agent)") >= 2 and COLOURS["agent"][1] in content
    assert "a &lt; b" in content and content.count("Part") >= 2
