"""Random statements of DuckDB's grammar, queries and others, that try to get out of a reader."""

import hashlib
from pathlib import Path

import numpy as np

from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.errors import InputError

TABLES = ("runs", "mixture", "corpora", "catalog.store.runs", "store.run_events", "range(3)", "nowhere")
EXPRESSIONS = (
    "1", "'a;b'", "count(*)", "null", "run_id", "*", "'''x'", "$$a$$", "[1, 2]", "{'type': 'COPY_NODE'}",
    "current_setting('memory_limit')", "getenv('HOME')", "write_log('x')", "nextval('s')", "columns(*)",
)  # fmt: skip
OPTIONS = ("", " (format csv)", " (format csv, use_tmp_file false)", " (format parquet)", " with (header)")


class Grammar:
    """Draws statements; `writes` says that one must be refused whatever it is wrapped in.

    Args:
        rng: Source of chance.
        files: Paths that a statement may try to write.
    """

    def __init__(self, rng: np.random.Generator, files: list[Path]) -> None:
        self._rng, self._files = rng, files

    def statement(self) -> tuple[str, bool]:
        """(a statement, whether it writes or is no query)"""
        writes = bool(self._rng.random() < 0.6)
        sql = self._writing() if writes else self._query(2)
        for _ in range(self._rng.integers(3)):
            sql, more = self._wrapped(sql)
            writes = writes or more
        return self._spaced(sql), writes

    def _one(self, options):
        return options[int(self._rng.integers(len(options)))]

    def _file(self) -> str:
        path = str(self._one(self._files))
        return self._one((path, f"file://{path}", f"file:{path}")).replace("'", "''")

    def _query(self, depth: int) -> str:
        table, expression = self._one(TABLES), self._one(EXPRESSIONS)
        plain = (
            f"select {expression} from {table}",
            f"from {table}",
            f"pivot {table} on run_id using count(*)",
            f"pivot {table} on run_id in ('a') using count(*)",
            f"unpivot {table} on columns(*)",
            f"describe {table}",
            f"summarize {table}",
            "show tables",
            f"values ({expression})",
            f"table {table}",
            f"select {expression} from read_csv('{self._file()}')",
        )
        if not depth:
            return self._one(plain)
        inner = self._query(depth - 1)
        return self._one(
            (
                *plain,
                f"with q as ({inner}) from q",
                f"with recursive q as (select 1 as a union all select a + 1 from q where a < 3) {inner}",
                f"select * from ({inner}) where 1 in (select 1)",
                f"({inner}) union all ({self._query(0)})",
                f"select * from query('{inner.replace(chr(39), chr(39) * 2)}')",
            )
        )

    def _writing(self) -> str:
        file, table, options = self._file(), self._one(TABLES), self._one(OPTIONS)
        return self._one(
            (
                f"copy (select 1) to '{file}'{options}",
                f"copy {table} to '{file}'{options}",
                f"copy {table} from '{file}'{options}",
                f"copy (pivot {table} on run_id using count(*)) to '{file}'",
                f"copy (with c as (copy (select 1) to '{file}') from c) to '{file}'",
                f"copy from database memory to '{file}'",
                f"export database '{file}'",
                f"import database '{file}'",
                f"attach '{file}' as other",
                "detach catalog",
                "use catalog",
                f"install '{file}'",
                f"load '{file}'",
                f"insert into {table} select * from {table}",
                f"update {table} set run_id = 'x'",
                f"delete from {table}",
                f"truncate {table}",
                f"drop table if exists {table}",
                f"drop view {table}",
                f"alter table {table} add column z integer",
                f"create or replace table {table} as {self._query(0)}",
                f"create table z as pivot {table} on run_id using count(*)",
                "create temp macro m() as 1",
                f"create secret s (type s3, key_id '{file}')",
                f"comment on table {table} is 'x'",
                f"merge into {table} using range(3) r on true when matched then delete",
                f"with c as (insert into {table} values (1) returning *) from c",
                f"with c as materialized (delete from {table} returning *) from c",
                f"with c as (copy (select 1) to '{file}'{options}) from c",
                f"with p as (pivot runs on run_id using count(*)), c as (copy runs to '{file}') from p, c",
                "set enable_external_access = true",
                "reset lock_configuration",
                "set variable x = 1",
                "pragma enable_profiling",
                f"pragma profiling_output = '{file}'",
                f"call enable_logging(storage_path = '{file}')",
                "call force_checkpoint()",
                "checkpoint",
                "vacuum",
                "begin",
                "commit",
                "prepare p as select 1",
                "execute p",
                "deallocate p",
            )
        )

    def _wrapped(self, sql: str) -> tuple[str, bool]:
        """The statement as a part of another one, and whether that is no query whatever the part is."""
        return self._one(
            (
                (f"explain {sql}", False),
                (f"explain analyze {sql}", False),
                (f"explain (analyze, format json) {sql}", False),
                (f"/* from runs */ {sql};", False),
                (f"select * from ({sql})", False),
                (f"with w as ({sql}) from w", False),
                (f"prepare w as {sql}", True),
                (f"from runs; {sql}", True),
                (f"{sql}; from runs", True),
                (f"create view w as {sql}", True),
            )
        )

    def _spaced(self, sql: str) -> str:
        return self._one((sql, sql.upper() if "'" not in sql else sql, f" \n{sql} -- end", f"{sql};"))


def tree(folder: Path) -> dict[str, tuple]:
    """What every file below a folder is, to see whether one was touched."""
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


def try_statements(
    warehouse, victim: Path, *, count: int, seed: int, allow_io: bool = False
) -> dict[str, int]:
    """Runs statements against a reader; fails if one writes, or is answered by another error.

    Args:
        warehouse: With a catalog.
        victim: A folder with files that statements try to write, beside the warehouse's own.

    Returns:
        How many were answered and refused.
    """
    catalog = warehouse.catalog
    files = [
        catalog,
        catalog.with_name(catalog.name + ".wal"),
        victim / "a.csv",
        victim / "new.csv",
        Path("/proc/x"),
    ]
    if allow_io:
        files = files[:2]
    grammar = Grammar(np.random.default_rng(seed), files)
    before, content = [tree(warehouse.root), tree(victim)], hashlib.sha256(catalog.read_bytes()).hexdigest()
    answered = refused = 0
    with Catalog.open_reader(warehouse, allow_io=allow_io) as reader:
        for number in range(count):
            sql, writes = grammar.statement()
            try:
                reader.query(sql)
                answered += 1
                assert not writes, f"seed {seed}, statement {number} ran: {sql}"
            except InputError:
                refused += 1
            after = [tree(warehouse.root), tree(victim)]
            assert after == before, f"seed {seed}, statement {number} changed files: {sql}"
    assert hashlib.sha256(catalog.read_bytes()).hexdigest() == content
    return {"answered": answered, "refused": refused}
