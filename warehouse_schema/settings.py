"""One declaration of a setting for command line, YAML files and docs.

A configuration is a frozen, keyword-only dataclass whose fields are made by `setting()`. The
command line builds its options from it (`dmix.cli.show.options`), `load_settings` reads the same
names from YAML, and the reference page is generated from it.
"""

import dataclasses
import difflib
import math
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.text_files import parse_yaml, read_text

T = TypeVar("T")

SEEDS = ("seed", "first_seed")
MOST_SEED = 2**31 - 1
"""Largest seed that every generator takes, also with the number of a rank or repeat added to it."""


MOST_COUNT = 2**31 - 1
"""Largest whole number of a setting that declares no other one: what events and the catalog hold."""

MOST_BYTES = 2**50
"""Largest number of bytes that a setting takes."""

MOST_WIDTH = 2**16
"""Largest width, depth or number of the small networks that choose or predict mixtures."""

_LONGEST_SHOWN = 30


def setting(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    choices: tuple[str, ...] | None = None,
    most: int = MOST_COUNT,
) -> Any:
    """A dataclass field that carries its help text.

    Args:
        default: Value when it is not given; leave it out for a required setting.
        help: One sentence with the unit and, where it is not ours, the source of the default.
        choices: The only values allowed, for text settings.
        most: The largest value allowed, for whole numbers.
    """
    metadata = {"help": help, "choices": choices, "most": most}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def load_settings(cls: type[T], path: str | Path) -> T:
    """An instance of the settings class `cls` from the YAML file at `path`.

    Raises:
        NotFoundError: If the file does not exist.
        InputError: If it is not YAML, has an unknown or a missing name, or a value of the wrong type.
    """
    return settings_from(cls, read_yaml(path), where=str(path))


def section_of_run(values: dict[str, Any], section: str) -> dict[str, Any]:
    """A section of a run's `config.yaml`, which may be given in place of its file; other values unchanged."""
    return (values.get(section) or {}) if "run_id" in values else values


