"""Controllers of one's own: `python:MODULE:CLASS`, or `python:FILE.py:CLASS`.

The class is called without arguments, or with `argument=` if the spec goes on: `python:MODULE:CLASS:TEXT`.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from dmix.mixing.controllers.interface import Controller
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse


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
            f"python:{argument} does not name a class; write python:MODULE:CLASS or python:FILE.py:CLASS"
        )
    module = load_module(where)
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [key for key, value in vars(module).items() if _is_own_controller(value, module)]
        raise InputError(f"{where} has no class {name!r} (controllers there: {', '.join(classes) or 'none'})")
    try:
        controller: Any = found(argument=text) if colon else found()
    except (Exception, SystemExit) as error:
        raise InputError(f"{where}: {name} cannot be made ({type(error).__name__}: {error})") from error
    if not callable(getattr(controller, "propose", None)):
        raise InputError(f"{where}: {name} has no method propose(history); see docs/controllers.md")
    if not isinstance(getattr(controller, "name", None), str):
        controller.name = f"python:{name}"
    made: Controller = controller
    return made


def load_module(where: str) -> ModuleType:
    """The module of a dotted name or of a .py file, loaded once.

    Raises:
        NotFoundError: If it does not exist.
        InputError: If it raises when it is loaded.
    """
    try:
        if where.endswith(".py"):
            return _load_file(Path(where).expanduser())
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if where != error.name and not where.startswith(f"{error.name}."):
            raise InputError(f"module {where} needs {error.name}, which is not installed") from error
        raise NotFoundError(
            f"module {where!r} is not installed; install it, or name its file: python:FILE.py:CLASS"
        ) from error
    except (InputError, NotFoundError):
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{where} fails when it is loaded ({type(error).__name__}: {error})") from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise NotFoundError(f"file {path} does not exist")
    # Under a name of its own, so that pickles of its objects find it again.
    name = f"dmix_custom_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _is_own_controller(value: object, module: ModuleType) -> bool:
    return isinstance(value, type) and value.__module__ == module.__name__ and hasattr(value, "propose")
