"""What a user chooses about effects and plans; light, so that the command line can import it."""

from dataclasses import dataclass

from dmix.warehouse_schema.settings import check_range, setting

CHECK_PULLS = (0.2, 1.0, 2.0, 4.0)
"""Multiples of the pull that a check runs."""

CHECK_NATURAL = 2
"""Runs of natural mixing in a check."""


@dataclass(frozen=True, kw_only=True)
class PlanRules:
    """How bold a plan is."""

    pull: float = setting(
        0.25,
        help="Cost of distance from natural mixing, in which every domain has a share in proportion to "
        "its size. For each nat of the KL divergence from natural mixing, the planner subtracts this amount "
        "from the utility (weighted sum of the gains).",
    )
    caution: float = setting(
        1.0, help="Number of standard errors that the planner subtracts from every predicted gain."
    )

    def __post_init__(self) -> None:
        check_range(self, "pull", "caution", least=0)
