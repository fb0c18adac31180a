"""The standard error of Spark's JVM, without the lines that ask nothing of anybody."""

import contextlib
import os
import threading
from collections.abc import Iterator

# Java says so because Spark loads its vectors for machine learning, which dmix does not use; no option of
# Java or Spark turns it off.
_SILENCED = (b"WARNING: Using incubator modules: jdk.incubator.vector",)


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Gives the programs that start inside a standard error that leaves `_SILENCED` out.

    The JVM keeps it to its end; until then, a thread passes all other lines on.
    """
    try:
        kept = os.dup(2)
    except OSError:  # this process has no standard error
        yield
        return
    read, write = os.pipe()
    os.dup2(write, 2)
    os.close(write)
    threading.Thread(target=_pass_on, args=(read, kept), daemon=True).start()
    try:
        yield
    finally:
        os.dup2(kept, 2)


def _pass_on(read: int, kept: int) -> None:
    """Copies lines until their writers have ended; closes both descriptors."""
    rest = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(read, 65536):
            *lines, rest = (rest + chunk).split(b"\n")
            os.write(kept, b"".join(line + b"\n" for line in lines if line.rstrip() not in _SILENCED))
        os.write(kept, rest)
    os.close(read)
    os.close(kept)
