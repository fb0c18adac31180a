"""Which file of weights is damaged, for errors of libraries that do not say."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dmix.warehouse_schema.errors import DmixError, InputError


def damaged_weights(folder: Path) -> str:
    """The first safetensors file of a folder that cannot be read, and why; empty if all can.

    Header and length are looked at, not the numbers: only checksums could tell whether those are right.
    """
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                file.keys()
        except Exception as error:  # safetensors raises a type of its own, or OSError
            return f"{path} is damaged ({_first_line(error)})"
    return ""


@contextmanager
def readable(path: Path, *, what: str, fix: str) -> Iterator[None]:
    """Names the file in what torch or safetensors raise for one that is damaged.

    Args:
        path: The file that is read.
        what: What it holds.
        fix: What to do about it.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        yield
    except DmixError:
        raise
    except Exception as error:  # pickle, zip, safetensors and torch raise many kinds
        if isinstance(error, MemoryError):
            raise
        raise InputError(f"{path} cannot be read as {what} ({_first_line(error)}); {fix}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
