"""Work in a forked child, for what may end the process that does it.

C++ that meets a damaged file may abort, and no `except` holds that. A fork costs some milliseconds,
so that this is for second tries alone.
"""

import os
import pickle
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP)
"""Signals that a process gets for what it does; SIGKILL comes from outside, mostly for want of memory."""


class Ended(NamedTuple):
    """How a child ended.

    Attributes:
        value: What the work returned, if it returned.
        error: What it raised, if it raised.
        ended_by: What ended it, if it was a signal.
        exit_code: With which code it ended, if it gave no answer.
    """

    value: Any = None
    error: BaseException | None = None
    ended_by: signal.Signals | None = None
    exit_code: int | None = None

    @property
    def crashed(self) -> bool:
        """True if the work itself ended the process."""
        return self.ended_by in CRASHES or self.exit_code is not None


def in_child(work: Callable[[], Any]) -> Ended:
    """Does `work` in a fork of this process; its value, and what it raises, have to be picklable."""
    sys.stdout.flush()
    sys.stderr.flush()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(read)
            try:
                answer = pickle.dumps(Ended(value=work()))
            except BaseException as error:  # it is raised again where the parent looks
                answer = _packed_error(error)
            with os.fdopen(write, "wb") as pipe:
                pipe.write(answer)
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return Ended(ended_by=signal.Signals(os.WTERMSIG(status)))
    if not answer:
        return Ended(exit_code=os.waitstatus_to_exitcode(status))
    found: Ended = pickle.loads(answer)
    return found


def _packed_error(error: BaseException) -> bytes:
    try:
        packed = pickle.dumps(Ended(error=error))
        pickle.loads(packed)
    except Exception:
        return pickle.dumps(Ended(error=RuntimeError(f"{type(error).__name__}: {error}")))
    return packed
