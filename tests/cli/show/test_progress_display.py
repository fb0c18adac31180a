import io
import logging
import math

from rich.console import Console

from dmix.cli.show.progress_display import LiveMonitor, live_monitor, sparks
from dmix.training.run.watching.progress import BatchReport, StepReport

BATCH = BatchReport(
    step=3,
    steps=4,
    batch=5,
    batches=10,
    target_share=0.25,
    source_tokens=150_000,
    target_tokens=50_000,
    step_tokens=1_000,
    seconds_left=120.0,
)
STEP = StepReport(
    step=2,
    steps=4,
    target_share=0.5,
    source_tokens=150_000,
    target_tokens=50_000,
    loss=3.25,
    scores={"maths": -2.25, "general": -1.5},
    first_scores={"maths": -2.5, "general": math.nan},
    utility=0.125,
    seconds=3.0,
    seconds_left=125.0,
)


def shown(monitor):
    console = Console(file=io.StringIO(), width=100)
    console.print(monitor)
    return console.file.getvalue()


def test_display_has_steps_tokens_time_left_mixture_and_feedback():
    monitor = LiveMonitor(title="run one")
    assert "preparing" in shown(monitor)
    monitor.step(STEP)
    monitor.batch(BATCH)
    text = shown(monitor)
    assert "run one" in text
    assert "62%" in text
    assert "about 2 min left" in text
    assert "step 3 of 4, batch 5 of 10 · 201K tokens · loss 3.250" in text
    source, target = (
        next(line for line in text.splitlines() if f" {f} " in line) for f in ("source", "target")
    )
    assert "75.0%" in source
    assert "150K" in source
    assert "25.0%" in target
    maths = next(line for line in text.splitlines() if " maths " in line)
    assert "-2.500" in maths
    assert "+0.250" in maths
    assert "utility +0.125 after step 2" in text


def test_run_without_scores_shows_no_feedback():
    monitor = LiveMonitor(title="run one")
    monitor.batch(BATCH)
    assert "objective" not in shown(monitor)
    assert "utility" not in shown(monitor)


def test_curve_goes_from_the_lowest_block_to_the_highest_and_leaves_gaps():
    assert sparks([-3.0, -2.0, math.nan, -1.0]) == "▁▅ █"
    assert sparks([1.0, 1.0]) == "▁▁"
    assert sparks([math.nan]) == " "


def test_a_terminal_gets_a_display_and_log_lines_go_above_it():
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, height=30)
    handler = logging.StreamHandler(before := io.StringIO())
    logging.getLogger().addHandler(handler)
    try:
        with live_monitor(title="run one", console=terminal) as monitor:
            monitor.batch(BATCH)
            logging.getLogger("dmix.test").warning("something happened")
        assert handler.stream is before
    finally:
        logging.getLogger().removeHandler(handler)
    assert "something happened" in terminal.file.getvalue()
    assert "step 3 of 4" in terminal.file.getvalue()
    assert before.getvalue() == ""


def test_a_pipe_and_a_rank_that_is_not_the_first_get_none(monkeypatch):
    with live_monitor(title="x", console=Console(file=io.StringIO())) as monitor:
        assert monitor is None
    monkeypatch.setenv("RANK", "1")
    terminal = Console(file=io.StringIO(), force_terminal=True)
    with live_monitor(title="x", console=terminal) as monitor:
        assert monitor is None
