"""The Spark session of every command: local by default, quiet, with the right Python and Java.

Spark moves numbers of tasks here and no text (`dmix.etl.spark.tasks`), so the JVM needs little
memory; the memory of a job is that of its Python workers.
"""

import importlib
import os
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from dmix.etl.spark.masters import CONNECT, check_master, spark_errors
from dmix.warehouse_schema.errors import MissingDependencyError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JAVA_NEEDED = 17
DEFAULT_MASTER = "local[*,3]"
"""All cores; a task that fails for no reason of its own is tried three times (plain `local[*]`: once)."""

_FRUGAL_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""The JVM runs for seconds and moves numbers: compiling for speed and collecting in parallel cost more
than they give."""

_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


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
    _need_connect_packages() if connect else _need_java()
    check_master(master)
    from pyspark.sql import SparkSession

    with spark_errors(f"Spark could not start on {master}", fix="correct --master (or DMIX_MASTER)"):
        if connect:
            return SparkSession.builder.remote(master).appName(app).getOrCreate()
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder = SparkSession.builder.master(master).appName(app)
        for name, value in _configuration(master).items():
            builder = builder.config(name, value)
        session: SparkSession = builder.getOrCreate()
        return session


def _need_java() -> None:
    found = java_version()
    if found is None or found < JAVA_NEEDED:
        raise MissingDependencyError(
            f"dmix needs Java {JAVA_NEEDED} or newer for Spark (found: {found or 'none'}); install it, on"
            " Debian or Ubuntu with 'sudo apt-get install openjdk-17-jre-headless', elsewhere from"
            " https://adoptium.net, or set JAVA_HOME"
        )


def _need_connect_packages() -> None:
    try:
        importlib.import_module("pyspark.sql.connect.session")
    except Exception as error:  # protobuf refuses an old version by an exception of its own
        from pyspark import __version__

        said = str(error).strip().splitlines()[0][:200]
        raise MissingDependencyError(
            f"a master of the form {CONNECT}… needs the packages of Spark Connect ({said}); run"
            f" pip install 'pyspark[connect]=={__version__}' in an environment without dmix's extras 'code'"
            " and 'dev', whose protobuf is older, or name the cluster by spark://, yarn or k8s://"
        ) from None


def _configuration(master: str) -> dict[str, str]:
    values = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "1g",
        "spark.executorEnv.TOKENIZERS_PARALLELISM": "false",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_log4j_file()} {_FRUGAL_JAVA}",
        **{f"spark.executorEnv.{name}": "1" for name in _ONE_THREAD},
    }
    if master.startswith("local"):
        # a laptop without network, or with a VPN, cannot resolve its own name
        values |= {"spark.driver.host": "localhost", "spark.driver.bindAddress": "127.0.0.1"}
    return values


def _log4j_file() -> Path:
    """Settings of Spark's own log: errors alone, on stderr; failed tasks reach people through dmix."""
    return Path(str(files("dmix.etl") / "assets" / "log4j2.properties"))
