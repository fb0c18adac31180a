"""The Spark session of every command: local by default, quiet, with the right Python and Java.

Spark moves numbers of tasks here and no text (`dmix.etl.spark.tasks`), so the JVM needs little
memory; the memory of a job is that of its Python workers.
"""

import contextlib
import importlib
import logging
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from dmix.etl.spark.jvm_output import quiet_start
from dmix.etl.spark.masters import CONNECT, DEFAULT_MASTER, check_master, spark_errors
from dmix.etl.spark.pool import ONE_THREAD
from dmix.warehouse_schema.errors import MissingDependencyError, first_line

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

JAVA_NEEDED = 17
_FRUGAL_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""The JVM runs for seconds and moves numbers: compiling for speed and collecting in parallel cost more
than they give."""


def java_version() -> int | None:
    """Major version of the Java that Spark will start; None if there is none."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if java is None:
        return None
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return None
    return parse_java_version(done.stderr + done.stdout)


def parse_java_version(text: str) -> int | None:
    """Major version in what `java -version` prints: 17 for "17.0.15", 8 for "1.8.0_402"."""
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(match[1]) if match else None


def spark_session(*, master: str = DEFAULT_MASTER, app: str = "dmix") -> "SparkSession":
    """The running session of this process, or a new one.

    Workers use this Python (unless `PYSPARK_PYTHON` says otherwise) and one thread each for
    linear algebra and tokenizers, since a task has a core. Over Spark Connect (`sc://`) the server's
    settings say both.

    Args:
        master: Spark master URL, for example `local[2,3]` or `spark://host:7077`.
        app: Name that Spark shows.

    Raises:
        InputError: If this is no master.
        MissingDependencyError: If Java is missing or too old, or what Spark Connect needs is.
        ClusterError: If Spark cannot be reached or started.
    """
    connect = master.startswith(CONNECT)
    if connect:
        _need_connect_packages()
    else:
        _need_java()
        _need_this_spark()
        _need_user_name()
    check_master(master)
    from pyspark.sql import SparkSession

    with spark_errors(f"Spark could not start on {master}", fix="correct --master (or DMIX_MASTER)"):
        if connect:
            return SparkSession.builder.remote(master).appName(app).getOrCreate()
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder = SparkSession.builder.master(master).appName(app)
        for name, value in _configuration(master).items():
            builder = builder.config(name, value)
        _silence_accumulators()
        with quiet_start(), no_program_left():
            session: SparkSession = builder.getOrCreate()
        _interrupt_quietly(session)
        return session


@contextlib.contextmanager
def no_program_left() -> Iterator[None]:
    """Ends the programs that the body started, if it fails or is interrupted.

    A JVM whose starter is interrupted before both are connected runs for ever (Spark 4.3): its main thread
    fails, since the file for its port is gone, and the thread that waits for connections goes on.
    """
    process = psutil.Process()
    before = {child.pid for child in process.children()}
    try:
        yield
    except BaseException:
        for started in process.children():
            if started.pid not in before:
                for program in (*started.children(recursive=True), started):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        program.kill()
        raise


def _need_java() -> None:
    found = java_version()
    if found is None or found < JAVA_NEEDED:
        raise MissingDependencyError(
            f"Spark needs Java {JAVA_NEEDED} or newer (found: {found or 'none'}). Install Java, or set "
            "JAVA_HOME. Debian and Ubuntu: 'sudo apt-get install openjdk-17-jre-headless'. Other "
            "systems: https://adoptium.net"
        )


def _need_this_spark() -> None:
    """Refuses a `SPARK_HOME` without a Spark, or with another one than pyspark is made for."""
    home = os.environ.get("SPARK_HOME")
    if not home:
        return
    from pyspark import __version__

    if not Path(home, "bin", "spark-submit").is_file():
        raise MissingDependencyError(
            f"SPARK_HOME is {home!r}, but this folder has no bin/spark-submit; correct SPARK_HOME, or "
            "run 'unset SPARK_HOME' to use the Spark of dmix"
        )
    found = {jar.stem.rpartition("-")[2] for jar in Path(home, "jars").glob("spark-core_*.jar")}
    if found and __version__ not in found:
        raise MissingDependencyError(
            f"SPARK_HOME is {home!r} with Spark {', '.join(sorted(found))}, but pyspark is "
            f"{__version__}; run 'unset SPARK_HOME' to use the Spark of dmix"
        )


def user_name() -> str | None:
    """Name of the user in the system's list of them; None for a bare number, as containers have."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None


NO_USER_NAME = (
    "add the user to the image (for example RUN useradd --uid UID NAME), or start the container with "
    "--user and a known user name"
)


def _need_user_name() -> None:
    if user_name() is None:
        raise MissingDependencyError(
            f"user id {os.getuid()} has no name in /etc/passwd, and Spark needs a user name; {NO_USER_NAME}"
        )


def _silence_accumulators() -> None:
    """Keeps Spark's accumulator server from printing a traceback when the JVM ends first, as on Ctrl-C."""
    from pyspark import accumulators

    def log(server: object, request: object, client_address: object) -> None:
        logger.debug("the connection to Spark's accumulators ended", exc_info=True)

    for name in ("AccumulatorTCPServer", "AccumulatorUnixServer"):
        server = getattr(accumulators, name, None)
        if server is not None:
            server.handle_error = log


def _interrupt_quietly(session: "SparkSession") -> None:
    """Makes Ctrl-C cancel Spark's jobs and raise `KeyboardInterrupt`, and nothing else.

    Spark's own handler calls the JVM in the middle of another call, which breaks the connection and
    prints two tracebacks before the message for people. Here, another thread does.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    logging.getLogger().addFilter(_is_no_echo_of_interrupt)
    context = session.sparkContext

    def cancel() -> None:
        with contextlib.suppress(Exception):
            context.cancelAllJobs()

    def interrupt(number: int, frame: object) -> None:
        for name in ("py4j", "py4j.clientserver", "py4j.java_gateway"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        threading.Thread(target=cancel, daemon=True).start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)


def _is_no_echo_of_interrupt(record: logging.LogRecord) -> bool:
    """False for what py4j says of an interrupt that it passes on."""
    return "KeyboardInterrupt while sending command" not in record.getMessage()


def _need_connect_packages() -> None:
    try:
        importlib.import_module("pyspark.sql.connect.session")
    except Exception as error:  # protobuf refuses an old version by an exception of its own
        from pyspark import __version__

        raise MissingDependencyError(
            f"a master of the form {CONNECT}… needs the packages of Spark Connect ({first_line(error)}); run "
            f"pip install 'pyspark[connect]=={__version__}', or give a master with spark://, yarn or k8s://. "
            "The extras 'code' and 'dev' of dmix need an older protobuf, so use an environment without "
            "them"
        ) from None


def _configuration(master: str) -> dict[str, str]:
    values = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "1g",
        "spark.executorEnv.TOKENIZERS_PARALLELISM": "false",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_log4j_url()} {_FRUGAL_JAVA}",
        **{f"spark.executorEnv.{name}": "1" for name in ONE_THREAD},
    }
    if master.startswith("local"):
        # a laptop without network, or with a VPN, cannot resolve its own name
        values |= {"spark.driver.host": "localhost", "spark.driver.bindAddress": "127.0.0.1"}
    return values


def _log4j_url() -> str:
    """Settings of Spark's own log: errors alone, on stderr; failed tasks reach people through dmix."""
    # by URL, since Java options are split at spaces
    return Path(str(files("dmix.etl") / "assets" / "log4j2.properties")).as_uri()
