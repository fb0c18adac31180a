"""Several processes that train one run: joining them, doing something once for all, ending together.

A rank that fails tells the others through the store that joined them, and one that is done waits for them.
Ranks that wait for a failed one inside of a collective, which they would do for half an hour, end themselves;
so do those whose neighbour on the same machine was killed. A rank whose thread of training hangs is told from
one that waits for others by what it calls, and from one that works by its processor time.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

import torch
from composer.utils import dist, get_device
from torch import distributed

from dmix.warehouse_schema.errors import DmixError, InterruptedRunError, TrainingError
from dmix.warehouse_schema.files.processes import is_alive, this_process
from dmix.warehouse_schema.progress import now as noted

T = TypeVar("T")

# Ranks wait for each other this long; a controller or a slow rank 0 may take minutes.
RANK_TIMEOUT_SECONDS = 1800.0
# A rank that learns of a failure has this long to end by itself, with its own message.
GRACE_SECONDS = 5.0
_POLL_SECONDS = 1.0
_LEAVING_POLL_SECONDS = 0.05
# A rank that is stopped or hangs, or whose machine is, is given up after so many looks at it. Looks are
# counted, not seconds, so that ranks that were all suspended go on when they wake up.
SILENT_LOOKS = 300
# Processor time of a process between two looks, in seconds, that other threads than that of training take.
_IDLE_SECONDS = 0.05
_COLLECTIVES = os.path.join("torch", "distributed") + os.sep
_WAITS_IN_BACKWARD = "_engine_run_backward"
"""Where gradients of all ranks are summed, without a line of Python of torch's collectives."""


_FAILED = " failed: "


class RankLostError(TrainingError):
    """Another rank was killed, stopped or cut off; that says nothing of what the run does next time."""


def prepare_ranks() -> None:
    """Joins the ranks that the launcher started, waits for all, and divides the CPU cores among them.

    Two torch threads on two busy cores were seen to be ten times slower than one thread each.
    """
    if dist.get_world_size() > 1:
        dist.initialize_dist(get_device(None), timeout=RANK_TIMEOUT_SECONDS)
        dist.barrier()  # what ranks look for before is not yet written by the first one
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // dist.get_local_world_size()))


def is_first_rank() -> bool:
    """True on the one rank that writes and talks."""
    return dist.get_global_rank() == 0


def on_first_rank(call: Callable[[], T]) -> T:
    """What `call` returns on rank 0, on every rank; what it raises is raised on every rank too.

    The other ranks get an exception that is no `DmixError` as a `TrainingError` with its words.
    """
    outcome: list[Any] = [None, None]
    raised: BaseException | None = None
    if is_first_rank():
        try:
            outcome[0] = call()
        except DmixError as error:
            outcome[1] = raised = error
        except (Exception, KeyboardInterrupt) as error:
            raised, outcome[1] = error, TrainingError(f"rank 0 failed: {_in_words(error)}")
    dist.broadcast_object_list(outcome)
    failure = raised or outcome[1]
    if failure is not None:
        with suppress(AttributeError):
            setattr(failure, _ON_EVERY_RANK, True)
        raise failure
    result: T = outcome[0]
    return result


@contextmanager
def failing_together(*, patience_seconds: float | None = None) -> Iterator[None]:
    """Ends all ranks within seconds when one of them fails in the body of the `with` statement.

    All ranks leave the outermost body together: launchers send a signal to the others as soon as one ends
    with a code other than 0, such as after Ctrl-C, and rank 0 may still wait for its disk.

    Does nothing for a single process. Inside of another one it only tells the others sooner, before
    what is between the two waits for them.

    Args:
        patience_seconds: How long a rank may not answer, or neither work nor wait for others, from here on;
            None for what it was, `SILENT_LOOKS` at first.

    Raises:
        TrainingError: On a rank whose collective broke because another one failed, or that was at the end
            when another one failed; a `RankLostError` if it was lost.
    """
    global _watch
    if dist.get_world_size() == 1:
        yield
        return
    outermost = _watch is None
    if _watch is None:
        _watch = _Watch(_next_name())
        _watch.start()
    watch = _watch
    if patience_seconds is not None:
        watch.looks = max(1, round(patience_seconds / _POLL_SECONDS))
    try:
        yield
    except BaseException as error:
        if getattr(error, _ON_EVERY_RANK, False) or isinstance(error, InterruptedRunError):
            if outermost:
                watch.leave()
            raise
        # what breaks a collective is a RuntimeError of torch; the rank behind it may be about to say why
        words = watch.failure_soon() if isinstance(error, RuntimeError) else watch.failure()
        if words and isinstance(error, Exception) and not isinstance(error, DmixError):
            raise _failure_of_another(words) from error
        watch.tell(_in_words(error))
        raise
    else:
        words = watch.leave() if outermost else ""
        if words:
            raise _failure_of_another(words)
    finally:
        if outermost:
            _watch = None


