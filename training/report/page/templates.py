"""The templates of the page: `templates/page.html`, and the macros of `templates/parts.html` as functions.

Jinja2 escapes everything that is no `Markup`, so text of users cannot become markup.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@cache
def environment() -> Environment:
    """Where the templates come from, and that they escape."""
    return Environment(
        loader=PackageLoader("dmix.training.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def part(name: str, **values: Any) -> Markup:
    """What a macro of `parts.html` makes of these values."""
    return Markup(getattr(environment().get_template("parts.html").module, name)(**values).strip())


def joined(contents: Iterable[str]) -> Markup:
    """Contents below each other; plain text is escaped."""
    return Markup("\n").join(contents)
