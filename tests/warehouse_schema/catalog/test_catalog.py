import os
import resource
import shutil
import signal
import subprocess
import sys
import warnings

import duckdb
import pyarrow.parquet as pq
import pytest

from dmix.warehouse_schema.catalog import catalog as catalog_module
from dmix.warehouse_schema.catalog.bounds import ends_on_interrupt
from dmix.warehouse_schema.catalog.catalog import Catalog, export_views, rebuild, sync, sync_at_end
from dmix.warehouse_schema.catalog.migrate import Migration, Schema, load_schema
from dmix.warehouse_schema.errors import CatalogError, InputError, LockHeldError, NotFoundError, StorageError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifests import write_corpus_version

# Kills itself with the copy complete and the old catalog still in place.
DIE_BEFORE_PUBLISHING = """
import os, signal, sys
from dmix.warehouse_schema.catalog import catalog
from dmix.warehouse_schema.files.layout import Warehouse
real = os.replace
def replace(source, target):
    if str(target).endswith("catalog.duckdb"):
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
os.replace = replace
catalog.sync(Warehouse.at(sys.argv[1]))
"""


def ask(warehouse, sql):
    with Catalog.open_reader(warehouse) as catalog:
        return catalog.query(sql)[1]


def everything(warehouse):
    """All rows of all public views, in an order of their own."""
    with Catalog.open_reader(warehouse) as catalog:
        return {view: sorted(map(repr, catalog.query(f"from {view}")[1])) for view in catalog.views()}


def hidden_files(warehouse):
    return [path.name for path in warehouse.root.glob(".catalog-*")]


def test_sync_needs_a_warehouse(tmp_path):
    with pytest.raises(NotFoundError, match="does not exist; run 'dmix etl classify' first"):
        sync(Warehouse.at(tmp_path / "none"))


def test_an_empty_warehouse_has_empty_views(warehouse):
    sync(warehouse)
    assert set(map(len, everything(warehouse).values())) == {0}


def test_a_second_sync_publishes_nothing(full_warehouse):
    sync(full_warehouse)
    before = full_warehouse.catalog.stat()
    sync(full_warehouse)
    after = full_warehouse.catalog.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert hidden_files(full_warehouse) == []


def test_a_missing_catalog_is_made_by_the_first_reader(full_warehouse):
    assert ask(full_warehouse, "select corpus from corpora") == [("main-source",)]
    assert full_warehouse.catalog.exists()


def test_rebuild_equals_incremental_sync(full_warehouse, make_corpus, run_writer):
    sync(full_warehouse)
    write_corpus_version(full_warehouse, make_corpus(version=2, games=9))
    sync(full_warehouse)
    run = run_writer(full_warehouse, "r2").start()
    sync(full_warehouse)
    run.decide(1).finish_step(1).end(1, "run_failed")
    shutil.rmtree(full_warehouse.agent("a1"))
    sync(full_warehouse)
    incremental = everything(full_warehouse)
    rebuild(full_warehouse)
    assert everything(full_warehouse) == incremental
    assert [len(incremental[view]) for view in ("corpora", "rejects", "agents", "runs")] == [2, 4, 0, 2]


def test_rebuild_replaces_a_damaged_catalog(full_warehouse):
    full_warehouse.catalog.write_bytes(b"no database" * 1000)
    for use in (sync, lambda w: ask(w, "from runs")):
        with pytest.raises(CatalogError, match=r"cannot use catalog .* run 'dmix catalog rebuild'"):
            use(full_warehouse)
    rebuild(full_warehouse)
    assert ask(full_warehouse, "select count(*) from runs") == [(1,)]


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


def test_a_second_writer_learns_who_the_first_is(full_warehouse):
    with held_lock(full_warehouse.lock, what="x"):
        with pytest.raises(LockHeldError, match=f"is locked by process {os.getpid()} on .*waited 0.1 s"):
            sync(full_warehouse, lock_seconds=0.1)


def test_a_held_catalog_does_not_undo_what_a_command_made(full_warehouse):
    lines = []
    with held_lock(full_warehouse.lock, what="x"):
        assert not sync_at_end(full_warehouse, warn=lines.append, lock_seconds=0.1)
    [line] = lines
    assert f"process {os.getpid()}" in line
    assert f"dmix catalog rebuild --warehouse {full_warehouse.root}" in line
    assert sync_at_end(full_warehouse, warn=lines.append)
    assert len(lines) == 1 and ask(full_warehouse, "select count(*) from datasets") == [(1,)]


