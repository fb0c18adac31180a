import logging
import signal
import subprocess
import sys
import threading

import pytest

from dmix.etl.spark import session
from dmix.etl.spark.session import java_version, no_program_left, parse_java_version, spark_session
from dmix.warehouse_schema.errors import MissingDependencyError


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ("bash: java: command not found", None),
    ],
)
def test_java_version_is_read_from_what_java_prints(printed, version):
    assert parse_java_version(printed) == version


def test_java_of_this_machine_is_found():
    assert java_version() >= session.JAVA_NEEDED


def test_no_java_gives_none(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert java_version() is None
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java_version() is None


@pytest.mark.parametrize("found", [None, 11])
def test_missing_or_old_java_says_how_to_install_it(monkeypatch, found):
    monkeypatch.setattr(session, "java_version", lambda: found)
    wanted = rf"needs Java 17 .*\(found: {found or 'none'}\).*apt-get install openjdk-17"
    with pytest.raises(MissingDependencyError, match=wanted):
        spark_session()


def test_workers_run_this_python_with_one_thread(spark):
    def environment(batches):
        import os

        import pyarrow as pa

        for batch in batches:
            threads = os.environ["OMP_NUM_THREADS"]
            yield pa.RecordBatch.from_pydict({"seen": [f"{sys.executable} {threads}"] * batch.num_rows})

    rows = spark.range(0, 1, 1, 1).mapInArrow(environment, "seen string").collect()
    assert rows[0].seen == f"{sys.executable} 1"


def test_session_is_reused_and_retries_tasks(spark):
    assert spark_session(master="local[2,3]") is spark
    assert spark.sparkContext.master == "local[2,3]"


def test_a_spark_home_without_this_spark_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("SPARK_HOME", str(tmp_path / "none"))
    with pytest.raises(MissingDependencyError, match=r"SPARK_HOME is .*none.*unset SPARK_HOME"):
        session._need_this_spark()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "spark-submit").touch()
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "spark-core_2.13-3.1.2.jar").touch()
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"Spark 3\.1\.2, but pyspark is"):
        session._need_this_spark()


def test_a_user_without_a_name_is_told_what_spark_wants(monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(session.pwd, "getpwuid", unknown)
    with pytest.raises(MissingDependencyError, match=r"user id \d+ has no name in /etc/passwd"):
        session._need_user_name()


def test_java_options_have_no_space_of_a_path_in_them(monkeypatch, tmp_path):
    monkeypatch.setattr(session, "files", lambda package: tmp_path / "my project, here")
    options = session._configuration("local[1]")["spark.driver.extraJavaOptions"]
    assert "my%20project%2C%20here/assets/log4j2.properties" in options.split()[0]


def test_the_end_of_a_connection_to_accumulators_prints_nothing(capsys):
    from pyspark import accumulators

    session._silence_accumulators()
    server = accumulators.AccumulatorTCPServer.__new__(accumulators.AccumulatorTCPServer)
    try:
        raise EOFError
    except EOFError:
        server.handle_error(None, ("127.0.0.1", 1))
    assert capsys.readouterr().err == ""


def test_ctrl_c_cancels_the_jobs_from_another_thread_and_says_nothing(caplog):
    cancelled, before = threading.Event(), signal.getsignal(signal.SIGINT)

    class Context:
        @staticmethod
        def cancelAllJobs():
            cancelled.set()
            raise RuntimeError("the JVM is gone")

    class Session:
        sparkContext = Context()

    levels = {
        name: logging.getLogger(name).level for name in ("py4j", "py4j.clientserver", "py4j.java_gateway")
    }
    try:
        session._interrupt_quietly(Session())
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert cancelled.wait(5)
        logging.getLogger().error("KeyboardInterrupt while sending command.")
        assert caplog.records == []
    finally:
        signal.signal(signal.SIGINT, before)
        logging.getLogger().removeFilter(session._is_no_echo_of_interrupt)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def test_an_interrupted_start_leaves_no_java_and_other_programs_alone():
    older = subprocess.Popen(["sleep", "60"])
    try:
        with pytest.raises(KeyboardInterrupt), no_program_left():
            started = subprocess.Popen(["sh", "-c", "sleep 60 & wait"])
            raise KeyboardInterrupt
        assert started.wait(10) == -signal.SIGKILL and older.poll() is None
        with no_program_left():
            kept = subprocess.Popen(["sleep", "60"])
        assert kept.poll() is None
        kept.kill()
        kept.wait()
    finally:
        older.kill()
        older.wait()
