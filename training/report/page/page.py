"""The whole page: style, script, plotly and the figures' data inside, no request to anywhere."""

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dmix.training.report.figures import charts
from dmix.training.report.page.parts import Section
from dmix.training.report.page.templates import environment

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
    return (
        environment()
        .get_template("page.html")
        .render(
            title=title,
            subtitle=subtitle,
            sections=sections,
            banners=banners,
            reload_seconds=reload_seconds,
            policy=POLICY,
            style=Markup(_asset("report.css")),
            script=Markup(_asset("report.js")),
            figures=_script_json(drawn),
            plotly=Markup(get_plotlyjs()) if drawn else None,
        )
    )


def _script_json(value: Any) -> Markup:
    """JSON that can stand in a script element: no `<`, so no end tag and no comment in any text."""
    written = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Markup(written.replace("<", "\\u003c"))


def _asset(name: str) -> str:
    return resources.files("dmix.training.report").joinpath("assets", name).read_text(encoding="utf-8")
