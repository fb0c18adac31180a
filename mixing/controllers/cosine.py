"""The target share moves along half a cosine: slowly at both ends of the run, fast in the middle.

The shape of the learning rate schedule of Loshchilov & Hutter 2016 (arXiv 1608.03983), without
restarts, applied to the share.
"""

import math

from dmix.mixing.controllers.interface import Controller
from dmix.mixing.controllers.shares import ShareController, between, parse_range
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.files.layout import Warehouse


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """From `FROM-TO`; `parse_range` says what is refused."""
    first, last = parse_range(argument, spec="cosine")
    return ShareController(
        lambda part: between(first, last, (1 - math.cos(math.pi * part)) / 2), name=f"cosine:{argument}"
    )
