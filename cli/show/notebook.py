"""Progress in a notebook: one block that is written over, with a bar where a line says how far it is.

Elsewhere lines go to stderr, as commands print them.
"""

import html
import io
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from dmix.cli.show.output import say
from dmix.cli.show.progress_display import LiveMonitor, live_monitor
from dmix.warehouse_schema.progress import signs_of_life, without_signs

# Lines that stay in sight.
_LINES = 6
_OF = re.compile(r"\b(\d[\d,]*) of (\d[\d,]*)\b")


def in_notebook() -> bool:
    """True in a process that a notebook talks to."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    return get_ipython() is not None


class Block:
    """A piece of a notebook's output that can be written again.

    Args:
        display: `IPython.display.display`.
        html_class: `IPython.display.HTML`.
    """

    def __init__(self, display: Callable[..., Any], html_class: Callable[[str], Any]) -> None:
        self._display, self._html = display, html_class
        self._handle: Any = None

    def show(self, content: str) -> None:
        if self._handle is None:
            self._handle = self._display(self._html(content), display_id=True)
        else:
            self._handle.update(self._html(content))


class NotebookLines:
    """Takes lines for people; shows the last ones, and a bar if the newest says `3 of 12`."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._lines: list[str] = []

    def __call__(self, line: str) -> None:
        self._lines = [*self._lines, line][-_LINES:]
        self._block.show(progress_html(self._lines))


def progress_html(lines: list[str]) -> str:
    """Lines as HTML, with a bar for the newest one if it counts something."""
    found = _OF.search(lines[-1]) if lines else None
    bar = ""
    if found:
        done, total = (int(number.replace(",", "")) for number in found.groups())
        if 0 < total >= done:
            bar = f'<progress value="{done}" max="{total}" style="width: 20em"></progress>'
    return f'<pre style="opacity: 0.7">{html.escape(chr(10).join(lines))}</pre>{bar}'


class NotebookMonitor(LiveMonitor):
    """The display of a run, written over after every batch."""

    def __init__(self, block: Block, *, title: str) -> None:
        super().__init__(title=title)
        self._block = block

    def batch(self, report: Any) -> None:
        super().batch(report)
        self._draw()

    def step(self, report: Any) -> None:
        super().step(report)
        self._draw()

    def _draw(self) -> None:
        console = Console(file=io.StringIO(), record=True, width=100, force_jupyter=False)
        console.print(self)
        self._block.show(console.export_html(inline_styles=True, code_format="<pre>{code}</pre>"))


def notebook_block() -> Block:
    """A new block of the notebook's output."""
    from IPython.display import HTML, display

    return Block(display, HTML)


@contextmanager
def progress_lines() -> Iterator[Callable[[str], None]]:
    """What takes lines for people: a block of a notebook, or stderr, with signs of life."""
    if not in_notebook():
        with signs_of_life(say) as progress:
            yield progress
        return
    # libraries that draw bars of their own ask for a package that dmix does without
    warnings.filterwarnings("ignore", message="IProgress not found")
    with signs_of_life(NotebookLines(notebook_block())) as progress:
        yield progress


@contextmanager
def run_monitor(*, title: str) -> Iterator[LiveMonitor | None]:
    """The display of a run in a notebook or on a terminal; None elsewhere."""
    if in_notebook():
        with without_signs():
            yield NotebookMonitor(notebook_block(), title=title)
        return
    with live_monitor(title=title) as monitor:
        yield monitor
