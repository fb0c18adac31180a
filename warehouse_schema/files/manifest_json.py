"""Manifests as JSON: their format, the digest over what they say, and records made of plain values.

A record is a frozen dataclass whose fields are texts, counts, flags, other records, tuples and mappings of
those. Its types say what the JSON must hold, so one function reads every kind of manifest.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import read_json
from dmix.warehouse_schema.files.storage import Place

FORMAT = 1
# Key of the hash over everything else that a manifest says.
_DIGEST = "digest"
# What a column of the catalog holds.
_COUNTS_END = 2**63

T = TypeVar("T")


def digest_of(value: Any) -> str:
    """SHA-256 of a plain value's canonical JSON form, 64 hexadecimal digits."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # a stranger's JSON may hold half a surrogate pair
    return hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()


def with_digest(value: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says, as plain values, with the digest that `altered` compares."""
    found: dict[str, Any] = json.loads(json.dumps(value))
    return {**found, _DIGEST: digest_of(found)}


def altered(path: Path) -> bool:
    """Whether a manifest says something else than when it was written; False if it has no digest.

    Manifests of dmix 0.1 have none. A digest tells damage and edits by hand, not forgery.

    Raises:
        NotFoundError: If there is no such file.
        InputError: If it is not JSON.
    """
    value = read_json(path)
    if not isinstance(value, dict) or _DIGEST not in value:
        return False
    found = value.pop(_DIGEST)
    return bool(found != digest_of(value))


def manifest_to_json(manifest: Any) -> dict[str, Any]:
    """The plain values of a manifest, a dataclass, with its format and digest."""
    return with_digest({"format": FORMAT, **dataclasses.asdict(manifest)})


def manifest_from_json(cls: type[T], value: Any, where: Place, *, check: Callable[[T, Place], None]) -> T:
    """The manifest that a value of JSON says.

    Args:
        cls: Dataclass of the manifest.
        value: What the file at `where` holds.
        where: The file, for messages.
        check: Raises an InputError about a manifest that must not be used.

    Raises:
        InputError: If it is damaged or from a newer dmix.
    """
    if not isinstance(value, dict):
        raise InputError(
            f"{where} contains a {type(value).__name__}, expected a manifest; restore it from a copy"
        )
    value = dict(value)
    value.pop(_DIGEST, None)
    found = value.pop("format", None)
    if found != FORMAT:
        raise InputError(f"{where} has format {found!r}, but this dmix reads {FORMAT}; update dmix")
    try:
        manifest = record_from_json(cls, value)
        check(manifest, where)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        said = repr(error)[:300]
        raise InputError(f"{where} is damaged ({said}); repeat the command that made it") from None
    return manifest


def record_from_json(cls: type[T], value: Any) -> T:
    """The record whose plain form (`dataclasses.asdict`) was stored as JSON.

    Raises:
        TypeError: If a field lacks, or holds something else than its type says; counts are not negative.
        KeyError: If there is a field that the record does not have.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} is no {cls.__name__}")
    readers = _readers(cast(type, cls))
    return cls(**{name: readers[name](name, item) for name, item in value.items()})


@functools.cache
def _readers(cls: type) -> dict[str, Callable[[str, Any], Any]]:
    return {name: _reader(kind) for name, kind in get_type_hints(cls).items()}


def _reader(kind: Any) -> Callable[[str, Any], Any]:
    """What turns a plain value into one of this type; it takes the field's name, for messages."""
    inner = get_args(kind)
    if NoneType in inner:
        some = _reader(inner[0])
        return lambda name, value: None if value is None else some(name, value)
    if dataclasses.is_dataclass(kind):
        return lambda name, value: record_from_json(cast(type, kind), value)
    if get_origin(kind) is tuple:
        return functools.partial(_tuple_of, _reader(inner[0]))
    if get_origin(kind) is Mapping:
        return functools.partial(_mapping_of, _reader(inner[1]))
    if kind is Any:
        return lambda name, value: value
    return functools.partial(_plain, kind)


def _tuple_of(read: Callable[[str, Any], Any], name: str, value: Any) -> tuple:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} is {value!r}, expected a list")
    return tuple([read(name, item) for item in value])


def _mapping_of(read: Callable[[str, Any], Any], name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is {value!r}, expected names with values")
    return {key: read(name, item) for key, item in value.items()}


def _plain(kind: type, name: str, value: Any) -> Any:
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value < _COUNTS_END):
        raise TypeError(f"{name} is {value!r}, expected {kind.__name__}")
    return value
