"""What the sections of the page are made of."""

from dataclasses import dataclass

from markupsafe import Markup

from dmix.training.report.figures.charts import Panel
from dmix.training.report.page.templates import part


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: Its id, the target of links.
        title: Heading and entry of the contents.
        content: What stands below the heading.
        panels: Panels whose figures the content has boxes for.
        opened: Whether its content shows at first; None for a part that does not fold.
    """

    anchor: str
    title: str
    content: Markup
    panels: tuple[Panel, ...] = ()
    opened: bool | None = None


def panel_box(panel: Panel) -> Markup:
    """Controls and empty boxes of a panel; the page's script draws into them."""
    return part("panel", panel=panel)


def note(text: str) -> Markup:
    """A remark in small print."""
    return part("note", text=text)


def folded(title: str, content: Markup, *, anchor: str) -> Markup:
    """Content that a click unfolds; `anchor` names it when the page reloads."""
    return part("folded", title=title, content=content, anchor=anchor)
