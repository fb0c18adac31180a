"""Which SQL a reader runs: what DuckDB's own parser calls a query, and nothing else.

DuckDB's serialiser takes queries alone, and shows every node of one, so that a query is known by its
parts: a `copy` or an `insert` in a common table expression has a node of its own. It does not take a
`pivot` that looks its columns up first, which the parser turns into several statements; such a pivot
is a query if it can stand in a subquery. This is the first of three guards: the reader's transaction
is read only as well, and without `--allow-io` it has no file system.
"""

import itertools
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import duckdb

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.names import from_home

LONGEST_STATEMENT = 200_000
"""Characters. DuckDB (2.0) ends the process on some statements of millions of characters."""
DEEPEST_NESTING = 250
"""Brackets within brackets. DuckDB (2.0) ends the process where subqueries nest some 10,000 deep."""

_QUERY_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_NODE = re.compile(r'(?<!\\)"type":"(\w+_NODE)"')
# What can write where a query can stand: behind `as (` of a common table expression.
_WRITING = {"insert", "update", "delete", "merge", "copy", "truncate", "create", "drop", "alter", "export"}
# Options of COPY that become part of a path, with "../" in it if they hold that.
_NAMING_OPTIONS = {"filename_pattern", "file_extension"}
_HINT = (
    "the catalog is read only: use SELECT, FROM, WITH, PIVOT, DESCRIBE, SHOW, SUMMARIZE, or EXPLAIN of "
    "one of these"
)

Token = tuple[str, str]


def checked_statement(
    connection: duckdb.DuckDBPyConnection, sql: str, *, allow_copy: bool, protected: Sequence[Path] = ()
) -> duckdb.Statement:
    """The one statement of `sql`, if it may run.

    Args:
        connection: Parses; nothing of `sql` is run.
        sql: What a user wrote.
        allow_copy: Whether `copy (query) to 'file'` may run too.
        protected: Folders that it must not write into.

    Raises:
        InputError: If it is not one statement, or one that may not run.
        duckdb.Error: If it is not SQL.
    """
    if len(sql) > LONGEST_STATEMENT:
        raise InputError(
            f"the statement has {len(sql):,} characters, expected at most {LONGEST_STATEMENT:,}; put long"
            " lists of values into a file and read it with --allow-io"
        )
    try:
        sql.encode()
    except UnicodeEncodeError:  # a shell hands on bytes that are no UTF-8 as halves of surrogates
        raise InputError(
            "the statement has bytes that are not UTF-8 text; write the statement again"
        ) from None
    tokens = tokens_of(sql)
    if _depth(tokens) > DEEPEST_NESTING:
        raise InputError(
            f"the statement has brackets {_depth(tokens)} levels deep, expected at most {DEEPEST_NESTING}"
        )
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        fix = "run them one by one" if statements else "give a statement"
        raise InputError(f"got {len(statements)} SQL statements, expected 1; {fix}")
    statement = statements[0]
    words = tokens_of(statement.query)
    if not words:
        raise InputError("got 0 SQL statements, expected 1; give a statement")
    if is_query(connection, statement.query):
        return statement
    if words[0][1] == "explain":
        if any(is_query(connection, rest) for rest in _explained(statement.query)):
            return statement
        raise InputError(f"got EXPLAIN of a statement that is not a query, but {_HINT}")
    if words[0][1] == "copy" and allow_copy:
        _check_copy(statement.query, protected)
        return statement
    hint = "" if allow_copy else " (--allow-io lets queries read files and COPY write them)"
    kind = _kind_of(statement)
    raise InputError(f"got {kind}, but {_HINT}{hint}")


def _kind_of(statement: duckdb.Statement) -> str:
    """What a statement that may not run is called in the message."""
    try:
        name: str = statement.type.name
    except ValueError:  # DuckDB's client (2.0) has no name for some of its own kinds
        return tokens_of(statement.query)[0][1].upper()
    return "a query that writes" if name in ("MULTI", "SELECT") else name


