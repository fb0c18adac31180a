"""How long a statement may take."""

import signal
import sys

from dmix.warehouse_schema.catalog.bounds import ends_on_interrupt


def test_an_interrupt_never_ends_the_kernel_of_a_notebook(monkeypatch):
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    with ends_on_interrupt():
        during = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(during)
    assert during == before
