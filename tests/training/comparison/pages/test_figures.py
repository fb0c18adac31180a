"""The figure is well-formed SVG that shows what the tables say, in light and dark."""

from xml.etree import ElementTree

import pytest
from tests.training.comparison.generated_results import results_below

from dmix.training.comparison.analysis.evidence import read_evidence
from dmix.training.comparison.analysis.selection import headroom
from dmix.training.comparison.analysis.tables import controller_rows
from dmix.training.comparison.analysis.verdict import Hypothesis
from dmix.training.comparison.pages import figures
from dmix.training.comparison.pages.drawing import COLOURS, LIGHT, WIDTH, limits, short, spread

SVG = "{http://www.w3.org/2000/svg}"

make_results = pytest.fixture(results_below)


def written(evidence, pair=None):
    rows = {stage: controller_rows(evidence, stage) for stage in ("confirmation", "screening")}
    return figures.setting_figure(evidence, rows=rows, study=headroom(evidence), pair=pair)


def drawn(evidence, pair=None):
    return ElementTree.fromstring(written(evidence, pair))


def texts(root):
    return [element.text for element in root.iter(f"{SVG}text")]


@pytest.fixture
def results(make_results):
    results = make_results()
    for seed in range(2):
        results.add("rl", seed=seed, gains=(0, 0.4 + 0.01 * seed), source_tokens=900)
        results.add("a<b&c", seed=seed, gains=(0, 0.2), source_tokens=1_000)
    return results


def test_every_controller_is_named_in_every_panel(results):
    root = drawn(read_evidence(results.write()))
    assert texts(root).count("rl") == texts(root).count("a<b&c") == 3
    assert not any("Headroom" in text for text in texts(root))


def test_agent_and_rival_have_colours_of_their_own(results):
    root = drawn(read_evidence(results.write()), Hypothesis("rl", "a<b&c"))
    labels = {element.text: element.get("style") for element in root.iter(f"{SVG}text")}
    assert "var(--agent)" in labels["rl"] and "var(--rival)" in labels["a<b&c"]


def test_colours_have_a_light_and_a_dark_value(results):
    content = written(read_evidence(results.write()))
    style = ElementTree.fromstring(content).find(f"{SVG}style").text
    light, dark = style.split("@media(prefers-color-scheme:dark)")
    for name, (in_light, in_dark) in COLOURS.items():
        assert f"--{name}:{in_light};" in light and f"--{name}:{in_dark};" in dark
    drawing = content.replace(style, "")
    assert "var(--page)" in drawing and not any(colour in drawing for colour in LIGHT.values())


def test_the_same_results_give_the_same_bytes(results):
    evidence = read_evidence(results.write())
    first = written(evidence)
    assert written(evidence) == first and "<dc:date>" not in first


def test_screen_readers_get_a_title_and_the_order_of_controllers(results):
    root = drawn(read_evidence(results.write()))
    assert root.get("role") == "img" and root.find(f"{SVG}title").text.startswith("Comparison in the setting")
    assert root.find(f"{SVG}desc").text.endswith("rl, a<b&c.")


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", [0, 1])
def test_text_and_lines_stand_out_from_the_page(mode):
    page = luminance(COLOURS["page"][mode])
    for name in ("text", "muted", "agent", "rival", "natural", "other"):
        light, dark = sorted((page, luminance(COLOURS[name][mode])), reverse=True)
        # 4.5 is what WCAG asks of text, 3 of graphics
        assert (light + 0.05) / (dark + 0.05) >= (3.0 if name == "other" else 4.5), name


def test_headroom_strip_has_a_dot_a_mixture(results):
    for index in range(5):
        results.add(f"static-{index}", stage="headroom", part="draw", kind="static", gains=(0, 0.1 * index))
    for seed in (7, 8):
        results.add("static-4", stage="headroom", part="rerun", kind="static", seed=seed, gains=(0, 0.3))
    root = drawn(read_evidence(results.write()))
    (panel,) = (group for group in root.iter(f"{SVG}g") if group.get("id") == "axes_4")
    dots = [dot.get("style") for dot in panel.iter(f"{SVG}use")]
    assert sum("fill: var(--page)" in dot for dot in dots) == 5
    assert sum("fill: var(--rival)" in dot for dot in dots) == 1


def test_setting_without_scores_says_so(make_results):
    root = drawn(read_evidence(make_results().add("a", status="running").write()))
    assert "No run has been scored yet." in texts(root)


def test_elements_stay_inside_the_drawing(results):
    root = drawn(read_evidence(results.write()))
    width, height = map(float, root.get("viewBox").split()[2:])
    assert width == WIDTH
    dots = [(float(dot.get("x")), float(dot.get("y"))) for dot in root.iter(f"{SVG}use")]
    assert dots and all(0 < x < width and 0 < y < height for x, y in dots)


def test_limits_hold_the_finite_values_with_room():
    assert limits([0.0, 1.0, float("nan")], margin=0.1) == (-0.1, 1.1)
    for values in ([3.0], [], [float("nan")], [0.0, 0.0]):
        low, high = limits(values)
        assert low < high


def test_labels_keep_apart_and_in_order():
    found = spread([10, 11, 50, 12], gap=5, low=0, high=60)
    assert found == [6, 11, 50, 16]


def test_labels_stay_in_their_room():
    assert spread([58, 59], gap=5, low=0, high=60) == [55, 60]
    assert spread([0, 0, 0], gap=50, low=0, high=60) == [0, 30, 60]
    assert spread([], gap=5, low=0, high=60) == []


def test_long_names_are_cut():
    assert short("a" * 30) == "a" * 19 + "…"
