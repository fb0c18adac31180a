"""Writes docs/reference from the code: commands, files that users write, views of the catalog.

    python docs/generate.py [--check]

The pages are committed, so that they can be read without building the site; a test holds them to
the code.
"""

import dataclasses
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import duckdb

from dmix.cli.main import dmix
from dmix.mixing.trajectories.objectives import Environment, Objective
from dmix.training.model.settings import ModelSettings, ProxySettings, TrainingSettings
from dmix.warehouse_schema.catalog.migrate import load_schema, migrate

FOLDER = Path(__file__).parent / "reference"
_NOTE = "<!-- Written by docs/generate.py from the code; change that. -->\n"

# title, class and what it serves, in the order of the page
FILES: tuple[tuple[str, type, str], ...] = (
    (
        "Environment",
        Environment,
        "`--environment FILE`: the objectives (goals) of a run, with their evaluation items.",
    ),
    (
        "Objective",
        Objective,
        "The value of the key `objectives` in the environment file is a list of these records.",
    ),
    ("Model", ModelSettings, "`--model FILE`: the architecture of a model that starts from random weights."),
    (
        "Proxy",
        ProxySettings,
        "`--proxy FILE` of `dmix mix collect`: the small model that dmix trains under each trajectory.",
    ),
    ("Training", TrainingSettings, "`--training FILE`, and the key `training` of a proxy file."),
)


def pages() -> dict[str, str]:
    """Text of every page by file name."""
    return {
        "commands.md": commands_page(),
        "configuration.md": configuration_page(),
        "catalog.md": catalog_page(),
    }


def commands_page() -> str:
    """All commands with arguments, options and an example."""
    parts = [
        _NOTE,
        "# Commands\n",
        "Every command takes `--config FILE`, a YAML file with flag names as keys."
        " In the tables, a flag without a value is a switch."
        " The [glossary](../glossary.md) explains the words.\n",
    ]
    for words, command in leaves(dmix, ()):
        parts.append(f"## {' '.join(('dmix', *words))}\n")
        text, _, example = (command.help or "").partition("Example: ")
        parts.append(f"{_paragraphs(text)}\n")
        parts.append(f"```bash\n{example.strip()}\n```\n")
        arguments = [p.human_readable_name for p in command.params if isinstance(p, click.Argument)]
        if arguments:
            parts.append(f"Arguments: {', '.join(f'`{name}`' for name in arguments)}\n")
        rows = [_option_row(p) for p in command.params if isinstance(p, click.Option) and not p.hidden]
        parts.append(table(("flag", "value", "meaning", "default"), rows))
    return "\n".join(parts)


def leaves(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        yield words, command
        return
    if command.invoke_without_command:
        yield words, command
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from leaves(found, (*words, name))


def configuration_page() -> str:
    """The fields of the files that users write."""
    parts = [
        _NOTE,
        "# Files that you write\n",
        "`docs/examples` has annotated examples. The [glossary](../glossary.md) explains the words.\n",
    ]
    for title, cls, what in FILES:
        hints = typing.get_type_hints(cls)
        rows = [
            (f"`{f.name}`", _values(f, hints[f.name]), _default(f), f.metadata.get("help", ""))
            for f in dataclasses.fields(cls)
        ]
        parts += [f"## {title}\n", f"{what}\n", table(("key", "value", "default", "meaning"), rows)]
    return "\n".join(parts)


def catalog_page() -> str:
    """Views and columns with the comments that the database itself holds."""
    parts = [
        _NOTE,
        "# The catalog\n",
        "`warehouse/catalog.duckdb` has these views. The database itself has the same comments:"
        " `dmix sql \"SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'runs'\"`."
        " Questions and their SQL are in the [cookbook](../cookbook.md).\n",
    ]
    with duckdb.connect(":memory:") as connection:
        migrate(connection, load_schema())
        views = connection.execute(
            "select view_name, comment from duckdb_views() where not internal order by view_name"
        ).fetchall()
        for view, comment in views:
            columns = connection.execute(
                "select column_name, data_type, comment from duckdb_columns()"
                " where table_name = ? and schema_name = 'main' order by column_index",
                [view],
            ).fetchall()
            rows = [(f"`{name}`", kind.lower(), text) for name, kind, text in columns]
            parts += [f"## {view}\n", f"{comment}.\n", table(("column", "type", "meaning"), rows)]
    return "\n".join(parts)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: str) -> str:
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def _option_row(option: click.Option) -> tuple[str, str, str, str]:
    text, _, default = (option.help or "").partition("  [default: ")
    flags = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    shown = default.removesuffix("]")
    if not shown and option.show_default and option.default not in (None, "", ()):
        shown = str(option.default)
    return f"{flags}{' (required)' if option.required else ''}", _value_name(option), text, shown


def _value_name(option: click.Option) -> str:
    """What a flag takes: its choices, its placeholder, or a kind of number; empty for a switch."""
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return _alternatives(option.type.choices)
    if option.metavar:
        return f"`{option.metavar}`"
    return {int: "integer", float: "number"}.get(_python_type(option.type), "text")


def _python_type(kind: click.ParamType) -> type:
    if isinstance(kind, (click.IntRange, type(click.INT))):
        return int
    return float if isinstance(kind, (click.FloatRange, type(click.FLOAT))) else str


def _alternatives(choices: Iterable[Any]) -> str:
    return ", ".join(f"`{choice}`" for choice in choices)


def _values(field: Any, hint: Any) -> str:
    """The allowed texts of a field, else its type."""
    choices = field.metadata.get("choices")
    return _alternatives(choices) if choices else _type_name(hint)


def _type_name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else _type_name(a) for a in arguments)
    if origin in (tuple, list):
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return f"mapping to {_type_name(arguments[1])}"
    if dataclasses.is_dataclass(hint):
        return "mapping"
    return {str: "text", bool: "true or false", int: "integer", float: "number"}.get(hint, "any value")


def _default(field: Any) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    if dataclasses.is_dataclass(value):
        return "the defaults of a training file"
    if value is None:
        return "null"
    return str(list(value) if isinstance(value, tuple) else value)


def main() -> int:
    """Writes the pages; with --check only says which ones differ, and ends with 1 if one does."""
    check, stale = "--check" in sys.argv[1:], []
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = FOLDER / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    print(f"{'differ' if check else 'written'}: {', '.join(stale) or 'none'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