def read_yaml(path: str | Path, *, keep_names: bool = False) -> dict[str, Any]:
    """The mapping that a YAML file holds; an empty file gives an empty one.

    Args:
        path: The file.
        keep_names: Leave names as they stand; otherwise `-` becomes `_`, as settings are spelled.

    Raises:
        NotFoundError: If the file does not exist.
        InputError: If it is not YAML, not a mapping, or gives a name twice.
    """
    values = parse_yaml(read_text(path), where=str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(
            f"{path} contains a {type(values).__name__}, expected names with values ('seq_len: 512')"
        )
    named: dict[str, Any] = {}
    for given, value in values.items():
        name = str(given) if keep_names else str(given).replace("-", "_")
        if name in named:
            raise InputError(f"{path} contains {name!r} twice, once as {str(given)!r}; keep one of them")
        named[name] = value
    return named


def settings_from(cls: type[T], values: dict[str, Any], *, where: str) -> T:
    """An instance of the settings class `cls` from plain values, nested ones included.

    Args:
        cls: A dataclass whose fields were made by `setting`.
        values: Names and values as YAML gives them.
        where: What error messages call the origin of the values.

    Raises:
        InputError: For unknown names (with the nearest known one), missing ones, wrong types, numbers
            that are not finite or too large, and seeds out of range.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known ones: {', '.join(fields)}"
            raise InputError(f"{where}: unknown setting {name!r}; {hint}")
    converted = {name: _converted(hints[name], value, f"{where}: {name}") for name, value in values.items()}
    for name in SEEDS:
        seed = converted.get(name)
        if isinstance(seed, int) and not 0 <= seed <= MOST_SEED:
            raise InputError(f"{where}: {name} is {seed}, expected 0 to {MOST_SEED}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in converted:
            raise InputError(f"{where}: setting {name!r} is missing ({field.metadata.get('help', '')})")
        if name in converted:
            _refuse_large(converted[name], field.metadata.get("most", MOST_COUNT), where=f"{where}: {name}")
        choices = field.metadata.get("choices")
        if choices and name in converted and converted[name] not in (*choices, None):
            raise InputError(f"{where}: {name} is {converted[name]!r}, expected one of {', '.join(choices)}")
    return cls(**converted)


def whole_number(given: int | str, *, name: str, most: int = MOST_COUNT) -> int:
    """A number of at least 1 that may be written as text, as where a word is allowed in its place.

    Raises:
        InputError: If it is none, or is too large.
    """
    text = str(given)
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        shown = text if len(text) <= _LONGEST_SHOWN else f"a text of {len(text)} characters"
        raise InputError(f"{name} is {shown!r}, expected auto or a number from 1 to {most}")
    return int(text)


def check_range(
    settings: object,
    *names: str,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    flags: bool = False,
    where: str = "",
) -> None:
    """Refuses numbers of a settings class that are out of range or not finite; None means not given.

    Args:
        settings: The instance.
        names: Its fields.
        least: The smallest value allowed.
        above: What a value must exceed, in place of `least`.
        most: The largest value allowed.
        below: What a value must stay below, in place of `most`.
        flags: Spell the fields as flags of a command.
        where: Stands before the name in the message.

    Raises:
        InputError: If a value is out of range.
    """
    if above is not None:
        limits = "" if most is None else f", at most {_plain(most)}"
        wanted = f"a number above {_plain(above)}{limits}"
        if below is not None:
            wanted = f"between {_plain(above)} and {_plain(below)}"
    elif most is not None or below is not None:
        wanted = f"{_plain(least)} to {_plain(most)}"
        if below is not None:
            wanted = f"{_plain(least)} or more, below {_plain(below)}"
    else:
        wanted = "0 or more" if least == 0 else f"at least {_plain(least)}"
    for name in names:
        value = getattr(settings, name)
        if value is None or (
            (value > above if above is not None else least is not None and value >= least)
            and (most is None or value <= most)
            and (below is None or value < below)
            and (not isinstance(value, float) or math.isfinite(value))
        ):
            continue
        shown = f"--{name.replace('_', '-')}" if flags else name
        raise InputError(f"{where}{shown} is {value}, expected {wanted}")


def _plain(limit: float | None) -> str:
    return f"{limit:g}" if isinstance(limit, float) else str(limit)


def _refuse_large(value: Any, most: int, *, where: str) -> None:
    """Refuses a whole number, or a list with one, that is too large; what is too small is for its class."""
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int) and abs(number) > most:
            text = str(number)
            shown = text if len(text) <= _LONGEST_SHOWN else f"a number of {len(text)} digits"
            raise InputError(f"{where} is {shown}, expected at most {most}")


def _converted(hint: Any, value: Any, where: str) -> Any:
    """`value` as the annotated type; text, numbers, lists and nested settings."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        plain = [a for a in arguments if a is not type(None)]
        for index, argument in enumerate(plain):
            try:
                return _converted(argument, value, where)
            except InputError:
                if index == len(plain) - 1:
                    raise
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise InputError(f"{where} is {value!r}, expected a mapping")
        return settings_from(typing.cast(type, hint), value, where=where)
    if origin in (tuple, list):
        if isinstance(value, str) and arguments[0] is str:
            value = [value]  # one name is a list of one
        if not isinstance(value, list | tuple):
            raise InputError(f"{where} is {value!r}, expected a list")
        return origin(_converted(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise InputError(f"{where} is {value!r}, expected a mapping")
        if not arguments:
            return _finite(value, where)
        return {str(k): _converted(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is Any:
        return _finite(value, where)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)  # YAML 1.1 reads 1e-3 as text
        except OverflowError:
            number = math.inf
        except ValueError:
            raise InputError(f"{where} is {value!r} ({type(value).__name__}), expected float") from None
        if not math.isfinite(number):
            raise InputError(f"{where} is {value!r}, expected a finite number")
        return number
    if isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    wanted = getattr(hint, "__name__", str(hint))
    raise InputError(f"{where} is {value!r} ({type(value).__name__}), expected {wanted}")


def _finite(value: Any, where: str) -> Any:
    """A value of any type, if all numbers in it are finite and the whole ones have at most 64 bits."""
    if isinstance(value, int):
        _refuse_large(value, 2**63 - 1, where=where)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where} is {value!r}, expected a finite number")
    for name, part in value.items() if isinstance(value, dict) else ():
        _finite(part, f"{where}.{name}")
    for index, part in enumerate(value) if isinstance(value, list | tuple) else ():
        _finite(part, f"{where}[{index}]")
    return value
