"""Options that several commands share, and options made from settings classes.

Precedence: YAML file (`--config`) < environment (`DMIX_*`) < flag.
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from dmix.etl.spark.masters import DEFAULT_MASTER, IN_PROCESS_BYTES
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.settings import MOST_BYTES, MOST_COUNT, read_yaml, settings_from

T = TypeVar("T")
Command = Callable[..., Any]


class FiniteFloat(click.FloatRange):
    """A number that is neither NaN nor infinite: NaN is below no limit and above none."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        number = super().convert(value, parameter, context)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", parameter, context)
        return number

    def _describe_range(self) -> str:
        """The range as help shows it; empty for a number without limits, for which click says `x<=None`."""
        return "" if self.min is None and self.max is None else super()._describe_range()


class Count(click.IntRange):
    """A whole number from `min` to a limit that help does not show."""

    def __init__(self, min: int, *, most: int = MOST_COUNT) -> None:
        super().__init__(min=min)
        self.most = most

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        number = super().convert(value, parameter, context)
        if number > self.most:
            self.fail(f"{number} is too large, expected at most {self.most}", parameter, context)
        return number


class SectionedGroup(click.Group):
    """A group whose help lists its options under headings.

    Args:
        sections: Names of parameters by heading, in order; what none of them names is under `Other`.
    """

    def __init__(self, *arguments: Any, sections: dict[str, tuple[str, ...]], **values: Any) -> None:
        super().__init__(*arguments, **values)
        self.sections = sections

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes one list of options per heading, then the sub-commands."""
        records = {
            str(parameter.name): record
            for parameter in self.get_params(context)
            if (record := parameter.get_help_record(context)) is not None
        }
        named = {name for names in self.sections.values() for name in names}
        sections = {**self.sections, "Other": tuple(name for name in records if name not in named)}
        for heading, names in sections.items():
            rows = [records[name] for name in names if name in records]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)
        self.format_commands(context, formatter)


def warehouse_option(command: Command) -> Command:
    """`--warehouse DIR`, handed on as a `Warehouse`."""

    def convert(context: click.Context, parameter: click.Parameter, value: str) -> Warehouse:
        return Warehouse.at(value)

    return click.option(
        "--warehouse",
        default="./warehouse",
        envvar="DMIX_WAREHOUSE",
        show_default=True,
        show_envvar=True,
        metavar="DIR",
        callback=convert,
        help="Folder of the warehouse, which has all data of a project.",
    )(command)


def data_url_option(command: Command) -> Command:
    """`--data-url URL`."""
    return click.option(
        "--data-url",
        envvar="DMIX_DATA_URL",
        show_envvar=True,
        metavar="URL",
        help="Remote folder for labels and streams, for example s3://bucket/folder. The warehouse stores "
        "this URL, and later commands use it.",
    )(command)


def json_option(command: Command) -> Command:
    """`--json`, handed on as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(command)


def dry_run_option(command: Command) -> Command:
    """`--dry-run`."""
    return click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")(command)


def dataset_option(command: Command) -> Command:
    """`--dataset ID`, which may be left out when the warehouse has one."""
    return click.option(
        "--dataset",
        metavar="ID|NAME",
        help="Dataset to use. Default: the dataset, if the warehouse has only one.",
    )(command)


def corpora_option(command: Command) -> Command:
    """`--corpus NAME[@vK]`, handed on as names for `resolve_corpora`."""
    return click.option(
        "--corpus",
        multiple=True,
        metavar="NAME[@vK]",
        help="Corpus (named set of documents) to use. NAME@vK is version K of a corpus, and NAME its newest "
        "version. Repeat the flag for several corpora. Default: X-source and X-target, if the "
        "warehouse has exactly one such pair.",
    )(command)


def unscreened_option(command: Command) -> Command:
    """`--allow-unscreened`."""
    return click.option(
        "--allow-unscreened",
        is_flag=True,
        help="Only warn if the dataset may contain evaluation items. Default: dmix refuses the dataset. "
        "'dmix etl shard --environment' leaves out documents with items.",
    )(command)


def executor_options(command: Command) -> Command:
    """`--master URL` and `--in-process-bytes N`, handed on as `executor`, which starts what it needs."""

    @functools.wraps(command)
    def call(*arguments: Any, master: str | None, in_process_bytes: int, **values: Any) -> Any:
        from dmix.etl.spark.executors import Automatic

        app = click.get_current_context().command_path
        values["executor"] = Automatic(master=master, app=app, in_process_bytes=in_process_bytes)
        return command(*arguments, **values)

    call = click.option(
        "--in-process-bytes",
        type=Count(min=0, most=MOST_BYTES),
        default=IN_PROCESS_BYTES,
        envvar="DMIX_IN_PROCESS_BYTES",
        show_default=True,
        help="Largest input, in bytes, that dmix processes without Spark. With --master, dmix always uses "
        "Spark.",
    )(call)
    return master_option(call)


