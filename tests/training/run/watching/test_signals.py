"""The first signal asks a run to stop and says so; those passed on are ignored, and a later one ends it."""

import os
import signal

import pytest

from dmix.training.run.watching.signals import forwarded_seconds, stop_on_signal


@pytest.fixture
def later(monkeypatch):
    """Makes the time of the signals that are passed on be over."""
    return lambda: monkeypatch.setattr("dmix.training.run.watching.signals.forwarded_seconds", lambda: 0.0)


def test_the_first_signal_is_answered_with_what_happens_next(later):
    said = []
    with stop_on_signal(said.append) as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == "SIGINT"
        (line,) = said
        assert "stopping (SIGINT)" in line and "saves its state" in line and "how to resume" in line
        assert "lose the work since its last checkpoint, press Ctrl-C again (after 1 s" in line
        for passed_on in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), passed_on)
        assert not stop.ended
        later()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert len(said) == 1


def test_below_a_launcher_signals_are_passed_on_for_longer(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    alone = forwarded_seconds()
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert alone <= 1.0 < forwarded_seconds()


def test_a_signal_that_is_passed_on_behind_the_run_is_ignored_and_a_later_one_is_not(later):
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with stop_on_signal():
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert came == []
        later()
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert came == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_lost_terminal_stops_a_run_unless_nohup_started_it(handler, later):
    before = signal.signal(signal.SIGHUP, handler)
    try:
        with stop_on_signal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert bool(stop) == (handler is signal.SIG_DFL)
            later()
        assert signal.getsignal(signal.SIGHUP) is handler
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("signals", [1, 2])
def test_what_a_library_raises_when_a_later_signal_interrupts_it_is_an_interrupt(signals, later):
    def save():
        try:
            for _ in range(signals):
                os.kill(os.getpid(), signal.SIGTERM)
                later()
        except KeyboardInterrupt:
            pass
        raise RuntimeError("unexpected position")

    with pytest.raises(KeyboardInterrupt if signals == 2 else RuntimeError):
        with stop_on_signal():
            save()
