"""A fixed share of the source is replayed, the rest is target; natural shares within both.

The standard remedy against forgetting: Ibrahim et al. 2024 (arXiv 2403.08763), who use 5% for a weak
shift of the data and 25% for a strong one. The spec says `source-share`, since `replay` replays a
trajectory.
"""

from dmix.mixing.controllers.interface import Controller
from dmix.mixing.controllers.shares import ShareController
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """From a share.

    Raises:
        InputError: If it is no number from 0 to 1.
    """
    try:
        share = float(argument)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InputError(
            f"source-share:{argument} does not name a share from 0 to 1; write for example source-share:0.05"
        )
    return ShareController(lambda part: 1 - share, name=f"source-share:{argument}")
