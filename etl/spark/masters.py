"""What `--master` may name, and a sentence for people where Spark cannot be started or goes away.

Spark itself answers a wrong master with a stack trace, and one that is down after a minute and a half
(over Connect after ten), so that the address is tried here first.
"""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from dmix.warehouse_schema.errors import ClusterError, InputError

DEFAULT_MASTER = "local[*,3]"
"""All cores; a task that fails for no reason of its own is tried three times (plain `local[*]`: once)."""

IN_PROCESS_BYTES = 8 << 30
"""Without a master, inputs up to this size in bytes are worked on without Spark (`--in-process-bytes`).

A choice: the two ways do not cross on a machine of two cores (docs/log.md, 2026-11-29), since Spark starts a
JVM and then runs the same tasks in as many processes. From some GB on its start no longer counts, and it
sorts what memory cannot hold."""

CONNECT = "sc://"
CONNECT_PORT = 15002
"""Where a Spark Connect server listens unless told otherwise."""

_KNOWN = re.compile(r"local(-cluster)?(\[.+\])?|yarn|(spark|k8s|sc)://.+")
_ANSWER_SECONDS = 10


def check_master(master: str) -> None:
    """Refuses what Spark could not start on, before it tries.

    Raises:
        InputError: If this is no master, or YARN is named and its configuration is not.
        ClusterError: If nothing listens at the address of a standalone master or Connect server.
    """
    if not _KNOWN.fullmatch(master):
        raise InputError(
            f"--master {master!r} is not a Spark master; expected local[N,3], spark://HOST:PORT, yarn, "
            "k8s://https://HOST:PORT or sc://HOST:PORT"
        )
    if master == "yarn" and not any(os.environ.get(name) for name in ("HADOOP_CONF_DIR", "YARN_CONF_DIR")):
        raise InputError(
            "--master yarn needs the cluster's configuration; set HADOOP_CONF_DIR to the folder with its"
            " core-site.xml and yarn-site.xml"
        )
    if master.startswith(("spark://", CONNECT)):
        _check_address(master)


def refuse_connect(master: str, *, command: str, reason: str) -> None:
    """For commands that Spark Connect cannot carry.

    Args:
        master: As the user gave it.
        command: Name of the command.
        reason: What it needs that Connect has not.

    Raises:
        InputError: If the master is a Connect server.
    """
    if master.startswith(CONNECT):
        raise InputError(
            f"{command} cannot use Spark Connect: {reason}; give a master with spark://, yarn or k8s://"
        )


def addresses(master: str) -> list[tuple[str, int]]:
    """Hosts and ports of a standalone master (one or several, by commas) or Connect server.

    Raises:
        InputError: If there is none.
    """
    scheme, _, rest = master.partition("://")
    found = []
    for place in re.split("[;/]", rest, maxsplit=1)[0].split(","):
        match = re.fullmatch(r"(\[[^]]+\]|[^:]+)(?::(\d+))?", place)
        if match is None or not (match[2] or scheme == "sc"):
            raise InputError(f"--master {master!r} has no host and port; write {scheme}://HOST:PORT")
        found.append((match[1].strip("[]"), int(match[2] or CONNECT_PORT)))
    return found


def _check_address(master: str) -> None:
    failures = []
    for host, port in addresses(master):
        try:
            socket.create_connection((host, port), timeout=_ANSWER_SECONDS).close()
            return
        except OSError as error:
            failures.append(f"{host}:{port} ({error.strerror or error})")
    raise ClusterError(
        f"there is no Spark at {', '.join(failures)}; start Spark there, or correct --master (or DMIX_MASTER)"
    )


@contextmanager
def spark_errors(what: str, *, fix: str) -> Iterator[None]:
    """Turns what Spark itself raises into one sentence.

    Exceptions of Python code that ran in a worker are let through: they are defects.

    Args:
        what: What could not be done, for example "Spark could not start".
        fix: What to do about it, where what Spark says does not tell (`_FIXES`).

    Raises:
        ClusterError: In place of errors of Spark or of its JVM.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException, PythonException

    try:
        yield
    except PythonException:
        raise
    except (Py4JError, PySparkException) as error:
        raise ClusterError(f"{what} ({_said(error)}); {_fix(error) or fix}") from error


def worker_errors() -> AbstractContextManager[None]:
    """Says what to do when Spark gives a job up because its workers died."""
    return spark_errors(
        "Spark gave up",
        fix="check that the whole cluster is running, then run the same command again to resume",
    )


_FIXES = (
    (
        r"exited unexpectedly|Python worker crashed|OutOfMemoryError|Container killed",
        "most likely memory ran out: run fewer processes (--master 'local[1,3]'; on a cluster, fewer "
        "cores or more memory per executor), then run the same command again to resume",
    ),
    (
        r"No space left on device|Disk quota exceeded|Failed to create local dir",
        "free some space in Spark's own folder (SPARK_LOCAL_DIRS or /tmp), then run the same command "
        "again to resume",
    ),
    (
        r"Cannot run program|Python in worker has different version|PYTHON_VERSION_MISMATCH",
        "set PYSPARK_PYTHON to a Python of this version that all workers have, with dmix installed",
    ),
    (
        r"No module named '?dmix",
        "install dmix on the workers, or send it with the job (docs/guide/cluster.md)",
    ),
    (
        r"UnknownHostException|BindException|Cannot assign requested address",
        "set SPARK_LOCAL_IP to an address of this machine, for example 127.0.0.1",
    ),
)
"""What Spark says, and what helps."""


def _fix(error: Exception) -> str | None:
    """What to do about an error by what Spark says of it; None if that does not tell."""
    return next((fix for pattern, fix in _FIXES if re.search(pattern, str(error))), None)


def _said(error: Exception) -> str:
    """What Spark says of an error, in one line."""
    java = getattr(error, "java_exception", None)
    text = (java.getMessage() if java is not None else None) or str(error)
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    # the reason stands at the end of a chain of wrappers, before Spark's hints on its own settings
    line = line.rpartition("Exception: ")[2] if "most recent failure" in line else line
    return line.partition(" Consider setting")[0].rstrip(".")[:300]
