"""The target share moves on a straight line from the first step to the last.

The hand-made schedule that continual pre-training is most often given; no single source.
"""

from dmix.mixing.controllers.interface import Controller
from dmix.mixing.controllers.shares import ShareController, between, parse_range
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.files.layout import Warehouse


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """From `FROM-TO`; `parse_range` says what is refused."""
    first, last = parse_range(argument, spec="linear")
    return ShareController(lambda part: between(first, last, part), name=f"linear:{argument}")