def master_option(command: Command) -> Command:
    """`--master URL` of Spark; None if none is named."""
    return click.option(
        "--master",
        envvar="DMIX_MASTER",
        show_envvar=True,
        metavar="URL",
        help="URL of the Spark master. With this flag, dmix uses Spark for inputs of any size. Default of "
        f"commands that need Spark: {DEFAULT_MASTER} (all cores, and at most 3 attempts per task).",
    )(command)


def config_option(command: Command) -> Command:
    """`--config FILE`: YAML with the names of the flags; flags and environment win over it.

    The first option, so it has to be the decorator next to `@click.command()`.
    """

    def load(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
        if value is None:
            return None
        known = {p.name: p for p in context.command.params if p.name not in ("config", "help")}
        flags = {flag.lstrip("-").replace("-", "_"): p for p in known.values() for flag in p.opts}
        defaults: dict[str, Any] = {}
        for name, given in read_yaml(value).items():
            option = flags.get(name) or known.get(name)
            if option is None:
                raise InputError(f"{value}: unknown setting {name!r}; known ones: {', '.join(sorted(flags))}")
            multiple = isinstance(option, click.Option) and option.multiple
            if isinstance(given, list) and not multiple:
                raise InputError(f"{value}: {name} is {given!r}, expected a single value")
            assert option.name is not None
            defaults[option.name] = [given] if multiple and not isinstance(given, list) else given
        context.default_map = {**(context.default_map or {}), **defaults}
        return value

    return click.option(
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=load,
        help="YAML file with flag names as keys.",
    )(command)


def warehouse_options(command: Command) -> Command:
    """`--config FILE` and `--warehouse DIR`, the first options of most commands."""
    return config_option(warehouse_option(command))


def settings_options(
    cls: type[Any], *, parameter: str = "settings", hidden: tuple[str, ...] = ()
) -> Callable[[Command], Command]:
    """One option for each field of a settings class; the command gets an instance of it.

    Args:
        cls: A settings class (`dmix.warehouse_schema.settings`).
        parameter: Name of the argument that the command receives.
        hidden: Fields that get no option.
    """
    hints = typing.get_type_hints(cls)
    fields = [f for f in dataclasses.fields(cls) if f.name not in hidden]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def call(*arguments: Any, **values: Any) -> Any:
            given = {field.name: values.pop(field.name) for field in fields}
            given = {name: value for name, value in given.items() if value not in (None, ())}
            values[parameter] = settings_from(cls, given, where="command line")
            return command(*arguments, **values)

        for field in reversed(fields):
            flag = field.name.replace("_", "-")
            call = click.option(
                f"--{flag}/--no-{flag}" if hints[field.name] is bool else f"--{flag}",
                field.name,
                type=_click_type(hints[field.name], field.metadata.get("choices")),
                default=None,
                envvar=f"DMIX_{field.name.upper()}",
                multiple=typing.get_origin(hints[field.name]) in (tuple, list),
                help=_help(field),
            )(call)
        return call

    return decorate


def retired_options(**replacements: str) -> Callable[[Command], Command]:
    """Hidden options for flags that are gone, by parameter name: each is refused with what replaces it."""

    def refuse(context: click.Context, parameter: click.Parameter, value: object) -> None:
        if context.get_parameter_source(str(parameter.name)) is not ParameterSource.DEFAULT:
            raise InputError(f"{parameter.opts[0]} no longer exists: {replacements[str(parameter.name)]}")

    def decorate(command: Command) -> Command:
        for name in replacements:
            flag = f"--{name.replace('_', '-')}"
            command = click.option(
                flag,
                f"--no-{flag[2:]}",
                name,
                hidden=True,
                expose_value=False,
                is_flag=False,
                flag_value="",
                callback=refuse,
            )(command)
        return command

    return decorate


def _help(field: Any) -> str:
    text: str = field.metadata.get("help", "")
    if field.default is dataclasses.MISSING or field.default in (None, "", ()):
        return text
    default = ", ".join(field.default) if isinstance(field.default, tuple) else field.default
    return f"{text}  [default: {default}]"


def _click_type(hint: Any, choices: tuple[str, ...] | None) -> Any:
    if choices:
        return click.Choice(choices)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        plain = [a for a in arguments if a is not type(None)]
        return _click_type(plain[0], None) if len(plain) == 1 else str
    if origin in (tuple, list):
        return _click_type(arguments[0], None)
    if hint is Path:
        return click.Path(path_type=Path)
    return hint if hint in (int, float, bool, str) else str


def was_given(context: click.Context, name: str) -> bool:
    """True if the user gave option `name`, by flag, environment or `--config`."""
    return context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)
