"""The whole page: style, script, plotly and the figures' data inside, no request to anywhere."""

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from plotly.offline import get_plotlyjs

from dmix.training.report.figures import charts
from dmix.training.report.page.markup import Markup, tag
from dmix.training.report.page.parts import Section

# The browser itself refuses every request, so that opening a report tells nobody.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def page(
    *,
    title: str,
    subtitle: str,
    sections: Sequence[Section],
    banners: Sequence[str] = (),
    reload_seconds: float | None = None,
) -> str:
    """The HTML document.

    Args:
        title: Heading and window title.
        subtitle: Line below it: warehouse, time, version.
        sections: Parts in order.
        banners: Sentences above the first part, such as how many runs are left out.
        reload_seconds: How often the page loads itself anew; never by default.
    """
    drawn = {panel.panel_id: charts.to_json(panel) for section in sections for panel in section.panels}
    links = [tag("a", section.title, href=f"#{section.anchor}") for section in sections]
    main = [
        tag("section", tag("h2", section.title), section.content, id=section.anchor, class_="part")
        for section in sections
    ]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("title", title),
        tag("style", Markup(_asset("report.css"))),
    ]
    body = [
        tag("header", tag("h1", title), tag("p", subtitle, class_="note")),
        tag("nav", *links, aria_label="Parts of the page"),
        tag("noscript", tag("p", "The figures need JavaScript; the tables do not.", class_="banner")),
        None if reload_seconds is None else _live_banner(reload_seconds),
        *(tag("p", banner, class_="banner") for banner in banners),
        tag("main", *main),
        tag("script", _script_json(drawn), type="application/json", id="figures"),
    ]
    if drawn:
        body.append(tag("script", Markup(get_plotlyjs())))
    body.append(tag("script", Markup(_asset("report.js"))))
    return f"<!doctype html>\n{tag('html', tag('head', *head), tag('body', *body), lang='en')}\n"


def _live_banner(reload_seconds: float) -> Markup:
    """Says that the page is under way; the script reads the seconds, and the button stops it."""
    return tag(
        "p",
        f"A run is under way: this page loads itself anew every {reload_seconds:g} s and keeps your place. ",
        tag("button", "reload by itself", type="button", aria_pressed="true"),
        class_="banner live",
        id="live",
        data_seconds=f"{reload_seconds:g}",
    )


def _script_json(value: Any) -> Markup:
    """JSON that can stand in a script element: no `<`, so no end tag and no comment in any text."""
    written = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Markup(written.replace("<", "\\u003c"))


def _asset(name: str) -> str:
    return resources.files("dmix.training.report").joinpath("assets", name).read_text(encoding="utf-8")
