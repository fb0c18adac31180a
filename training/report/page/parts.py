"""What the sections of the page are made of."""

from dataclasses import dataclass

from dmix.training.report.figures.charts import Panel
from dmix.training.report.page.markup import Markup, tag


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: Its id, the target of links.
        title: Heading and entry of the contents.
        content: What stands below the heading.
        panels: Panels whose figures the content has places for.
    """

    anchor: str
    title: str
    content: Markup
    panels: tuple[Panel, ...] = ()


def place(panel: Panel) -> Markup:
    """Controls and empty boxes of a panel; the page's script draws into them."""
    controls = [
        tag(
            "fieldset",
            tag("legend", choice.label),
            *(
                tag(
                    "button",
                    text,
                    type="button",
                    data_value=value,
                    aria_pressed="true" if first == 0 else "false",
                )
                for first, (value, text) in enumerate(choice.options)
            ),
        )
        for choice in panel.choices
    ]
    boxes = [
        tag(
            "figure",
            tag("figcaption", figure.title),
            tag(
                "div",
                class_="plot",
                role="img",
                aria_label=f"{figure.title}. {panel.note}",
                # the room that the drawing will take, so that nothing moves when it is drawn
                style=f"height:{figure.height}px" if figure.height else None,
            ),
            tag("div", class_="legend"),
            data_figure=index,
        )
        for index, figure in enumerate(panel.figures)
    ]
    return tag(
        "section",
        tag("div", *controls, class_="controls") if controls else None,
        tag("div", *boxes, class_="figures" if len(boxes) > 1 else "figures single"),
        tag("p", panel.note, class_="note") if panel.note else None,
        class_="panel",
        id=panel.panel_id,
    )


def folded(title: str, content: Markup, *, anchor: str) -> Markup:
    """Content that a click unfolds; `anchor` names it when the page reloads."""
    return tag("details", tag("summary", title), content, id=anchor)
