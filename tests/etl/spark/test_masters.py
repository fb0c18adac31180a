import os
import socket

import pytest
from pyspark.errors import PySparkRuntimeError, PythonException

from dmix.etl.spark import session
from dmix.etl.spark.masters import addresses, check_master, refuse_connect, spark_errors
from dmix.etl.spark.tasks import run_tasks
from dmix.warehouse_schema.errors import ClusterError, InputError, MissingDependencyError


@pytest.fixture
def listening():
    """A port at which something answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def silent():
    """A port at which nothing answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


@pytest.mark.parametrize("master", ["", "nonsense", "Local[2]", "http://head:7077", "spark://", "local[]"])
def test_what_is_no_master_is_refused_with_those_that_are(master):
    with pytest.raises(InputError, match=r"is not a Spark master; expected local\[N,3\], spark://HOST:PORT"):
        session.spark_session(master=master)


@pytest.mark.parametrize(
    "master", ["local", "local[*,3]", "local-cluster[2,1,1024]", "k8s://https://head:6443", "yarn"]
)
def test_masters_without_an_address_to_try_are_left_to_spark(master, monkeypatch):
    monkeypatch.setenv("HADOOP_CONF_DIR", "/etc/hadoop")
    check_master(master)


def test_yarn_without_the_configuration_of_its_cluster_names_the_variable(monkeypatch):
    for name in ("HADOOP_CONF_DIR", "YARN_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"set HADOOP_CONF_DIR to the folder with its core-site\.xml"):
        check_master("yarn")


@pytest.mark.parametrize(
    ("master", "places"),
    [
        ("spark://head:7077", [("head", 7077)]),
        ("spark://a:7077,b:7078", [("a", 7077), ("b", 7078)]),
        ("spark://[::1]:7077", [("::1", 7077)]),
        ("sc://head", [("head", 15002)]),
        ("sc://head:443/;token=abc;use_ssl=true", [("head", 443)]),
    ],
)
def test_addresses_of_masters_and_connect_servers(master, places):
    assert addresses(master) == places


@pytest.mark.parametrize("master", ["spark://head", "spark://head:port", "spark://a:1,,b:2", "sc://:15002"])
def test_masters_without_host_or_port_are_refused(master):
    with pytest.raises(InputError, match=r"has no host and port; write (spark|sc)://HOST:PORT"):
        addresses(master)


@pytest.mark.parametrize("scheme", ["spark", "sc"])
def test_an_address_at_which_nothing_answers_is_named_at_once(silent, scheme):
    with pytest.raises(ClusterError, match=rf"no Spark at 127\.0\.0\.1:{silent} \(.*refused.*--master"):
        check_master(f"{scheme}://127.0.0.1:{silent}")


def test_one_of_several_masters_that_answers_is_enough(silent, listening):
    check_master(f"spark://127.0.0.1:{silent},127.0.0.1:{listening}")


def test_connect_without_its_packages_names_them(listening, monkeypatch):
    monkeypatch.setitem(session.sys.modules, "pyspark.sql.connect.session", None)
    wanted = r"needs the packages of Spark Connect .*pip install 'pyspark\[connect\]==4.* or give a master"
    with pytest.raises(MissingDependencyError, match=wanted):
        session.spark_session(master=f"sc://127.0.0.1:{listening}")


def test_commands_that_connect_cannot_carry_say_why():
    refuse_connect("spark://head:7077", command="c", reason="r")
    with pytest.raises(InputError, match=r"^c cannot use Spark Connect: r; .* spark://"):
        refuse_connect("sc://head", command="c", reason="r")


def test_what_spark_says_becomes_one_sentence_and_defects_of_tasks_stay():
    with pytest.raises(ClusterError, match=r"^Spark could not start \(Java went away\); try again$"):
        with spark_errors("Spark could not start", fix="try again"):
            raise PySparkRuntimeError("\nJava went away.\n\tat org.apache")
    with pytest.raises(PythonException), spark_errors("Spark gave up", fix="try again"):
        raise PythonException("ZeroDivisionError")


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("Python worker exited unexpectedly (crashed)", "memory ran out"),
        ("java.io.IOException: No space left on device", "free some space"),
        ('Cannot run program "python9"', "PYSPARK_PYTHON"),
        ("java.net.UnknownHostException: laptop", "SPARK_LOCAL_IP"),
        ("something else", "try again"),
    ],
)
def test_advice_follows_what_spark_says(said, advice):
    with pytest.raises(ClusterError, match=advice), spark_errors("Spark gave up", fix="try again"):
        raise PySparkRuntimeError(said)


def test_workers_that_die_again_and_again_are_named_and_memory_is_suspected(spark):
    with pytest.raises(ClusterError, match=r"^a worker process ended with code 1 .*memory ran out"):
        run_tasks(spark, os._exit, [1])


def test_error_of_a_task_that_people_cannot_mend_keeps_its_traceback(spark):
    with pytest.raises(PythonException, match="ZeroDivisionError"):
        run_tasks(spark, divide, [0])


def divide(item):
    return 1 // item
