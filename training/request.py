"""What a user asks of a run: sizes and rules. Light to import, since the command line reads it."""

from dataclasses import dataclass

from dmix.mixing.exhaustion import EXHAUSTION
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import setting

DEFAULT_STEPS = 16


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a user asks for; everything else follows from it and from the dataset."""

    steps: int = setting(DEFAULT_STEPS, help="M, the number of re-weighting steps.")
    samples_per_step: int | str = setting(
        "auto",
        help="R, samples drawn under one mixture, a multiple of the batch; auto takes the smallest for which"
        " natural mixing covers the target in M steps.",
    )
    batch_size: int | None = setting(None, help="B, samples of a global batch; overrides the training file.")
    exhaustion: str = setting(
        "stop",
        help="When a domain has no samples left: end the run once the target is covered, start another pass,"
        " or go on without it.",
        choices=EXHAUSTION,
    )
    max_passes: int = setting(4, help="Passes through each domain under --exhaustion repeat.")
    shuffle_block: int = setting(
        8,
        help="Shards of a domain whose samples are shuffled together; fewer touch fewer files a step, and as"
        " many as a domain has is a full shuffle.",
    )
    guard: str = setting(
        "auto",
        help="Guard rails: keep mixtures within what the steps of a set of trajectories did, as SET or"
        " SET:QUANTILE. auto guards an agent by the set that it was trained on, where the warehouse has it"
        " for the same domains, and nothing else; off guards nothing.",
    )
    shadow: str | None = setting(
        None, help="Controller that is asked at every step too; its mixtures are recorded, never used."
    )
    seed: int | None = setting(
        None, help="Seed of the order of samples and of controllers that draw; the dataset's when left out."
    )

    def __post_init__(self) -> None:
        counts = {
            "steps": self.steps,
            "batch-size": self.batch_size,
            "max-passes": self.max_passes,
            "shuffle-block": self.shuffle_block,
        }
        for name, value in counts.items():
            if value is not None and value < 1:
                raise InputError(f"--{name} is {value}, expected at least 1")
