"""What a user chooses about effects and plans; light, so that the command line can import it."""

import math
from dataclasses import dataclass

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import setting


@dataclass(frozen=True, kw_only=True)
class PlanRules:
    """How bold a plan is."""

    pull: float = setting(
        0.25,
        help="Tau: strength of the pull towards natural mixing. The planner subtracts this"
        " much utility per nat of KL(mixture || natural).",
    )
    caution: float = setting(1.0, help="z: number of standard errors subtracted from every predicted gain.")

    def __post_init__(self) -> None:
        if not (0 <= self.pull < math.inf and 0 <= self.caution < math.inf):
            raise InputError(f"pull is {self.pull} and caution {self.caution}, expected numbers from 0 on")
