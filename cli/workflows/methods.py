"""Methods of a session made from workflows, so that names, defaults and help are declared once."""

import dataclasses
import difflib
import inspect
import os
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dmix.cli.show.notebook import progress_lines
from dmix.cli.show.result import Result
from dmix.etl.spark.masters import IN_PROCESS_BYTES
from dmix.warehouse_schema.settings import settings_from

PathLike = str | os.PathLike[str]
Paths = PathLike | Sequence[PathLike]
Names = PathLike | Sequence[PathLike | int] | int

# Flags whose name the code of a workflow does not use; a flag that may be repeated is in the singular.
_FLAGS = {
    "set_name": "set",
    "set_names": "set",
    "agent_name": "agent",
    "run_id": "run",
    "export_to": "export",
    "form": "format",
    "origin": "from_",
}
_REPEATED = {
    "runs": "run",
    "probes": "probe",
    "bases": "base",
    "steps": "step",
    "tasks": "task",
    "loggers": "logger",
    "setting_names": "setting",
    "stages": "stage",
    "regressors": "regressor",
}
# Arguments of workflows that a session gives by itself.
_OWN = ("warehouse", "progress", "given")
_EXECUTOR = {
    "master": (
        "Spark master. Default: `$DMIX_MASTER`. With a master, dmix uses Spark for inputs of any size."
    ),
    "in_process_bytes": (
        "Maximum size of the input in bytes that dmix processes without Spark. With `master`, "
        "this setting has no effect."
    ),
}


def method_of(
    workflow: Callable[..., Result | None], *, command: str, settings: Mapping[str, type[Any]] | None = None
) -> Callable[..., Result]:
    """A method of `Session` that calls a workflow.

    It takes the workflow's arguments under the names of the command's flags, paths as text too, one
    value in place of a sequence, and one keyword for each field of a settings class.

    Args:
        workflow: Takes a warehouse, if it needs one, keywords and `progress`.
        command: The command that calls the same workflow, for the help text.
        settings: Settings class of an argument of the workflow, by its name.
    """
    classes = dict(settings or {})
    parameters = inspect.signature(workflow).parameters
    own = {
        name: parameter for name, parameter in parameters.items() if name not in (*_OWN, "executor", *classes)
    }
    flags = {name: _flag(parameter) for name, parameter in own.items()}
    has_executor = "executor" in parameters

    def method(self: Any, **values: Any) -> Result:
        bound = _bound(signature, self, values, name=method.__name__)
        arguments = {
            name: _converted(own[name], bound[flag]) for name, flag in flags.items() if flag in bound
        }
        if has_executor:
            arguments["executor"] = _executor(bound.get("master"), bound.get("in_process_bytes"))
        elif "master" in own:
            arguments["master"] = _master(bound.get("master"))
        for name, cls in classes.items():
            fields = [field.name for field in dataclasses.fields(cls)]
            given = {field: bound[field] for field in fields if bound.get(field) is not None}
            arguments[name] = settings_from(cls, given, where=f"{method.__name__}()")
        if "warehouse" in parameters:
            arguments["warehouse"] = self.warehouse
        with progress_lines() as progress:
            found = workflow(**arguments, progress=progress)
        return Result({}) if found is None else found

    shown = [_parameter(flags[name], parameter) for name, parameter in own.items()]
    if has_executor:
        shown += [_keyword("master", None, str | None), _keyword("in_process_bytes", IN_PROCESS_BYTES, int)]
    shown += [parameter for cls in classes.values() for parameter in setting_parameters(cls)]
    signature = inspect.Signature(
        [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD), *shown],
        return_annotation=Result,
    )
    method.__signature__ = signature  # type: ignore[attr-defined]
    method.__doc__ = _help(workflow, command, flags, has_executor, list(classes.values()))
    return method


def _bound(
    signature: inspect.Signature, session: Any, values: dict[str, Any], *, name: str
) -> dict[str, Any]:
    """The arguments of a call.

    Raises:
        TypeError: If one is missing or not known; the message names method and argument, as Python's do.
    """
    unknown = [given for given in values if given not in signature.parameters]
    if unknown:
        close = difflib.get_close_matches(unknown[0], list(signature.parameters), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise TypeError(f"{name}() got an unexpected keyword argument {unknown[0]!r}{hint}")
    try:
        return signature.bind(session, **values).arguments
    except TypeError as error:
        raise TypeError(f"{name}(): {error}") from None


def setting_parameters(cls: type[Any]) -> list[inspect.Parameter]:
    """One keyword for each field of a settings class."""
    hints = typing.get_type_hints(cls)
    return [_keyword(field.name, _default(field), hints[field.name]) for field in dataclasses.fields(cls)]


def several(given: Any) -> tuple[Any, ...]:
    """One value, or a sequence of them, as a tuple."""
    return (given,) if isinstance(given, str | int | os.PathLike) else tuple(given)


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default


def _flag(parameter: inspect.Parameter) -> str:
    if parameter.annotation == Sequence[str]:
        return _REPEATED.get(parameter.name, parameter.name)
    return _FLAGS.get(parameter.name, parameter.name)


def _parameter(flag: str, parameter: inspect.Parameter) -> inspect.Parameter:
    wider = {Path: PathLike, Path | None: PathLike | None, Sequence[Path]: Paths, Sequence[str]: Names}
    annotation = wider.get(parameter.annotation, parameter.annotation)
    return parameter.replace(name=flag, annotation=annotation, kind=inspect.Parameter.KEYWORD_ONLY)


def _converted(parameter: inspect.Parameter, value: Any) -> Any:
    """A value as the workflow takes it."""
    if parameter.annotation == Sequence[Path]:
        return tuple(Path(path) for path in several(value))
    if parameter.annotation == Sequence[str]:
        return tuple(str(each) for each in several(value))
    if value is None:
        return None
    if parameter.annotation in (Path, Path | None):
        return Path(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _master(given: str | None) -> str | None:
    return given or os.environ.get("DMIX_MASTER") or None


def _executor(master: str | None, in_process_bytes: int | None) -> Any:
    from dmix.etl.spark.executors import Automatic

    limit = IN_PROCESS_BYTES if in_process_bytes is None else in_process_bytes
    return Automatic(master=_master(master), app="dmix", in_process_bytes=limit)


def _help(
    workflow: Callable[..., Any],
    command: str,
    flags: Mapping[str, str],
    has_executor: bool,
    classes: Sequence[type[Any]],
) -> str:
    """The workflow's docstring with the arguments of the method."""
    text, _, rest = inspect.cleandoc(workflow.__doc__ or "").partition("\nArgs:\n")
    arguments, *others = re.split(r"\n\n", rest, maxsplit=1)
    described = dict(re.findall(r"^    (\w+): ((?:.*)(?:\n      .*)*)", arguments, flags=re.MULTILINE))
    lines = [f"    {flag}: {described[name]}" for name, flag in flags.items() if name in described]
    if has_executor:
        lines += [f"    {name}: {words}" for name, words in _EXECUTOR.items()]
    for cls in classes:
        lines += [f"    {f.name}: {f.metadata.get('help', '')}" for f in dataclasses.fields(cls)]
    return "\n".join(
        [f"{text.rstrip()}\n\nThe command `{command}` does the same.\n\nArgs:", *lines, "", *others]
    )
