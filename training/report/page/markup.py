"""HTML that escapes by construction: text becomes markup through `tag` alone."""

from collections.abc import Iterable
from html import escape


class Markup(str):
    """Text that is HTML already; every plain `str` is escaped when it is put into a tag."""

    __slots__ = ()


# Elements without content and end tag.
_VOID = {"meta", "br", "hr", "col", "input"}


def tag(name: str, /, *children: "str | int | None", **attributes: "str | int | bool | None") -> Markup:
    """One element.

    Args:
        name: Element name.
        children: Content in order; plain text is escaped, None is nothing.
        attributes: `class_` is `class`, other underscores become hyphens; True is an attribute
            without value, None and False leave it out.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: "Iterable[str | int | None]") -> Markup:
    """Neighbouring pieces as one; plain text is escaped."""
    return Markup("".join(_child(child) for child in children))


def _child(child: "str | int | None") -> str:
    if child is None:
        return ""
    return child if isinstance(child, Markup) else escape(str(child), quote=False)


def _attribute(key: str, value: "str | int | bool | None") -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
