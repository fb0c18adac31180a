"""How long work reports on itself: lines of text for people."""

from collections.abc import Callable

Progress = Callable[[str], None]
"""Receives one line for people, without a line break."""
