"""Settings of `dmix agent evaluate`."""

from dataclasses import dataclass

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import MOST_WIDTH, check_range, setting


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """How an agent is judged from a farm alone."""

    repeats: int = setting(
        3,
        help="Number of times that dmix trains the networks that estimate the utility, each time with "
        "a different seed. The output shows the spread of the estimates.",
    )
    fqe_steps: int = setting(1500, help="Number of updates in fitted Q evaluation.")
    simulator_steps: int = setting(1500, help="Number of gradient steps per learned simulator.")
    batch_episodes: int = setting(
        32,
        help="Batch size for training the networks that estimate the utility, in episodes. An "
        "episode is the training run of one trajectory of the set.",
    )
    learning_rate: float = setting(1e-3, help="Adam learning rate of fitted Q evaluation.")
    simulator_learning_rate: float = setting(3e-3, help="Adam learning rate of the learned simulators.")
    runs: int = setting(
        8,
        help="Number of simulated runs of the agent in each learned simulator. The estimate is the "
        "mean of these runs.",
    )
    hidden_size: int = setting(
        64,
        help="Hidden width of the network of fitted Q evaluation and of the learned simulators.",
        most=MOST_WIDTH,
    )
    heads: int = setting(
        4,
        help="Number of attention heads in the network of fitted Q evaluation and in the learned simulators.",
        most=MOST_WIDTH,
    )
    held_out: float = setting(
        0.2, help="Share of the trajectories that dmix holds out to test the learned simulators."
    )
    quantile: float = setting(
        0.99,
        help="Quantile for the guard limits. dmix sets each limit so that this fraction of the farm's own "
        "steps is within the limit. The output shows how many of the agent's steps are outside the limits.",
    )
    seed: int = setting(
        0, help="Seed of the first training. The seed increases by 1 for each further training."
    )

    def __post_init__(self) -> None:
        counts = ("repeats", "fqe_steps", "simulator_steps", "batch_episodes", "runs", "heads")
        check_range(self, *counts, least=1, flags=True)
        check_range(self, "learning_rate", "simulator_learning_rate", above=0, flags=True)
        check_range(self, "held_out", "quantile", above=0, below=1, flags=True)
        if self.hidden_size % (2 * self.heads):
            raise InputError(
                f"--hidden-size is {self.hidden_size}, expected a multiple of {2 * self.heads} (2 x --heads)"
            )
