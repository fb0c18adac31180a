"""The cause comes first, and what is advised fits it; a defect is what nothing else explains."""

import errno

import pyarrow as pa
import pytest
from safetensors import SafetensorError

from dmix.cli.show.failures import explained
from dmix.warehouse_schema.errors import InputError

WORKER = """
  An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "/opt/dmix/etl/reading/records.py", line 12, in read
    value = convert(row)
{raised}

\tat org.apache.spark.api.python.BasePythonRunner.handlePythonException(PythonRunner.scala:572)
"""


class PythonException(Exception):  # noqa: N818 (the name that Spark gave it)
    """What Spark raises for an exception of a worker: its text alone."""


def from_worker(raised):
    return PythonException(WORKER.format(raised=raised))


def test_the_exception_of_a_worker_is_named_with_its_place():
    failure = explained(from_worker("OverflowError: date value out of range"), command="etl")
    assert failure.message.startswith(
        "OverflowError: date value out of range (/opt/dmix/etl/reading/records.py, line 12)"
    )
    assert "defect of dmix" in failure.message


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (MemoryError(), ["MemoryError", "--max-document-bytes", "local[1,3]"]),
        (pa.ArrowMemoryError("malloc of size 64 failed"), ["malloc of size 64", "memory ran out"]),
        (from_worker("MemoryError"), ["memory ran out", "--max-document-bytes"]),
        (
            from_worker("OSError: [Errno 28] No space left on device: '/x'"),
            ["No space left", "free some space"],
        ),
        (OSError(errno.ENOSPC, "No space left on device"), ["free some space"]),
        (OSError(errno.EMFILE, "Too many open files"), ["ulimit -n"]),
        (FileNotFoundError(errno.ENOENT, "No such file", "/proc/x"), ["/proc/x", "the system refused"]),
        (OSError(errno.ENOLCK, "No locks available"), ["No locks", "takes files, locks and links"]),
        (OSError(errno.ESTALE, "Stale file handle"), ["Stale", "its file system"]),
        (from_worker("BlockingIOError: [Errno 11] Resource temporarily unavailable"), ["system refused"]),
        (SafetensorError('Os { code: 27, kind: FileTooLarge, message: "too large" }'), ["ulimit -f"]),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), ["free some space"]),
        (OSError(errno.EIO, "Input/output error"), ["disk failed", "dmesg"]),
        (from_worker("safetensors_rust.SafetensorError: header too large"), ["header too large", "damaged"]),
    ],
)
def test_what_is_no_defect_is_not_called_one(error, facts):
    failure = explained(error, command="etl")
    for fact in facts:
        assert fact in failure.message
    assert "defect" not in failure.message
    assert failure.exit_code == 1


def test_memory_advice_names_the_setting_of_the_command():
    error = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    assert "microbatch_size" in explained(error, command="train").message
    assert "--max-document-bytes" in explained(error, command="etl").message


def test_an_error_of_dmix_among_the_causes_is_what_is_said():
    error = RuntimeError("wrapped")
    error.__cause__ = InputError("the file a.txt is wrong; correct it")
    failure = explained(error, command="mix")
    assert (failure.message, failure.exit_code) == ("the file a.txt is wrong; correct it", 2)


def test_anything_else_is_a_defect():
    for error in (OSError(errno.EBADF, "Bad file descriptor"), FileNotFoundError("assets/x")):
        assert "This is a defect" in explained(error, command="").message
    assert explained(KeyError("name"), command="").message.startswith("KeyError: 'name'\nThis is a defect")
    assert explained(RuntimeError(), command="").message.startswith("RuntimeError: no message")
