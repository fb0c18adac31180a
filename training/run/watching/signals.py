"""Stopping a run from outside: the first signal asks for a checkpoint, a later one ends it.

`timeout` and launchers (Composer, torchrun) send a signal to the group of processes that a terminal or a
scheduler has sent one to already, so one that follows within seconds says nothing new.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Schedulers send SIGUSR1 ahead of a limit, a lost terminal SIGHUP.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
# `timeout` passes a signal on at once, launchers take a moment.
_PASSED_ON, _BY_LAUNCHER = 1.0, 5.0


def forwarded_seconds() -> float:
    """Time after the first signal within which others are that one, passed on."""
    return _BY_LAUNCHER if "LOCAL_RANK" in os.environ else _PASSED_ON


class StopRequest:
    """Whether somebody asked the run to stop, and whether somebody ended it (a later signal)."""

    def __init__(self) -> None:
        self.received: str | None = None
        self.ended = False
        self._came = 0.0

    def receive(self, number: int) -> None:
        """Notes the first signal."""
        self.received, self._came = signal.Signals(number).name, time.monotonic()

    @property
    def just_came(self) -> bool:
        """Whether a signal now is the first one, passed on."""
        return self.received is not None and time.monotonic() - self._came < forwarded_seconds()

    def __bool__(self) -> bool:
        return self.received is not None


@contextmanager
def stop_on_signal(say: Callable[[str], None] = lambda line: None) -> Iterator[StopRequest]:
    """Turns SIGINT, SIGTERM, SIGHUP and SIGUSR1 into a `StopRequest` for the body of the `with` statement.

    A signal after `forwarded_seconds` raises KeyboardInterrupt. Until then, signals are ignored, also behind
    the body. Outside of the main thread, where Python allows no handlers, signals keep their meaning. A
    SIGHUP that `nohup` made ignored stays ignored.

    Args:
        say: Receives a line for people when the first signal comes, since stopping can take a while.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if request.just_came:
            return
        if request:
            request.ended = True
            raise KeyboardInterrupt
        request.receive(number)
        again = "press Ctrl-C again" if number == signal.SIGINT else "send the signal again"
        say(
            f"stopping ({request.received}): the run finishes this batch or scoring, saves its state, and "
            "says how to resume. With a large model, this can take minutes. To end the run now and "
            f"lose the work since its last checkpoint, {again} (after {forwarded_seconds():.0f} s or later)"
        )

    def handle_late(number: int, frame: FrameType | None) -> None:
        if not request.just_came:
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    before = {number: signal.signal(number, handle) for number in SIGNALS if number not in ignored}
    try:
        yield request
    except Exception:
        if request.ended:  # a library that is interrupted while it writes may raise something of its own
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handle_late if request.just_came and not request.ended else handler)
