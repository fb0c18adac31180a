"""The figure is well-formed SVG that shows what the tables say, in light and dark."""

from xml.etree import ElementTree

import pytest
from tests.training.comparison.generated_results import results_below

from dmix.training.comparison.analysis.evidence import read_evidence
from dmix.training.comparison.analysis.selection import headroom
from dmix.training.comparison.analysis.tables import controller_rows
from dmix.training.comparison.analysis.verdict import Hypothesis
from dmix.training.comparison.pages import drawing, figures
from dmix.training.comparison.pages.drawing import COLOURS, Scale, spread

SVG = "{http://www.w3.org/2000/svg}"

make_results = pytest.fixture(results_below)


def drawn(evidence, pair=None):
    rows = {stage: controller_rows(evidence, stage) for stage in ("confirmation", "screening")}
    text = figures.setting_figure(evidence, rows=rows, study=headroom(evidence), pair=pair)
    return ElementTree.fromstring(text)


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
    labels = {element.text: element.get("class") for element in root.iter(f"{SVG}text")}
    assert (labels["rl"], labels["a<b&c"]) == ("f-agent", "f-rival")


def test_colours_have_a_light_and_a_dark_value(results):
    root = drawn(read_evidence(results.write()))
    style = root.find(f"{SVG}style").text
    light, dark = style.split("@media(prefers-color-scheme:dark)")
    for name, (in_light, in_dark) in COLOURS.items():
        assert f".f-{name}{{fill:{in_light}}}" in light
        assert f".f-{name}{{fill:{in_dark}}}" in dark
    used = {name for e in root.iter() for name in (e.get("class") or "").split()}
    assert used - {f"{kind}-{name}" for kind in "fs" for name in COLOURS} <= {"head", "small"}
    assert root.find(f".//{SVG}rect").get("class") == "f-page"


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
    notes = [title.text for dot in root.iter(f"{SVG}circle") for title in dot.iter(f"{SVG}title")]
    assert sum("in the first pass" in note for note in notes) == 5
    assert "static-4 on 2 fresh seeds: 0.750 [0.750, 0.750]" in notes


def test_setting_without_scores_says_so(make_results):
    root = drawn(read_evidence(make_results().add("a", status="running").write()))
    assert "No run has been scored yet." in texts(root)


def test_elements_stay_inside_the_drawing(results):
    root = drawn(read_evidence(results.write()))
    width, height = map(float, root.get("viewBox").split()[2:])
    assert width == figures.WIDTH
    y = 0.0
    for group in root.findall(f"{SVG}g"):
        y = float(group.get("transform").split()[1].rstrip(")"))
        for dot in group.iter(f"{SVG}circle"):
            assert 0 < float(dot.get("cx")) < width
            assert 0 < y + float(dot.get("cy")) < height


def test_scale_maps_ends_and_has_round_ticks():
    scale = Scale(0.0, 1.0, 100.0, 200.0)
    assert (scale(0), scale(0.25), scale(1)) == (100, 125, 200)
    assert scale.ticks(5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])


def test_scale_of_one_value_or_none_has_room():
    for values in ([3.0], [], [float("nan")], [0.0, 0.0]):
        scale = Scale.around(values, start=0, end=10)
        assert scale.high > scale.low and scale.ticks()


def test_labels_keep_apart_and_in_order():
    found = spread([10, 11, 50, 12], gap=5, low=0, high=60)
    assert found == [6, 11, 50, 16]


def test_labels_stay_in_their_room():
    assert spread([58, 59], gap=5, low=0, high=60) == [55, 60]
    assert spread([0, 0, 0], gap=50, low=0, high=60) == [0, 30, 60]
    assert spread([], gap=5, low=0, high=60) == []


def test_ticks_read_as_numbers():
    assert drawing.tick(-0.30000000000000004) == "−0.3"
    assert drawing.tick(2_500_000, "tokens") == "2.5M"


def test_long_names_are_cut():
    assert figures.short("a" * 30) == "a" * 19 + "…"
