"""The first signal asks a run to stop and says so; the second one ends it."""

import os
import signal

import pytest

from dmix.training.run.watching.signals import stop_on_signal


def test_the_first_signal_is_answered_with_what_happens_next():
    said = []
    with stop_on_signal(said.append) as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == "SIGINT"
        (line,) = said
        assert "saves its state" in line and "second signal" in line
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert len(said) == 1


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_lost_terminal_stops_a_run_unless_nohup_started_it(handler):
    before = signal.signal(signal.SIGHUP, handler)
    try:
        with stop_on_signal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert bool(stop) == (handler is signal.SIG_DFL)
        assert signal.getsignal(signal.SIGHUP) is handler
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("signals", [1, 2])
def test_what_a_library_raises_when_a_second_signal_interrupts_it_is_an_interrupt(signals):
    def save():
        try:
            for _ in range(signals):
                os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            pass
        raise RuntimeError("unexpected position")

    with pytest.raises(KeyboardInterrupt if signals == 2 else RuntimeError):
        with stop_on_signal():
            save()
