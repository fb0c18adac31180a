"""The fork that writes the catalog at the end of a command, in processes that can be forked."""

import subprocess
import sys
import time

import psutil

from dmix.warehouse_schema.catalog import at_end
from dmix.warehouse_schema.catalog.at_end import catalog_at_end
from dmix.warehouse_schema.catalog.catalog import Catalog

START = """
import os, sys, pathlib, tempfile
from dmix.warehouse_schema.catalog.at_end import catalog_at_end
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.processes import allow_forks
allow_forks()
warehouse, said = Warehouse.at(sys.argv[1]), []
"""


def run(code, warehouse, tmp_path, *, ends=0):
    """Output of a program that has a warehouse, and what it leaves in its temporary folder."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", START + code, str(warehouse.root)],
        capture_output=True,
        text=True,
        check=False,
        env={**at_end.os.environ, "TMPDIR": str(temporary)},
    )
    assert done.returncode == ends, done.stderr
    return done.stdout, temporary


def count(warehouse, table):
    with Catalog.open_reader(warehouse) as catalog:
        return catalog.query(f"select count(*) from {table}")[1]


def test_a_fork_writes_a_new_catalog_and_brings_it_up_to_date(full_warehouse, tmp_path):
    code = """
for _ in range(2):
    with catalog_at_end() as catalog:
        catalog.begin(warehouse)
        catalog.end(said.append)
print(said, "duckdb" in sys.modules)
"""
    said, temporary = run(code, full_warehouse, tmp_path)
    assert said == "[] False\n"
    assert list(temporary.iterdir()) == []
    assert count(full_warehouse, "datasets") == [(1,)]


def test_its_warnings_reach_the_command(full_warehouse, tmp_path, monkeypatch):
    code = """
from unittest import mock
from dmix.warehouse_schema.catalog import sync as module
whole = module.sync
with mock.patch.object(module, "sync", lambda *a, **k: whole(*a, **{**k, "lock_seconds": 0})):
    with catalog_at_end() as catalog, held_lock(warehouse.lock, what="x"):
        catalog.begin(warehouse)
        catalog.end(said.append)
print(len(said), f"process {os.getpid()}" in said[0], "dmix catalog rebuild" in said[0])
"""
    assert run(code, full_warehouse, tmp_path)[0] == "1 True True\n"


def test_a_fork_that_has_died_is_replaced(full_warehouse, tmp_path):
    code = """
import psutil, signal
with catalog_at_end() as catalog:
    (fork,) = psutil.Process().children()
    fork.kill()
    fork.wait()
    catalog.begin(warehouse)
    catalog.end(said.append)
print(said, "duckdb" in sys.modules)
"""
    assert run(code, full_warehouse, tmp_path)[0] == "[] True\n"
    assert count(full_warehouse, "datasets") == [(1,)]


def test_a_command_that_fails_leaves_no_process_and_no_file(full_warehouse, tmp_path):
    code = """
import psutil
try:
    with catalog_at_end():
        print(*(child.pid for child in psutil.Process().children()), flush=True)
        raise ValueError
except ValueError:
    pass
"""
    said, temporary = run(code, full_warehouse, tmp_path)
    ends = time.monotonic() + 20
    while psutil.pid_exists(int(said)) or list(temporary.iterdir()):
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_command_that_is_ended_with_its_group_leaves_no_process_and_no_file(full_warehouse, tmp_path):
    code = """
import psutil, signal, time
os.setsid()
folder = pathlib.Path(tempfile.gettempdir())
with catalog_at_end():
    print(*(child.pid for child in psutil.Process().children()), flush=True)
    for is_there in (True, False):  # the empty catalog comes and goes
        while bool(list(folder.iterdir())) != is_there:
            time.sleep(0.001)
    os.killpg(0, signal.SIGTERM)
    time.sleep(60)
"""
    said, temporary = run(code, full_warehouse, tmp_path, ends=-15)
    ends = time.monotonic() + 20
    while psutil.pid_exists(int(said)):
        assert time.monotonic() < ends
        time.sleep(0.02)
    assert list(temporary.iterdir()) == []


def test_a_process_that_may_not_fork_writes_the_catalog_itself(full_warehouse, monkeypatch):
    monkeypatch.setattr(at_end.os, "fork", None)
    with catalog_at_end() as catalog:
        catalog.begin(full_warehouse)
        catalog.end(print)
    assert count(full_warehouse, "datasets") == [(1,)]
