"""The page in a real browser: it draws, its controls work, and it keeps its reader's place."""

import pytest
from tests.training.report.browser import Browser, find_chromium
from tests.training.report.fixtures import add_run, paper_size

from dmix.training.report import write_report
from dmix.warehouse_schema.catalog.sync import sync

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium on the PATH")

MEGABYTE = 2**20
# figures are drawn once they are near the window
DRAWN = (
    "(document.querySelector('.plot').scrollIntoView(),"
    " document.querySelectorAll('.plot .main-svg').length > 0)"
)
# Every variant of every figure through plotly's own check of names and values. Colours are CSS
# variables, which it cannot know; that a marker is not seen among lines is no mistake.
MISTAKES = """
(() => {
  const plain = (value) => JSON.parse(JSON.stringify(value).replace(/var\\(--[\\w-]+\\)/g, "#123456"));
  const panels = JSON.parse(document.getElementById("figures").textContent);
  return Object.entries(panels).flatMap(([id, figures]) => figures.flatMap((variants) =>
    Object.entries(variants).flatMap(([key, figure]) => {
      const { data, layout } = plain(figure);
      const mistakes = (Plotly.validate(data, layout) ?? []).filter((found) => found.code !== "unused");
      return mistakes.map((found) => `${id} ${key}: ${found.code} ${found.msg}`);
    })));
})()
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("paper")
    place = paper_size(root)
    sync(place)
    return write_report(place, runs=["agent-1"], out=root / "report.html")


@pytest.fixture(scope="module")
def browser():
    with Browser() as started:
        yield started


@pytest.fixture
def laptop(report, browser):
    browser.open(report.path)
    browser.wait_for(DRAWN)
    return browser


def press(browser, panel, value):
    browser.ask(f"document.querySelector('#{panel} button[data-value=\"{value}\"]').click()")


def show(browser, panel, drawn):
    browser.ask(f"document.getElementById('{panel}').scrollIntoView({{behavior: 'instant'}})")
    browser.wait_for(f"{drawn} !== null")


def names(browser, panel):
    return browser.ask(
        f"[...document.querySelectorAll('#{panel} .legend button')].map((entry) => entry.textContent)"
    )


def test_report_on_52_domains_and_80_steps_is_small_and_light_to_open(report, laptop):
    assert report.size_bytes < 8 * MEGABYTE
    # processor time, not what a busy machine makes of it; a fifth of it is usual
    assert laptop.busy_seconds() < 4
    assert laptop.messages == []


def test_every_variant_of_every_figure_is_what_plotly_understands(laptop):
    laptop.ask("document.querySelectorAll('.panel').forEach((panel) => panel.scrollIntoView())")
    assert laptop.ask(MISTAKES) == []
    assert laptop.messages == []


def test_controls_switch_legends_hide_and_headings_sort(laptop):
    panel = "run-agent-1-fields"
    assert names(laptop, panel) == ["source delivered", "target delivered", "regmix:farm"]
    press(laptop, panel, "together")
    assert len(names(laptop, panel)) == 7
    lines = f"document.querySelectorAll('#{panel} .scatterlayer .trace').length"
    laptop.wait_for(f"{lines} === 8")
    laptop.ask(f"document.querySelector('#{panel} .legend button').click()")
    laptop.wait_for(f"{lines} === 7")
    column = (
        "[...document.querySelectorAll('#run-agent-1-numbers tbody tr')].map((r) => +r.cells[5].dataset.sort)"
    )
    laptop.ask("document.getElementById('run-agent-1-numbers').open = true")
    laptop.ask("document.querySelectorAll('#run-agent-1-numbers th button')[5].click()")
    assert laptop.ask(column) == sorted(laptop.ask(column), reverse=True)
    laptop.ask("document.querySelectorAll('#run-agent-1-numbers th button')[5].click()")
    assert laptop.ask(column) == sorted(laptop.ask(column))
    assert laptop.messages == []


def test_dark_page_has_dark_figures_and_a_phone_scrolls_down_only(report, browser):
    browser.open(report.path, width=390, height=844, dark=True, mobile=True)
    line = "document.querySelector('#run-agent-1-fields .scatterlayer path.js-line')"
    show(browser, "run-agent-1-fields", line)
    assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 28)"
    assert browser.ask(f"getComputedStyle({line}).stroke") == "rgb(111, 180, 242)"
    # names of domains leave most of the width to the drawing
    rows = "document.querySelector('#run-agent-1-every .heatmaplayer image')"
    show(browser, "run-agent-1-every", rows)
    assert browser.ask(f"{rows}.getBoundingClientRect().width") > 390 / 3
    assert browser.messages == []


def test_page_of_a_run_under_way_comes_back_as_its_reader_left_it(bare_warehouse, browser):
    add_run(bare_warehouse, "one", steps=3, finished=2, done=False)
    browser.open(write_report(bare_warehouse, reload_seconds=600).path)
    browser.wait_for(DRAWN)
    press(browser, "run-one-fields", "asked")
    browser.ask("document.getElementById('run-one-config').open = true")
    browser.ask("document.getElementById('run-one-feedback').scrollIntoView({behavior: 'instant'})")
    add_run(bare_warehouse, "one", steps=3)
    write_report(bare_warehouse, reload_seconds=600)
    browser.ask("location.reload()")
    browser.wait_for("document.readyState === 'complete' && document.getElementById('live') === null")
    pressed = "document.querySelector('#run-one-fields [aria-pressed=\"true\"]').dataset.value"
    assert browser.ask(pressed) == "asked"
    assert browser.ask("document.getElementById('run-one-config').open")
    place = browser.ask("document.getElementById('run-one-feedback').getBoundingClientRect().top")
    assert abs(place) < 200
    assert browser.messages == []


def test_page_of_a_run_under_way_loads_itself_anew(bare_warehouse, browser):
    add_run(bare_warehouse, "none", steps=0, feedback=False, done=False)
    browser.open(write_report(bare_warehouse, reload_seconds=1).path)
    browser.wait_for("performance.getEntriesByType('navigation')[0].type === 'reload'")
    assert browser.messages == []