_bodies = 0
# Set on an exception that all ranks have raised together, so that none of them waits for another.
_ON_EVERY_RANK = "on_every_rank"


def _next_name() -> str:
    """A name that all ranks give the same body, since they enter their bodies in the same order."""
    global _bodies
    _bodies += 1
    return f"dmix/{_bodies}"


def _failure_of_another(words: str) -> TrainingError:
    kind = TrainingError if _FAILED in words else RankLostError
    return kind(f"{words}; rank {dist.get_global_rank()} also ends")


def _in_words(error: BaseException) -> str:
    said = str(error).strip()
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


class _Watch(threading.Thread):
    """Asks the store every second whether a rank has failed, and the system whether neighbours live.

    It also counts in the store, so that the rank before it sees that this process is not stopped, and looks
    whether the thread that started it hangs.

    It has a connection of its own, since the one of the process group may be waiting.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._rank, self._ranks = dist.get_global_rank(), dist.get_world_size()
        self._store: Any = distributed.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), None, False, wait_for_workers=False
        )
        self._stopped = threading.Event()
        # all are there before any watches, and each knows the process of every other
        self._processes = dist.all_gather_object(this_process())
        self._found = ""
        self._own_beats = self._silent_looks = 0
        self._last_beat = b""
        self._thread = _ThreadOfTraining()
        self._leaves = False
        self.looks = SILENT_LOOKS

    def tell(self, words: str) -> None:
        """Sends the other ranks the reason why this one ends; the watch also ends a rank that hangs."""
        if self._found:
            return  # all know, or the store is gone
        with suppress(Exception):  # the store is gone with the rank that held it: the others see that
            self._store.set(f"{self.name}/failed", f"rank {self._rank}{_FAILED}{words}")
            self._store.set(f"{self.name}/heard/{self._rank}", "")
        if self._rank == 0:  # it may hold the store: the others ask it within a poll
            self._wait_for("heard", seconds=2 * _POLL_SECONDS)

    def leave(self) -> str:
        """Waits until all ranks have come to the end of the body.

        Returns:
            Which rank failed instead, and how; empty if none did.
        """
        self._leaves = True
        with suppress(Exception):  # the store is gone with the rank that held it: `failure` says so
            self._store.set(f"{self.name}/left/{self._rank}", "")
        while not self._all("left"):
            if self.failure():
                return self._found
            time.sleep(_LEAVING_POLL_SECONDS)
        # the one that may hold the store goes last, else the others ask it in vain
        with suppress(Exception):
            self._store.set(f"{self.name}/gone/{self._rank}", "")
        if self._rank == 0:
            self._wait_for("gone", seconds=GRACE_SECONDS)
        self._stopped.set()
        return ""

    def _wait_for(self, what: str, *, seconds: float) -> None:
        """Waits until all ranks have said so, but not longer than this."""
        until = time.monotonic() + seconds
        while not self._all(what) and time.monotonic() < until:
            time.sleep(_LEAVING_POLL_SECONDS)

    def _all(self, what: str) -> bool:
        """Whether all ranks have said so; False where the store is gone."""
        try:
            return bool(self._store.check([f"{self.name}/{what}/{rank}" for rank in range(self._ranks)]))
        except Exception:
            return False

    def run(self) -> None:
        while not self._stopped.wait(_POLL_SECONDS):
            hangs = self._hang()
            words = self.failure() or self._silence()
            # one that hangs goes first: then collectives of the others break, and they end with a message
            if words and not self._stopped.wait(GRACE_SECONDS / 2 if hangs else GRACE_SECONDS):
                sys.stderr.write(f"Error: {words}; rank {self._rank} {'ends' if hangs else 'also ends'}\n")
                sys.stderr.flush()
                os._exit(1)

    def failure(self) -> str:
        """Which rank failed, and how; empty while none has."""
        if not self._found:  # else the store may be gone, and every further question is an error on stderr
            self._found = self._look()
        return self._found

    def failure_soon(self) -> str:
        """As `failure`, which it gives the time that a killed process takes to be gone."""
        until = time.monotonic() + GRACE_SECONDS / 2
        while not self.failure() and time.monotonic() < until:
            time.sleep(0.05)
        return self._found

    def _look(self) -> str:
        # the order matters: one that left well said so before it ended
        ended = [rank for rank, process in enumerate(self._processes) if is_alive(process) is False]
        try:
            if self._store.check([f"{self.name}/failed"]):
                words: str = self._store.get(f"{self.name}/failed").decode()
                self._store.set(f"{self.name}/heard/{self._rank}", "")
                return words
            for rank in ended:
                if not self._store.check([f"{self.name}/left/{rank}"]):
                    return f"rank {rank} was killed"
        except Exception:
            if self._stopped.is_set():
                return ""
            return f"rank {ended[0]} has ended" if ended else "the first rank has ended or does not answer"
        return ""

    def _silence(self) -> str:
        """Says that this rank is there, and looks at the next one; tells all if that one is silent."""
        other = (self._rank + 1) % self._ranks
        with suppress(Exception):  # `failure` notices it next time
            self._own_beats += 1
            self._store.set(f"{self.name}/beat/{self._rank}", str(self._own_beats))
            if self._store.check([f"{self.name}/left/{other}"]):
                return ""
            key = f"{self.name}/beat/{other}"
            beat = self._store.get(key) if self._store.check([key]) else b""
            self._silent_looks = self._silent_looks + 1 if beat == self._last_beat else 0
            self._last_beat = beat
            if self._silent_looks >= self.looks:
                words = f"rank {other} has not answered for {self.looks * _POLL_SECONDS:.0f} s (rank_timeout)"
                self._store.set(f"{self.name}/failed", words)
                return words
        return ""

    def _hang(self) -> str:
        """Says that the thread of training of this rank hangs, and tells all."""
        if self._leaves or self._thread.idle_looks() < self.looks:
            return ""
        words = (
            f"rank {self._rank} has done nothing for {self.looks * _POLL_SECONDS:.0f} s "
            f"({self._thread.place}); if it waits for something slow, raise rank_timeout in the training file"
        )
        with suppress(Exception):
            self._store.set(f"{self.name}/failed", words)
        return words


class _ThreadOfTraining:
    """The thread that made it, seen from another one: whether it works, waits for other ranks, or hangs."""

    def __init__(self) -> None:
        self._ident, self._number = threading.get_ident(), threading.get_native_id()
        self._clock = time.pthread_getcpuclockid(self._ident)
        self._before: tuple[Any, ...] = ()
        self._processor_seconds = 0.0
        self._looks = 0
        self.place = ""

    def idle_looks(self) -> int:
        """How many looks in a row, this one counted, it has been at one place without any work."""
        frames = list(_frames(sys._current_frames().get(self._ident)))
        own, whole = time.clock_gettime(self._clock), time.process_time()
        here = (noted(), round(own, 2), *((frame.f_code, frame.f_lasti) for frame in frames))
        busy = whole - self._processor_seconds > _IDLE_SECONDS  # threads of libraries that work for it
        waits = any(_waits_for_ranks(frame) for frame in frames) or self._waits_for_a_disk()
        idle = here == self._before and not busy and not waits
        self._before, self._processor_seconds = here, whole
        self._looks = self._looks + 1 if idle else 0
        for frame in frames[:1]:
            self.place = f"{os.path.basename(frame.f_code.co_filename)}, line {frame.f_lineno}"
        return self._looks

    def _waits_for_a_disk(self) -> bool:
        """Whether the system holds it in a call that nothing interrupts, as while a checkpoint is synced."""
        with suppress(OSError), open(f"/proc/self/task/{self._number}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:1] == [b"D"]
        return False


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _waits_for_ranks(frame: FrameType) -> bool:
    """Whether a frame is one of a collective."""
    return _COLLECTIVES in frame.f_code.co_filename or frame.f_code.co_name == _WAITS_IN_BACKWARD


_watch: _Watch | None = None