def test_a_writer_killed_before_publishing_leaves_the_old_catalog(full_warehouse, make_corpus):
    sync(full_warehouse)
    write_corpus_version(full_warehouse, make_corpus(version=2))
    killed = subprocess.run(
        [sys.executable, "-c", DIE_BEFORE_PUBLISHING, str(full_warehouse.root)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(hidden_files(full_warehouse)) >= 1
    assert ask(full_warehouse, "select max(version) from corpora") == [(1,)]
    sync(full_warehouse)
    assert ask(full_warehouse, "select max(version) from corpora") == [(2,)]
    assert hidden_files(full_warehouse) == []


def test_a_failing_import_leaves_the_old_catalog_and_no_copy(full_warehouse, make_corpus, monkeypatch):
    sync(full_warehouse)
    write_corpus_version(full_warehouse, make_corpus(version=2))

    def fail(*_):
        raise duckdb.IOException('Could not write file "x": No space left on device')

    monkeypatch.setattr(catalog_module, "import_units", fail)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        sync(full_warehouse)
    assert hidden_files(full_warehouse) == []
    assert ask(full_warehouse, "select max(version) from corpora") == [(1,)]


@pytest.mark.parametrize("write", [rebuild, sync])
def test_a_disk_that_fills_up_leaves_the_old_catalog(full_warehouse, make_corpus, write):
    sync(full_warehouse)
    before = full_warehouse.catalog.read_bytes()
    write_corpus_version(full_warehouse, make_corpus(version=2))
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 4, hard))
    try:
        with pytest.raises(StorageError, match=r"free some space|raise the limit"):
            write(full_warehouse)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    assert full_warehouse.catalog.read_bytes() == before
    assert hidden_files(full_warehouse) == []


def test_a_catalog_without_one_of_its_tables_names_the_way_out(full_warehouse):
    sync(full_warehouse)
    with duckdb.connect(str(full_warehouse.catalog)) as connection:
        connection.execute("drop table store.corpora cascade")
    with pytest.raises(CatalogError, match=r"has no tables corpora; run 'dmix catalog rebuild'"):
        ask(full_warehouse, "from runs")
    rebuild(full_warehouse)
    assert ask(full_warehouse, "select max(version) from corpora") == [(1,)]


# the number of the migration that a next program would add
NEXT = len(load_schema().migrations) + 1


def with_second_migration(monkeypatch):
    first = load_schema()
    extra = Migration(NEXT, "extra", "create table store.extra (x integer);")
    newer = Schema((*first.migrations, extra), first.views)
    monkeypatch.setattr(catalog_module, "load_schema", lambda: newer)


def test_a_migration_is_preceded_by_a_backup(full_warehouse, monkeypatch):
    sync(full_warehouse)
    before = full_warehouse.catalog.read_bytes()
    with_second_migration(monkeypatch)
    assert ask(full_warehouse, "select count(*) from runs") == [(1,)]
    assert (full_warehouse.root / f"catalog.before-{NEXT:04d}.duckdb").read_bytes() == before
    assert ask(full_warehouse, "from catalog.store.extra") == []


def test_a_first_sync_makes_no_backup(full_warehouse):
    sync(full_warehouse)
    assert list(full_warehouse.root.glob("catalog.before*")) == []


def test_a_catalog_of_a_newer_program_is_refused_by_readers_and_writers(full_warehouse, monkeypatch):
    with monkeypatch.context() as newer_program:
        with_second_migration(newer_program)
        sync(full_warehouse)
    for use in (sync, lambda w: ask(w, "from runs")):
        expected = rf"has migration {NEXT:04d} \(extra\), but this dmix has only {NEXT - 1} migrations"
        with pytest.raises(CatalogError, match=expected):
            use(full_warehouse)
    rebuild(full_warehouse)
    assert ask(full_warehouse, "select count(*) from runs") == [(1,)]


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
    assert "the last imported state of runs/bad/events.jsonl is shown" in caplog.text


