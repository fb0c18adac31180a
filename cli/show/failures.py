"""The message for an exception that no command expects: the true cause, and what to do about it.

| what happened | what is said |
|---|---|
| an error of dmix stands among the causes | that one |
| memory ran out, of the machine, a worker or a GPU | which setting to lower |
| a disk is full, refuses or fails; too many open files | what to free, check or raise |
| the system refuses anything else | that it did, and to check the path and the file system |
| anything in a Spark task | type, message and place from the worker, then as above |
| bytes that a library cannot read | that a file is damaged, and where to look for its name |
| anything else | that it is a defect of dmix |
"""

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass

from dmix.warehouse_schema.errors import DmixError, StorageError
from dmix.warehouse_schema.files.layout import storage_errors, system_error

_DEFECT = "This is a defect of dmix. Add --debug to see its place in the code."
_MOST_CHARACTERS = 300
_MEMORY = re.compile(
    r"out of memory|cannot allocate memory|malloc of size|unable to allocate|can't allocate memory"
    r"|alloc_cpu|std::bad_alloc|(Java heap|GC overhead)",
    re.IGNORECASE,
)
_MEMORY_TYPES = ("MemoryError", "ArrowMemoryError", "OutOfMemoryError", "_ArrayMemoryError")
_DAMAGE_TYPES = (
    "SafetensorError",
    "BadZipFile",
    "UnpicklingError",
    "ArrowInvalid",
    "BadGzipFile",
    "ZstdError",
)
_LOWER = {
    "etl": "run fewer tasks at the same time (--master 'local[1,3]') or lower --max-document-bytes",
    "train": "lower microbatch_size in the training file, or --batch-size",
    "mix": "lower microbatch_size in the training settings, --stack or --candidates",
    "eval": "free some memory, or give fewer --task",
}
# What the system answers to a mistake of a program.
_OF_PROGRAMS = (errno.EBADF, errno.EFAULT, errno.EINVAL, errno.ENOTTY, errno.ECHILD, errno.ESRCH)
_RAISED = re.compile(
    r"^(?P<type>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning|Fault)\w*)(?:: (?P<said>.*))?$"
)
_PLACE = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+), in ')


@dataclass(frozen=True)
class Failure:
    """What is shown.

    Attributes:
        message: One or two sentences, the cause first.
        exit_code: As the README documents it.
    """

    message: str
    exit_code: int = 1


@dataclass(frozen=True)
class _Cause:
    """An exception of this process or of a worker, as far as it is known."""

    type: str
    said: str
    place: str = ""
    number: int | None = None

    def __str__(self) -> str:
        said = self.said[:_MOST_CHARACTERS] or "no message"
        return f"{self.type}: {said}{f' ({self.place})' if self.place else ''}"


def explained(error: BaseException, *, command: str) -> Failure:
    """The message for an exception.

    Args:
        error: What a command raised and did not foresee.
        command: First word of the command, by which the advice is chosen.
    """
    for one in _chain(error):
        if isinstance(one, DmixError):
            return Failure(one.message, one.exit_code)
    causes = [_cause(one) for one in _chain(error)]
    for cause in causes:
        advice = _advice(cause, command)
        if advice is not None:
            return Failure(f"{cause}; {advice}")
        if cause.number is not None:
            try:
                with storage_errors("a file"):
                    raise OSError(cause.number, cause.said)
            except StorageError as stored:
                said = f"{stored.message} ({cause.place})" if cause.place else stored.message
                return Failure(said, stored.exit_code)
            except OSError:
                pass
    for cause in causes:
        if cause.number is not None and cause.number not in _OF_PROGRAMS:
            return Failure(
                f"{cause}; the system refused this: check that the path exists and that its file system"
                " takes files, locks and links, then run the same command again"
            )
    return Failure(f"{causes[0]}\n{_DEFECT}")


def _advice(cause: _Cause, command: str) -> str | None:
    """What to do about a cause that is no defect; None if it may be one."""
    name = cause.type.rpartition(".")[2]
    if name in _MEMORY_TYPES or cause.number == errno.ENOMEM or _MEMORY.search(cause.said):
        lower = _LOWER.get(command, "close other programs, or use a machine with more memory")
        return f"memory ran out: {lower}, then run the same command again"
    if cause.number in (errno.EMFILE, errno.ENFILE):
        return "too many files are open: raise the limit ('ulimit -n 65536'), then run the same command again"
    if cause.number == errno.EIO:
        return "the disk failed: check it (run dmesg to see its errors), or use another disk"
    if name in _DAMAGE_TYPES and cause.number is None:
        return (
            "a file is damaged: run 'dmix etl verify' to find it. Restore the file, or remove it and run "
            "the command again that made it"
        )
    return None


def _cause(error: BaseException) -> _Cause:
    text = str(error).strip()
    if "Traceback (most recent call last)" in text:
        found = worker_cause(text)
        if found is not None:
            return found
    number = error.errno if isinstance(error, OSError) else system_error(text)
    first = text.splitlines()[0] if text else ""
    return _Cause(type(error).__name__, first, number=number)


def worker_cause(text: str) -> _Cause | None:
    """The exception at the end of the last traceback in a text of Spark; None if there is none."""
    found, place = None, ""
    for line in text.splitlines():
        at = _PLACE.match(line)
        if at is not None:
            place = f"{at['file']}, line {at['line']}"
        raised = _RAISED.match(line.strip())
        # what a worker raises stands at the margin, behind its traceback
        if raised is not None and place and not raised["type"].startswith(("org.", "java.")):
            said = raised["said"] or ""
            number = re.match(r"\[Errno (\d+)\]", said)
            found = _Cause(raised["type"], said, place, int(number[1]) if number else None)
            place = ""
    return found


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
