"""Where the command `dmix` begins. Ctrl-C ends it with one word from here on, while it still imports."""

import os
import signal

INTERRUPTED = 130


def end_now(number: int, frame: object) -> None:
    """Handles a signal by the end of this process; for times at which it has nothing open."""
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def main() -> None:
    """Entry point of the console script."""
    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell's `&` makes it ignored
    if handled:
        signal.signal(signal.SIGINT, end_now)
    from dmix.cli.main import main as command

    command()  # takes the signal over: with Python's own handler in between, Ctrl-C would print a traceback


if __name__ == "__main__":
    main()
