"""A catalog is brought up to date whole or not at all, by one writer."""

import os
import resource
import shutil
import signal
import subprocess
import sys

import duckdb
import pytest
from tests.warehouse_schema.catalog.asking import ask, everything, hidden_files

from dmix.warehouse_schema.catalog import catalog as catalog_module
from dmix.warehouse_schema.catalog import sync as sync_module
from dmix.warehouse_schema.catalog.migrate import Migration, Schema, load_schema
from dmix.warehouse_schema.catalog.sync import rebuild, sync, sync_at_end
from dmix.warehouse_schema.errors import CatalogError, LockHeldError, NotFoundError, StorageError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifests import write_corpus_version

# Kills itself with the copy complete and the old catalog still in place.
DIE_BEFORE_PUBLISHING = """
import os, signal, sys
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.files.layout import Warehouse
real = os.replace
def replace(source, target):
    if str(target).endswith("catalog.duckdb"):
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
os.replace = replace
sync(Warehouse.at(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def made_anew(monkeypatch):
    """New catalogs are migrated, as those of users; other tests copy one."""
    monkeypatch.setattr(sync_module, "_write", sync_module._write.__wrapped__)


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


@pytest.mark.parametrize("suffix", ["", ".wal"])
def test_a_folder_in_the_way_of_the_catalog_is_named(full_warehouse, suffix):
    folder = full_warehouse.catalog.with_name(full_warehouse.catalog.name + suffix)
    folder.unlink(missing_ok=True)
    folder.mkdir()
    with pytest.raises(CatalogError, match=rf"{folder.name} is a folder.*remove this folder"):
        rebuild(full_warehouse)


def test_rebuild_replaces_a_damaged_catalog(full_warehouse):
    full_warehouse.catalog.write_bytes(b"no database" * 1000)
    for use in (sync, lambda w: ask(w, "from runs")):
        with pytest.raises(CatalogError, match=r"cannot use catalog .* run 'dmix catalog rebuild'"):
            use(full_warehouse)
    rebuild(full_warehouse)
    assert ask(full_warehouse, "select count(*) from runs") == [(1,)]


def test_a_second_writer_learns_who_the_first_is(full_warehouse):
    with held_lock(full_warehouse.lock, what="x"):
        with pytest.raises(LockHeldError, match=f"is locked by process {os.getpid()} on .*Wait until"):
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

    monkeypatch.setattr(sync_module, "import_units", fail)
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
    for module in (catalog_module, sync_module):
        monkeypatch.setattr(module, "load_schema", lambda: newer)


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


def test_a_wal_of_someone_who_wrote_by_hand_does_not_break_the_next_catalog(full_warehouse, make_corpus):
    sync(full_warehouse)
    by_hand = duckdb.connect(str(full_warehouse.catalog))
    by_hand.execute("create table mine as select 1 as x")
    write_corpus_version(full_warehouse, make_corpus(version=2))
    sync(full_warehouse)
    by_hand.close()
    assert ask(full_warehouse, "select max(version) from corpora") == [(2,)]
