"""Three stages: near the source, a change-over, heavy on the target, as a schedule without feedback.

The shape that arXiv 2507.15640 reports of its trained agents. The paper gives no schedule to repeat, so
the shares and the lengths of the stages are ours: the first fifth of the run at FROM, the last two
fifths at TO, a straight line in between.
"""

from dmix.mixing.controllers.interface import Controller
from dmix.mixing.controllers.shares import ShareController, between, parse_range
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.files.layout import Warehouse

# An end at an extreme share was seen to cost more than any gain on the way, so neither end is one.
DEFAULT_SHARES = (0.15, 0.75)
WARM_UP, SETTLED = 0.2, 0.6


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """From `FROM-TO` or nothing; `parse_range` says what is refused."""
    first, last = parse_range(argument, spec="three-stage") if argument else DEFAULT_SHARES
    return ShareController(
        lambda part: between(first, last, change_over(part)),
        name=f"three-stage:{argument}" if argument else "three-stage",
    )


def change_over(part: float) -> float:
    """How far the change-over has come after a part of the run: 0 in the first stage, 1 in the last."""
    return min(1.0, max(0.0, (part - WARM_UP) / (SETTLED - WARM_UP)))