@pytest.mark.parametrize(
    "sql",
    [
        "from read_csv('{file}')",
        "from read_text('{file}')",
        "from glob('/*')",
        "from '{file}'",
        "select * from sniff_csv('{file}')",
    ],
)
def test_readers_touch_no_file(full_warehouse, tmp_path, sql):
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n")
    with pytest.raises(InputError, match=r"disabled by configuration|does not exist"):
        ask(full_warehouse, sql.format(file=file))


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("insert into runs (run_id) values ('x')", "got INSERT, but the catalog is read only"),
        ("drop view runs", "got DROP"),
        ("copy runs to '/tmp/x.csv'", "got COPY"),
        ("attach '/tmp/x.duckdb'", "got ATTACH"),
        ("set enable_external_access = true", "got SET"),
        ("select 1; select 2", "got 2 SQL statements, expected 1"),
        ("-- nothing", "got no SQL statement, expected 1"),
        ("select nothing from runs", 'Referenced column "nothing" not found'),
        ("from warehouse", "Table with name warehouse does not exist"),
    ],
)
def test_statements_that_do_not_read_the_catalog_are_refused(full_warehouse, sql, message):
    warehouse = full_warehouse
    with pytest.raises(InputError, match=message):
        ask(warehouse, sql)


def test_settings_cannot_be_changed_whatever_the_statement(full_warehouse):
    with Catalog.open_reader(full_warehouse, allow_io=True) as catalog:
        with pytest.raises(InputError, match="got SET"):
            catalog.query("set memory_limit = '1GB'")
        with pytest.raises(InputError, match="configuration has been locked"):
            catalog.query("from enable_logging()")


def test_allow_io_lets_statements_read_and_write_files(full_warehouse, tmp_path):
    with Catalog.open_reader(full_warehouse, allow_io=True) as catalog:
        catalog.query(f"copy (select run_id from runs) to '{tmp_path / 'out.csv'}'")
        assert catalog.query(f"from read_csv('{tmp_path / 'out.csv'}')")[1] == [("r1",)]


def test_parameters_are_bound(full_warehouse):
    with Catalog.open_reader(full_warehouse) as catalog:
        columns, rows = catalog.query("select run_id as r from runs where run_id = ?;", ["r1"])
        assert (columns, rows) == (["r"], [("r1",)])
        assert catalog.query("select count(*) from runs where run_id = ?", ["'; drop"])[1] == [(0,)]


def test_a_path_with_a_quote_is_no_problem(tmp_path):
    warehouse = Warehouse.at(tmp_path / "it's here")
    warehouse.root.mkdir()
    assert ask(warehouse, "select count(*) from runs") == [(0,)]
    assert export_views(warehouse, tmp_path / "o'ut")["runs"] == 0


def test_export_writes_every_view_runs_under_way_included(full_warehouse, tmp_path, run_writer):
    run_writer(full_warehouse, "live").start()
    rows = export_views(full_warehouse, tmp_path / "out")
    assert {path.stem for path in (tmp_path / "out").iterdir()} == set(rows)
    assert pq.read_table(tmp_path / "out" / "runs.parquet").num_rows == rows["runs"] == 2
    assert pq.read_table(tmp_path / "out" / "duplicates.parquet").column_names[0] == "dataset"


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


def test_a_wal_of_someone_who_wrote_by_hand_does_not_break_the_next_catalog(full_warehouse, make_corpus):
    sync(full_warehouse)
    by_hand = duckdb.connect(str(full_warehouse.catalog))
    by_hand.execute("create table mine as select 1 as x")
    write_corpus_version(full_warehouse, make_corpus(version=2))
    sync(full_warehouse)
    by_hand.close()
    assert ask(full_warehouse, "select max(version) from corpora") == [(2,)]


def test_an_answer_in_arrow_comes_without_the_warnings_of_its_engine(tmp_path):
    (tmp_path / "w").mkdir()
    with Catalog.open_reader(Warehouse.at(tmp_path / "w")) as catalog, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert catalog.arrow("select 1 as one").to_pydict() == {"one": [1]}


def test_an_interrupt_never_ends_the_kernel_of_a_notebook(monkeypatch):
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    with ends_on_interrupt():
        during = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(during)
    assert during == before
