"""Controllers of one's own: `python:MODULE:CLASS`, or `python:FILE.py:CLASS`.

The class is called without arguments, or with `argument=` if the spec goes on: `python:MODULE:CLASS:TEXT`.
A file is read once in a process: the bytes whose digest was looked at (`code_digest`) are those that run.
"""

import hashlib
import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from dmix.mixing.controllers.interface import Controller, context_of
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.names import from_home


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """The user's controller.

    Raises:
        NotFoundError: If the file or the module does not exist.
        InputError: If the module fails, or has no such class, or the class is no controller.
    """
    where, _, rest = argument.partition(":")
    name, colon, text = rest.partition(":")
    if not where or not name:
        raise InputError(
            f"python:{argument} contains no class; write python:MODULE:CLASS or python:FILE.py:CLASS"
        )
    module = load_module(where)
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [key for key, value in vars(module).items() if _is_own_controller(value, module)]
        raise InputError(
            f"{where} has no class {name!r} (available controllers: {', '.join(classes) or 'none'})"
        )
    try:
        controller: Any = found(argument=text) if colon else found()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise InputError(f"{where}: {name}() failed ({type(error).__name__}: {error})") from error
    if not callable(getattr(controller, "propose", None)):
        raise InputError(f"{where}: {name} has no method propose(history); see docs/controllers.md")
    if not isinstance(getattr(controller, "name", None), str):
        controller.name = f"python:{name}"
    made: Controller = controller
    context_of(made)  # a wrong one is named here, not after the first step
    return made


def code_digest(spec: str) -> str | None:
    """SHA-256 of the code that a controller is made of; None if dmix brings it. Nothing is run.

    Of a module, it is the digest of its file; modules that it imports are not looked at.

    Args:
        spec: One of `dmix.mixing.controllers.registry.CONTROLLERS`.

    Raises:
        NotFoundError: If the file or the module does not exist.
    """
    kind, _, argument = spec.partition(":")
    where = argument.partition(":")[0]
    if kind != "python":
        return None
    if where.endswith(".py"):
        return hashlib.sha256(_source(from_home(where))).hexdigest()
    top, *rest = where.split(".")
    # `find_spec` of a dotted name would run the packages above it
    found = importlib.util.find_spec(top) if top.isidentifier() else None
    for folder in found.submodule_search_locations or [] if found else []:
        place = Path(folder, *rest)
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if rest and path.is_file():
                return hashlib.sha256(_source(path)).hexdigest()
    if found is None:
        raise NotFoundError(
            f"module {where!r} is not installed; install it, or give its file: python:FILE.py:CLASS"
        )
    origin = Path(found.origin) if found.origin and Path(found.origin).is_file() and not rest else None
    return hashlib.sha256(where.encode() if origin is None else _source(origin)).hexdigest()


def load_module(where: str) -> ModuleType:
    """The module of a dotted name or of a .py file, loaded once.

    Raises:
        NotFoundError: If it does not exist.
        InputError: If it raises when it is loaded.
    """
    try:
        if where.endswith(".py"):
            return _load_file(from_home(where))
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if where != error.name and not where.startswith(f"{error.name}."):
            raise InputError(f"module {where} needs {error.name}, which is not installed") from error
        raise NotFoundError(
            f"module {where!r} is not installed; install it, or give its file: python:FILE.py:CLASS"
        ) from error
    except (InputError, NotFoundError):
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise InputError(f"dmix cannot load {where} ({type(error).__name__}: {error})") from error


def _load_file(path: Path) -> ModuleType:
    source = _source(path)
    # Under a name of its own, so that pickles of its objects find it again.
    name = f"dmix_custom_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__dmix_source__", None) == source:
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__dmix_source__"] = source
    sys.modules[name] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _source(path: Path) -> bytes:
    """The bytes of a file of code, read once in this process as long as the file stays the same."""
    if not path.is_file():
        raise NotFoundError(f"file {path} does not exist")
    found = path.stat()
    return _read_once(path, found.st_ino, found.st_size, found.st_mtime_ns)


@cache
def _read_once(path: Path, *_: int) -> bytes:
    return path.read_bytes()


def _is_own_controller(value: object, module: ModuleType) -> bool:
    return isinstance(value, type) and value.__module__ == module.__name__ and hasattr(value, "propose")
