"""Stopping a run from outside: the first signal asks for a checkpoint, the second one ends it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Schedulers send SIGUSR1 ahead of a limit, a lost terminal SIGHUP.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class StopRequest:
    """Whether somebody asked the run to stop, and whether somebody ended it (a second signal)."""

    def __init__(self) -> None:
        self.received: str | None = None
        self.ended = False

    def __bool__(self) -> bool:
        return self.received is not None


@contextmanager
def stop_on_signal(say: Callable[[str], None] = lambda line: None) -> Iterator[StopRequest]:
    """Turns SIGINT, SIGTERM, SIGHUP and SIGUSR1 into a `StopRequest` for the body of the `with` statement.

    A second signal raises KeyboardInterrupt. Outside of the main thread, where Python allows no
    handlers, signals keep their meaning. A SIGHUP that `nohup` made ignored stays ignored.

    Args:
        say: Receives a line for people when the first signal comes, since stopping can take a while.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if request:
            request.ended = True
            raise KeyboardInterrupt
        request.received = signal.Signals(number).name
        say(
            f"{request.received}: the run saves its state after this batch or scoring, then stops. A "
            "second signal ends the run at once, without saving"
        )

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
            signal.signal(number, handler)
