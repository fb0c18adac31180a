"""How long work reports on itself: lines of text for people, and a sign of life where no line comes.

Code that takes minutes between two lines notes what it does, by `counted`, `during` or `doing`. A note costs
nothing and prints nothing. Where a command has been silent for `SILENCE_SECONDS`, a thread of
`signs_of_life` prints the newest note.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

Progress = Callable[[str], None]
"""Receives one line for people, without a line break."""

SILENCE_SECONDS = 45.0
"""Longest time without a line."""


Note = str | Callable[[], str]


class _Work:
    """A piece of work: what it counts, and its newest note."""

    def __init__(self, note: Note = "") -> None:
        self.count, self.note = "", note


class _Now:
    """What this process does, from outside to inside; the first piece is there without any work."""

    work: list[_Work] = [_Work()]
    displays = 0


def doing(note: Note) -> None:
    """Notes what this process does from now on, for example `batch 2 of 12`, or what says it when asked.

    The work that this belongs to runs within `during("")`, which is a decorator, too; else the note would
    outlive it in a process that does more.
    """
    _Now.work[-1].note = note


def counts() -> str:
    """What the process counts now, for example `scoring batch 3 of 12`; empty if nothing."""
    return ", ".join(work.count for work in _Now.work if work.count)


def now() -> str:
    """All that the process does now, in words; empty if nothing is noted."""
    return ", ".join(filter(None, (counts(), _noted())))


def counted(items: Sequence[T], what: str) -> Iterator[T]:
    """The items; while each is worked on, `what 3 of 12` is noted.

    Args:
        items: What is worked on.
        what: One of them, with what is done, for example `scoring batch`.
    """
    with _working() as work:
        for number, item in enumerate(items, 1):
            work.count, work.note = f"{what} {number:,} of {len(items):,}", ""
            yield item


@contextmanager
def during(note: Note) -> Iterator[None]:
    """Notes what the body does; afterwards, what was noted before, unless that ended meanwhile."""
    with _working(note):
        yield


@contextmanager
def _working(note: Note = "") -> Iterator[_Work]:
    # threads may end in another order than they began: each takes away its own piece alone
    work = _Work(note)
    _Now.work.append(work)
    try:
        yield work
    finally:
        _Now.work.remove(work)


@contextmanager
def without_signs() -> Iterator[None]:
    """Prints no signs of life in the body: a display shows that the process lives."""
    _Now.displays += 1
    try:
        yield
    finally:
        _Now.displays -= 1


@contextmanager
def signs_of_life(progress: Progress, *, silence_seconds: float = SILENCE_SECONDS) -> Iterator[Progress]:
    """Prints a line in the body wherever none came for a while; the value takes the lines of the body.

    Of several ranks, only the first prints. A command that may fork its workers does so before its first
    line, while it has a single thread; there, the thread that watches starts with that line.

    Args:
        progress: Receives the lines.
        silence_seconds: Longest time without a line.
    """
    if os.environ.get("RANK", "0") != "0":
        yield progress
        return
    from dmix.warehouse_schema.files.processes import may_fork

    signs = _Signs(progress, silence_seconds)
    if not may_fork():
        signs.start()
    try:
        yield signs.line
    finally:
        signs.end()
        doing("")


class _Signs:
    def __init__(self, progress: Progress, silence_seconds: float) -> None:
        self._progress, self._silence = progress, silence_seconds
        self._started = self._last = time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self.watch, name="dmix-signs-of-life", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def line(self, line: str) -> None:
        if self._thread is None:
            self.start()
        self._last = time.monotonic()
        self._progress(line)

    def watch(self) -> None:
        """Prints signs of life until the end."""
        while not self._ended.wait(self.look(time.monotonic())):
            pass

    def look(self, now: float) -> float:
        """Prints a sign of life where one is due.

        Args:
            now: Time on the monotonic clock, in seconds.

        Returns:
            Seconds until the next one may be due.
        """
        if now < self._last + self._silence:
            return self._last + self._silence - now
        self._last = now
        if not _Now.displays:
            self._progress(_sign(now - self._started))
        return self._silence


def _sign(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    after = f"{minutes} min {rest} s" if minutes else f"{rest} s"
    what = now() or _imported()
    return f"still running after {after}{f': {what}' if what else ''}"


def _imported() -> str:
    """`loading torch` while the main thread imports a library, the outermost one; empty otherwise."""
    frame, found = sys._current_frames().get(threading.main_thread().ident or 0), ""
    while frame is not None:
        name = frame.f_locals.get("name") if frame.f_code.co_name == "_find_and_load" else None
        if isinstance(name, str) and not name.startswith("dmix"):
            found = name.partition(".")[0]
        frame = frame.f_back
    return f"loading {found}" if found else ""


def _noted() -> str:
    """The newest note; empty where it cannot be said now."""
    note = _Now.work[-1].note
    try:
        return note if isinstance(note, str) else note()
    except Exception:  # a sign of life must not end a command
        return ""
