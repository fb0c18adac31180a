"""A display of a run under way for terminals: steps, tokens, time left, mixture, feedback.

Off a terminal, `dmix.training.run.watching.progress.LineMonitor` prints one line per step instead.
"""

import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dmix.training.run.watching.progress import BatchReport, StepReport, duration, quantity
from dmix.warehouse_schema.progress import counts, without_signs

_SPARKS = "▁▂▃▄▅▆▇█"
# Scores of an objective that its curve shows.
_CURVE = 40
_BAR = 24
_FIELD_STYLES = {"source": "blue", "target": "dark_orange3"}


class LiveMonitor:
    """Keeps what the display shows; `render` draws it.

    Args:
        title: Above the display.
    """

    def __init__(self, *, title: str) -> None:
        self._title = title
        self._batch: BatchReport | None = None
        self._step: StepReport | None = None
        self._scores: dict[str, list[float]] = {}

    def batch(self, report: BatchReport) -> None:
        self._batch = report

    def step(self, report: StepReport) -> None:
        self._step = report
        for name, score in report.scores.items():
            seen = self._scores.setdefault(name, [report.first_scores.get(name, math.nan)])
            seen.append(score)

    def __rich__(self) -> Panel:
        return Panel(self.render(), title=self._title, title_align="left", border_style="dim")

    def render(self) -> Group:
        """The display as it is now."""
        if self._batch is None:
            what = "the model and scores it. A run that resumes loads its checkpoint"
            return Group(Text(f"preparing: dmix loads {what}"), *_counts())
        return Group(*self._progress(self._batch), *_counts(), self._mixture(self._batch), *self._feedback())

    def _progress(self, now: BatchReport) -> Iterator[Text | Table]:
        done = now.step - 1 + now.batch / max(1, now.batches)
        row = Table.grid(padding=(0, 2))
        row.add_row(
            ProgressBar(total=now.steps, completed=done, width=_BAR * 2),
            f"{done / now.steps:.0%}",
            f"about {duration(now.seconds_left)} left",
        )
        yield row
        tokens = now.source_tokens + now.target_tokens + now.step_tokens
        line = (
            f"step {now.step} of {now.steps}, batch {now.batch} of {now.batches} · {quantity(tokens)} tokens"
        )
        if self._step is not None:
            line += f" · loss {self._step.loss:.3f}"
        yield Text(line)

    def _mixture(self, now: BatchReport) -> Table:
        """Shares of this step beside the tokens of all steps before it."""
        table = Table(box=None, padding=(0, 2), show_edge=False)
        for name in ("field", "this step", "", "tokens before"):
            table.add_column(name, justify="right" if name == "tokens before" else "left")
        shares = {"source": 1 - now.target_share, "target": now.target_share}
        tokens = {"source": now.source_tokens, "target": now.target_tokens}
        for field, share in shares.items():
            bar = Text("█" * round(share * _BAR), style=_FIELD_STYLES[field])
            bar.append("░" * (_BAR - len(bar)), style="dim")
            table.add_row(field, f"{share:6.1%}", bar, quantity(tokens[field]))
        return table

    def _feedback(self) -> Iterator[Table | Text]:
        last = self._step
        if last is None or not last.scores:
            return
        table = Table(box=None, padding=(0, 2), show_edge=False)
        for name in ("objective", "before", "now", "change", ""):
            table.add_column(name, justify="left" if name in ("objective", "") else "right")
        for name, score in last.scores.items():
            first = last.first_scores.get(name, math.nan)
            change = score - first
            style = "green" if change > 0 else "red" if change < 0 else ""
            curve = sparks(self._scores[name][-_CURVE:])
            table.add_row(name, f"{first:.3f}", f"{score:.3f}", Text(f"{change:+.3f}", style=style), curve)
        yield table
        if last.utility is not None:
            yield Text(f"utility {last.utility:+.3f} after step {last.step}")


def _counts() -> list[Text]:
    """What is done between two batches, for example `scoring batch 3 of 12`."""
    return [Text(counts())] if counts() else []


def sparks(values: list[float]) -> str:
    """A curve of small blocks from the lowest value to the highest; a space where one is missing."""
    known = [value for value in values if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    scale = (len(_SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_SPARKS[round((v - low) * scale)] if math.isfinite(v) else " " for v in values)


@contextmanager
def live_monitor(*, title: str, console: Console | None = None) -> Iterator[LiveMonitor | None]:
    """A monitor whose display is on stderr while the context lasts; None off a terminal.

    Args:
        title: Above the display.
        console: Where to; stderr by default.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal or os.environ.get("RANK", "0") != "0":
        yield None
        return
    monitor = LiveMonitor(title=title)
    with Live(monitor, console=console, refresh_per_second=4), _log_lines_above(), without_signs():
        yield monitor


@contextmanager
def _log_lines_above() -> Iterator[None]:
    """Lets log messages go through the stderr of now, which prints them above the display."""
    handlers = [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler]
    before = [handler.setStream(sys.stderr) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            if stream is not None:
                handler.setStream(stream)
