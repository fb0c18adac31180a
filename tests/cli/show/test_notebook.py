"""Inside of a kernel progress is one block of the output, elsewhere lines on stderr."""

import sys
import types
import warnings

import pytest

from dmix.cli.show.notebook import in_notebook, progress_html, progress_lines


class Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, content):
        self.shown[-1] = content


@pytest.fixture
def shown(monkeypatch):
    """What a kernel displays, block by block."""
    blocks = []

    def display(content, *, display_id):
        blocks.append(content)
        return Handle(blocks)

    ipython, displays = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = object
    displays.display, displays.HTML = display, str
    for name, module in {"ipykernel": ipython, "IPython": ipython, "IPython.display": displays}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return blocks


def test_outside_of_a_kernel_lines_go_to_stderr(capsys):
    assert not in_notebook()
    with progress_lines() as progress:
        progress("a line")
    assert capsys.readouterr().err == "a line\n"


def test_lines_of_a_kernel_are_one_block_with_a_bar(shown):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        with progress_lines() as take:
            take("3 of 12 paths")
            take("4 of 12 <paths>")
        warnings.warn("IProgress not found. Please update jupyter and ipywidgets.", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert len(shown) == 1
    assert "3 of 12 paths\n4 of 12 &lt;paths&gt;" in shown[0] and 'value="4" max="12"' in shown[0]
    assert [str(one.message) for one in found] == ["something else"]


def test_a_line_that_counts_nothing_has_no_bar():
    assert "<progress" not in progress_html(["done", "13 of 12"])
    assert "<progress" not in progress_html([])
