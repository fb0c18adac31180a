"""Readers see the published file and runs under way, and block nobody."""

import subprocess
import sys

import duckdb
from tests.warehouse_schema.catalog.asking import ask

from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifests import write_corpus_version


def test_an_open_reader_neither_blocks_a_writer_nor_sees_its_work(full_warehouse, make_corpus):
    sync(full_warehouse)
    with Catalog.open_reader(full_warehouse) as old:
        write_corpus_version(full_warehouse, make_corpus(version=2))
        sync(full_warehouse)
        assert old.query("select max(version) from corpora")[1] == [(1,)]
        assert ask(full_warehouse, "select max(version) from corpora") == [(2,)]
        assert old.query("select max(version) from corpora")[1] == [(1,)]


def test_a_plain_duckdb_reader_in_another_process_does_not_block_a_writer(full_warehouse, make_corpus):
    sync(full_warehouse)
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print('open', flush=True);"
    code += "input(); print(c.execute('select max(version) from corpora').fetchone()[0])"
    command = [sys.executable, "-c", code, str(full_warehouse.catalog)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "open\n"
        write_corpus_version(full_warehouse, make_corpus(version=2))
        sync(full_warehouse)
        assert reader.communicate("\n")[0] == "1\n"


def test_readers_work_while_a_writer_holds_the_lock(full_warehouse):
    sync(full_warehouse)
    with held_lock(full_warehouse.lock, what="x"):
        assert ask(full_warehouse, "select count(*) from datasets") == [(1,)]


def test_a_run_under_way_is_seen_without_a_sync(full_warehouse, run_writer):
    sync(full_warehouse)
    run = run_writer(full_warehouse, "live").start().decide(1)
    with open(run.path, "ab") as file:
        file.write(b'{"event": "step_done", "step": 1, "deliv')
    sql = "select step, sum(planned_samples), sum(delivered_samples) from mixture"
    sql += " where run_id = 'live' group by step"
    assert ask(full_warehouse, sql) == [(1, 10, None)]
    run.start(attempt=2).decide(1).finish_step(1).decide(2)
    assert sorted(ask(full_warehouse, sql)) == [(1, 10, 10), (2, 10, None)]
    assert ask(full_warehouse, "select status, attempt from runs where run_id = 'live'") == [("running", 2)]
    with duckdb.connect(str(full_warehouse.catalog), read_only=True) as plain:
        assert plain.execute("select run_id from runs").fetchall() == [("r1",)]


def test_live_rows_replace_imported_ones(full_warehouse, run_writer):
    run = run_writer(full_warehouse, "live").start().decide(1).finish_step(1)
    sync(full_warehouse)
    run.decide(2).score(1, -3.0)
    assert ask(full_warehouse, "select count(*) from mixture where run_id = 'live'") == [(8,)]
    assert ask(full_warehouse, "select score from run_feedback where run_id = 'live'") == [(-3.0,)]
    assert ask(full_warehouse, "select count(*) from runs") == [(2,)]
    assert ask(full_warehouse, "select count(*) from mixture where run_id = 'r1'") == [(4,)]


def test_a_run_that_died_in_silence_is_stale_for_readers_and_after_the_next_sync(full_warehouse, monkeypatch):
    path = str(full_warehouse.run("dead") / "events.jsonl")
    code = "import sys; from pathlib import Path; from dmix.warehouse_schema.files.events import EventLog;"
    code += (
        "EventLog(Path(sys.argv[1]), run_id='dead', attempt=1).write('run_started', space=[['source', 'a']]);"
    )
    code += "print('started', flush=True); input()"
    command = [sys.executable, "-c", code, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        sync(full_warehouse)
        assert ask(full_warehouse, "select status from runs where run_id = 'dead'") == [("running",)]
        process.kill()
    assert ask(full_warehouse, "select status from runs where run_id = 'dead'") == [("stale",)]
    sync(full_warehouse)
    with duckdb.connect(str(full_warehouse.catalog), read_only=True) as plain:
        assert plain.execute("select status from runs where run_id = 'dead'").fetchall() == [("stale",)]


def test_a_damaged_event_file_hides_no_other_run(full_warehouse, run_writer, caplog):
    run = run_writer(full_warehouse, "bad").start()
    sync(full_warehouse)
    with open(run.path, "ab") as file:
        file.write(b"garbage\n")
    assert ask(full_warehouse, "select run_id from runs order by 1") == [("bad",), ("r1",)]
    assert "shows the last imported state of runs/bad/events.jsonl" in caplog.text


def test_a_shell_that_opened_the_catalog_for_writing_blocks_nobody(full_warehouse, make_corpus):
    sync(full_warehouse)
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    command = [sys.executable, "-c", code, str(full_warehouse.catalog)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout.readline() == "open\n"
        assert ask(full_warehouse, "select max(version) from corpora") == [(1,)]
        write_corpus_version(full_warehouse, make_corpus(version=2))
        sync(full_warehouse)
        assert ask(full_warehouse, "select max(version) from corpora") == [(2,)]
        shell.communicate("\n")
    assert ask(full_warehouse, "select max(version) from corpora") == [(2,)]
