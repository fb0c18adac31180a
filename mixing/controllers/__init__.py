"""Controllers: whatever chooses the next mixture. The agent is one, every baseline another.

What a controller of your own needs is here; `registry.py` finds controllers by name.
"""

from dmix.mixing.controllers.interface import Controller, ControllerEvent, Proposal

__all__ = ["Controller", "ControllerEvent", "Proposal"]
