"""The catalog is brought up to date at the end of a command, in a fork that got ready meanwhile.

Importing DuckDB and making an empty catalog takes as long as labelling some thousand documents. A command
that publishes something therefore forks while it has a single thread; the fork imports, makes an empty
catalog, and waits for its one order. Elsewhere the catalog is written here.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.processes import may_fork


class CatalogAtEnd:
    """Brings the catalog of a warehouse up to date, once; made by `catalog_at_end`.

    Args:
        orders: Where a fork reads the folder of the warehouse; None without a fork.
        answers: Where it writes the warnings that are for people.
    """

    def __init__(self, orders: IO[bytes] | None = None, answers: IO[bytes] | None = None) -> None:
        self._orders, self._answers = orders, answers
        self._warehouse: Warehouse | None = None

    @property
    def begun(self) -> bool:
        return self._warehouse is not None

    def begin(self, warehouse: Warehouse) -> None:
        """Starts to write the catalog, if a fork can, after everything is published."""
        self._warehouse = warehouse
        if self._orders is not None:
            with suppress(BrokenPipeError):  # it has died: `end` finds no answer
                self._orders.write(json.dumps(str(warehouse.root)).encode() + b"\n")

    def end(self, warn: Callable[[str], None]) -> None:
        """Waits until the catalog is up to date, or writes it here; see `sync_at_end`."""
        assert self._warehouse is not None, "call begin() first"
        answer = self._answers.readline() if self._answers is not None else b""
        if answer:
            for warning in json.loads(answer):
                warn(warning)
            return
        from dmix.warehouse_schema.catalog.sync import sync_at_end

        sync_at_end(self._warehouse, warn=warn)


@contextmanager
def catalog_at_end(*, needed: bool = True) -> Iterator[CatalogAtEnd]:
    """What brings the catalog up to date at the end of the block.

    Args:
        needed: False starts nothing, for what writes nothing.
    """
    if not needed or not may_fork():
        yield CatalogAtEnd()
        return
    take, give = os.pipe()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(give)
            os.close(read)
            _wait_for_order(take, write)
        finally:
            os._exit(0)
    os.close(take)
    os.close(write)
    with open(give, "wb", buffering=0) as orders, open(read, "rb") as answers:
        catalog = CatalogAtEnd(orders, answers)
        try:
            yield catalog
        finally:
            with suppress(BrokenPipeError):
                orders.write(b"\n")  # no order: workers that were forked later hold this pipe open
            with suppress(ChildProcessError):  # it has died, and others waited for it (or SIGCHLD is ignored)
                os.waitpid(pid, 0 if catalog.begun else os.WNOHANG)


def _wait_for_order(take: int, write: int) -> None:
    """Gets ready, and syncs the warehouse that it is told; ends at an empty line."""
    for signal_ in (signal.SIGINT, signal.SIGTERM):  # for the process that forked this one, whose end ends it
        signal.signal(signal_, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # who reads the output of the command need not wait for this process
        os.dup2(nothing, stream)
    warnings: list[str] = []
    from dmix.warehouse_schema.catalog.sync import empty_catalog, sync_at_end

    template = empty_catalog()
    with open(take) as orders, open(write, "w") as answers:
        order = orders.readline().strip()
        if order:
            sync_at_end(Warehouse.at(json.loads(order)), warn=warnings.append, template=template)
            answers.write(json.dumps(warnings) + "\n")
