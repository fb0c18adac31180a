import io
import json
import signal
import subprocess
import sys
import time

import pytest

from dmix.cli.main import run
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.files.layout import Warehouse

SPACE = [["source", "Games"], ["target", "Games"]]


@pytest.fixture
def warehouse(tmp_path, monkeypatch):
    """A warehouse with one run under way, chosen through the environment."""
    warehouse = Warehouse.at(tmp_path / "w")
    log = EventLog(warehouse.run("r1") / "events.jsonl", run_id="r1", attempt=1)
    log.write(
        "run_started", kind="guided", controller="naive", config={}, space=SPACE, resumed_from_step=None
    )
    log.write(
        "decision",
        step=1,
        asked_N=[0.25, 0.75],
        planned_N=[0.25, 0.75],
        planned_samples_N=[2, 6],
        reasons={},
        remarks=[],
        decided_to=1,
    )
    monkeypatch.setenv("DMIX_WAREHOUSE", str(warehouse.root))
    return warehouse


QUERY = "select step, field, planned_weight, planned_samples, reason from mixture order by field"


def test_json_is_a_list_of_objects(warehouse, capsys):
    assert run(["sql", QUERY, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first == {
        "step": 1, "field": "source", "planned_weight": 0.25, "planned_samples": 2, "reason": None
    }  # fmt: skip
    assert second["planned_samples"] == 6


def test_json_lines_are_one_object_a_line(warehouse, capsys):
    assert run(["sql", QUERY, "--format", "jsonl"]) == 0
    assert [json.loads(line)["field"] for line in capsys.readouterr().out.splitlines()] == [
        "source",
        "target",
    ]


def test_csv_has_a_header_and_empty_nulls(warehouse, capsys):
    assert run(["sql", QUERY, "--format", "csv"]) == 0
    assert capsys.readouterr().out == (
        "step,field,planned_weight,planned_samples,reason\n1,source,0.25,2,\n1,target,0.75,6,\n"
    )


def test_a_table_is_the_default(warehouse, capsys):
    assert run(["sql", QUERY]) == 0
    out = capsys.readouterr().out
    assert "planned_samples" in out and "source" in out


def test_a_dash_reads_the_statement_from_stdin(warehouse, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("select count(*) as n\nfrom runs;\n"))
    assert run(["sql", "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"n": 1}]


def test_values_that_json_lacks_are_written_plainly(warehouse, capsys):
    sql = (
        "select 'nan'::double as a, timestamp '2026-01-02 03:04:05' as b, 1.5::decimal(4, 1) as c,"
        " [1, 2] as d, {'x': 1} as e, sum(2) as f, 1 as f, interval 1 minute as g"
    )
    assert run(["sql", sql, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "a": None,
            "b": "2026-01-02T03:04:05",
            "c": 1.5,
            "d": [1, 2],
            "e": {"x": 1},
            "f": 2,
            "f_2": 1,
            "g": 60.0,
        }
    ]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("selec 1", 'Parser Error: syntax error at or near "selec"'),
        ("select * from nowhere", "Catalog Error: Table with name nowhere does not exist"),
        ("select * from nowhere", "SHOW TABLES lists the views"),
        ("select * from steps where run_id = 'a'", 'Did you mean "run_steps"?'),
        ("select 1; select 2", "got 2 SQL statements, expected 1"),
        ("insert into runs values (1)", "got INSERT, but the catalog is read only"),
        ("from read_csv('/etc/hostname')", "has been disabled by configuration"),
        ("  ", "query is empty"),
    ],
)
def test_bad_statements_exit_2_with_a_message_and_no_traceback(warehouse, capsys, sql, message):
    assert run(["sql", sql]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_allow_io_reads_files(warehouse, capsys, tmp_path):
    (tmp_path / "a.csv").write_text("x\n7\n")
    assert run(["sql", f"from read_csv('{tmp_path}/a.csv')", "--allow-io", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"x": 7}]


def test_a_query_ends_within_its_memory(warehouse, capsys):
    for sql in (
        "select len(range(4000000000))",
        "select range as a, repeat('x', 1000000) from range(100000)",
    ):
        assert run(["sql", sql, "--memory-gb", "0.5"]) == 2
        error = capsys.readouterr().err
        assert "more memory than its limit" in error and "--memory-gb" in error


@pytest.mark.parametrize("sql", ["select sleep_ms(60000)", "select count(*) from range(1000000000000)"])
def test_ctrl_c_ends_a_query_with_130(warehouse, sql):
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from dmix.warehouse_schema.catalog import catalog as c; checked = c.checked_statement\n"
        "def say(*a, **k): print('asked', flush=True); return checked(*a, **k)\n"
        "c.checked_statement = say\nfrom dmix.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "sql", sql]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"asked\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert b"interrupted" in process.communicate(timeout=20)[1]
    assert process.returncode == 130


def test_a_missing_warehouse_exits_2(tmp_path, capsys):
    assert run(["sql", "from runs", "--warehouse", str(tmp_path / "none")]) == 2
    assert "does not exist; run 'dmix etl classify' first" in capsys.readouterr().err


def test_settings_come_from_a_file_and_flags_win(warehouse, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("format: csv\n")
    assert run(["sql", "select 1 as one", "--config", str(tmp_path / "c.yaml")]) == 0
    assert capsys.readouterr().out == "one\n1\n"
    assert run(["sql", "select 1 as one", "--config", str(tmp_path / "c.yaml"), "--format", "jsonl"]) == 0
    assert capsys.readouterr().out == '{"one": 1}\n'


def test_a_reader_that_closes_the_pipe_early_is_no_error(warehouse):
    code = "from dmix.cli.main import main; main()"
    command = [sys.executable, "-c", code, "sql", "from range(200000)", "--format", "jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b'{"range": 0}\n'
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(("done", "arrow"), [(True, False), (False, True)])
def test_arrow_is_imported_for_runs_under_way_alone_and_pandas_never(warehouse, done, arrow):
    log = EventLog(warehouse.run("r1") / "events.jsonl", run_id="r1", attempt=1)
    if done:
        log.write("run_done", step=1, detail="")
    sync(warehouse)
    code = (
        "import atexit, sys; from dmix.cli.main import main; names = ('pyarrow', 'pandas', 'asyncio');"
        "atexit.register(lambda: print([n in sys.modules for n in names], file=sys.stderr)); main()"
    )
    command = [sys.executable, "-c", code, "sql", "select count(*) as n from mixture", "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == [{"n": 2}]
    assert answer.stderr == f"{[arrow, False, False]}\n"


def test_no_rows_of_a_run_that_is_not_there_name_the_runs(warehouse, capsys):
    assert run(["sql", "select * from mixture where run_id = 'r2'"]) == 0
    said = capsys.readouterr().err
    assert "no run is called 'r2' (known runs: r1)" in said
    assert run(["sql", "select * from mixture where run_id = 'r1' and step = 99"]) == 0
    assert "no run is called" not in capsys.readouterr().err
