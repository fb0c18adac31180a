"""Keeps pandas out of processes that have no use for it."""

import sys
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def keep_pandas_out() -> None:
    """Lets PyArrow look for pandas once, in vain; else it imports pandas for the first list that it gets.

    That takes 0.3 s and 40 MB. pandas itself can still be imported afterwards, but Arrow makes no data
    frames in this process: for worker processes and commands that ask for none.
    """
    import pyarrow as pa

    nowhere = _Nowhere()
    sys.meta_path.insert(0, nowhere)
    pa.array([0])
    sys.meta_path.remove(nowhere)


def compute(function: str, *values: Any) -> Any:
    """What a function of Arrow makes of arrays, tables and scalars; `function` is its name in Arrow.

    As in `pyarrow.compute`, whose import takes 0.1 s to wrap and document all functions. Methods such as
    `Table.take` and `Array.cast` import it, too.
    """
    from pyarrow._compute import call_function

    return call_function(function, list(values))


def array_of(numbers: "NDArray") -> Any:
    """The Arrow array of NumPy numbers (no truth values), shape (n,), over the same memory.

    As `pyarrow.array`, which first imports `numpy.ma` (25 ms) to ask whether some numbers are masked.
    """
    import numpy as np
    import pyarrow as pa

    numbers = np.ascontiguousarray(numbers)
    kind = pa.from_numpy_dtype(numbers.dtype)
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers)])


def hide_pandas() -> None:
    """Lets nothing in this process import pandas any more: for commands that mostly do without Arrow, too."""
    sys.meta_path.insert(0, _Nowhere())


class _Nowhere(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