def is_query(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Whether DuckDB's parser calls this text one query, in all of its parts."""
    try:
        [(text,)] = connection.execute("select json_serialize_sql(?)", [sql]).fetchall()
        nodes = set(_NODE.findall(text))
        if nodes:
            return nodes <= _QUERY_NODES
        return _is_pivot(connection, sql)
    except (duckdb.Error, ValueError):  # ValueError: see `_kind_of`
        return False


def tokens_of(sql: str) -> list[Token]:
    """(kind, text) of the words and marks of a statement; words in lower case, comments left out."""
    starts = [(start, kind.name) for start, kind in duckdb.tokenize(sql)]
    ends = [start for start, _ in starts[1:]] + [len(sql.encode())]
    encoded = sql.encode()
    tokens = []
    for (start, kind), end in zip(starts, ends, strict=True):
        text = encoded[start:end].decode("utf-8", "replace").strip()
        if kind != "comment" and text:
            tokens.append((kind, text if kind == "string_const" else text.lower()))
    return tokens


def _is_pivot(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Whether the text is a query with a pivot whose columns come from the data."""
    if [statement.type.name for statement in connection.extract_statements(sql)] != ["MULTI"]:
        return False
    tokens = tokens_of(sql)
    words = [text for _, text in tokens]
    if words[0] not in ("pivot", "pivot_wider", "with", "select", "from", "("):
        return False
    if any(first == "(" and then in _WRITING for first, then in itertools.pairwise(words)):
        return False
    ends = [start for start, _ in duckdb.tokenize(sql) if sql.encode()[start : start + 1] == b";"]
    inner = sql.encode()[: ends[-1]].decode() if ends and words[-1] == ";" else sql
    found = connection.extract_statements(f"select * from (\n{inner}\n)")
    return [statement.type.name for statement in found] == ["MULTI"]


def _explained(sql: str) -> list[str]:
    """What an EXPLAIN may be about: what stands behind the word, or behind its options."""
    starts = [(start, kind.name) for start, kind in duckdb.tokenize(sql) if kind.name != "comment"]
    words = [text for _, text in tokens_of(sql)]
    encoded = sql.encode()
    found = [1] + ([2] if words[1:2] and words[1] in ("analyze", "analyse", "verbose") else [])
    if words[1:2] == ["("] and ")" in words:
        found.append(words.index(")") + 1)
    return [encoded[starts[index][0] :].decode() for index in found if index < len(starts)]


def _depth(tokens: Sequence[Token]) -> int:
    depth = deepest = 0
    for kind, text in tokens:
        if kind == "string_const":
            continue
        for mark in text:
            depth += (mark in "([{") - (mark in ")]}")
            deepest = max(deepest, depth)
    return deepest


def _check_copy(sql: str, protected: Sequence[Path]) -> None:
    """Raises an InputError unless the statement copies into a file outside the protected folders."""
    tokens = tokens_of(sql)
    depth, targets = 0, []
    for index, (kind, text) in enumerate(tokens):
        if kind != "string_const":
            depth += text.count("(") - text.count(")")
        if depth == 0 and text == "to" and kind != "string_const":
            targets.append(index + 1)
    plain = [tokens[i][1] for i in targets if i < len(tokens) and tokens[i][0] == "string_const"]
    if len(targets) != 1 or len(plain) != 1 or not re.fullmatch(r"'([^']|'')*'", plain[0]):
        raise InputError("COPY needs TO and a file name as plain text: COPY (SELECT …) TO 'file.csv'")
    naming = {text.strip('"') for _, text in tokens[targets[0] + 1 :]} & _NAMING_OPTIONS
    if naming:
        raise InputError(f"COPY with {min(naming)} may write outside its folder; leave this option out")
    if any(text in _WRITING for _, text in tokens[1:]):
        raise InputError(f"got COPY of a statement that is not a query, but {_HINT}")
    name = plain[0][1:-1].replace("''", "'")
    target = Path(os.path.realpath(_local(name)))
    for folder in protected:
        real = Path(os.path.realpath(folder))
        if target == real or real in target.parents or target in real.parents or _same_file(target, real):
            raise InputError(f"COPY would write into {name}, which the warehouse uses; give another file")
    linked = _linked(target)
    if linked is not None:
        raise InputError(
            f"COPY to {name} may write through the link {linked} into the warehouse; remove the link or give "
            "another file"
        )


def _linked(target: Path) -> Path | None:
    """The first link in a folder that COPY would write into, or a file with a second name (a hard link).

    Parts of a partitioned COPY go into folders that are there, through links as well, and OVERWRITE empties
    them.
    """
    waiting = [target]
    while waiting:
        found = waiting.pop()
        with suppress(OSError):  # DuckDB cannot write there either
            if not found.is_symlink() and found.is_dir():
                waiting += found.iterdir()
            elif found.is_symlink() or (found.is_file() and found.stat().st_nlink > 1):
                return found
    return None


def _local(name: str) -> str:
    """The path of a file name as DuckDB reads it."""
    match = re.match(r"file:(//(localhost)?(?=/))?", name, flags=re.IGNORECASE)
    return str(from_home(unquote(name[match.end() :]) if match else name))


def _same_file(target: Path, folder: Path) -> bool:
    """Whether the target is another name (a hard link) of a file at the top of the folder."""
    try:
        found = target.stat()
        with os.scandir(folder) as entries:
            return any(
                entry.inode() == found.st_ino and entry.stat().st_dev == found.st_dev for entry in entries
            )
    except OSError:
        return False
