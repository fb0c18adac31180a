"""What the confirmation of the third protocol compares, and what its rivals learn from (method §7).

A cell is a controller on every base model and run seed. Constant cells have a mixture for each base model,
which `dmix.training.comparison.rivals.plans` finds in runs of other base models; the others listen to the
feedback items.
"""

from dmix.mixing.controllers import Controller
from dmix.mixing.controllers.registry import make_controller
from dmix.mixing.space.domains import DomainSpace
from dmix.training.comparison.effects.world_plans import COUNTS
from dmix.warehouse_schema.files.layout import Warehouse

NATURAL, COUNTS_PLAN, EFFECT = "natural", "counts-plan", "effect"
GRID, REGMIX, MIXMIN = "grid", "regmix", "mixmin"
TARGETS = {"target-25": 0.25, "target-50": 0.5}
CONSTANT = (NATURAL, *TARGETS, GRID, REGMIX, MIXMIN, COUNTS_PLAN)
"""Cells of one mixture for each base model; they hear nothing."""

ONLINE = {"odm": "odm", "ado": "ado", "aioli": "aioli", "skill-it": f"skill-it:{COUNTS}"}
"""Rivals that steer during the run, as `make_controller` takes them; a trial chooses one of them."""

LISTENING = {**ONLINE, EFFECT: f"effect:{COUNTS}"}
CELLS = (*CONSTANT, *LISTENING)

VERSION = 1
"""Goes up when a change of the code changes what a cell comes to."""


def listening_controller(cell: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """The controller of a cell that listens.

    Args:
        cell: One of `LISTENING`.
        warehouse: Holds the counts of the setting, which some of them start from.
        space: The domains of the run.
    """
    return make_controller(LISTENING[cell], warehouse=warehouse, space=space)
