"""Settings of `dmix agent clone`."""

from dataclasses import dataclass

from dmix.mixing.learning.settings.sft import SftSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import check_range, setting


@dataclass(frozen=True, kw_only=True)
class CloneSettings(SftSettings):
    """How an agent imitates a farm; the rest is that of `dmix agent sft`."""

    best: float = setting(
        0.1,
        help="Share of the trajectories to imitate, from the best final utility downwards. 1 means all "
        "trajectories.",
    )
    aim: float | None = setting(
        None,
        help="Final utility that a run should reach, as a quantile of the utilities in --set. 1 is the "
        "best utility. The agent reads this utility. Default: the agent reads no such utility.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.architecture != "paper":
            raise InputError(
                f"--architecture is {self.architecture}, but 'dmix agent clone' supports only "
                "'paper'; leave --architecture out"
            )
        check_range(self, "best", above=0, most=1, flags=True)
        check_range(self, "aim", least=0, most=1, flags=True)
