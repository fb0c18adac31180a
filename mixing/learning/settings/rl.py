"""Settings of `dmix agent rl`; None means the preset's value (method §5)."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from dmix.mixing.learning.settings.sft import ARCHITECTURES, check_architecture, widths_of
from dmix.mixing.trajectories.settings import PRESETS
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import MOST_WIDTH, check_range, setting

_PRESET_VALUES: dict[str, dict[str, Any]] = {
    "default": {
        "discount": 1.0,
        "conservative_weight": 0.02,
        "imagined": 0.75,
        "simulator_share": 0.9,
        "proximity": 0.5,
        "pessimism": 3.0,
    },
    "paper": {
        "discount": 0.99,
        "conservative_weight": 5.0,
        "imagined": 0.0,
        "simulator_share": 0.0,
        "proximity": 0.0,
        "pessimism": 0.0,
    },
}


@dataclass(frozen=True, kw_only=True)
class RlSettings:
    """How an agent is trained by CQL; the paper gives no value for most of it."""

    architecture: str | None = setting(
        None,
        help="Architecture of the agent. 'paper' is the architecture of the paper, which works only with "
        "the domains of --set. 'set' works with any domains and objectives. Default: the architecture of "
        "--from, or 'paper' without --from.",
        choices=ARCHITECTURES,
    )
    preset: str | None = setting(
        None,
        help="Preset of the critics. With 'default', the critics read mixtures and scores, and their "
        "output has no bounds. With 'paper', the critics read only mixtures, and their output is a sigmoid. "
        "Default: the preset of --set.",
        choices=PRESETS,
    )
    steps: int = setting(2000, help="Number of critic updates.")
    actor_delay: int = setting(
        200,
        help="Number of critic updates before the first update of the actor. Each later update trains the "
        "critics and the actor.",
    )
    returns_steps: int = setting(
        500,
        help="Number of gradient steps that fit the critics to the final utility of each trajectory in "
        "--set. dmix makes these steps before the --steps updates.",
    )
    batch_episodes: int = setting(
        64,
        help="Batch size of a gradient step, in episodes. An episode is the training run of one trajectory "
        "of the set.",
    )
    actor_learning_rate: float = setting(3e-4, help="Adam learning rate of the actor.")
    critic_learning_rate: float = setting(1e-3, help="Adam learning rate of the critics.")
    conservative_weight: float | None = setting(
        None,
        help="Weight of the conservative term, which lowers the critics' values of mixtures that are not "
        "in --set. The weight assumes that the returns (final utilities) have standard deviation 1. "
        "Default: 0.02. With preset 'paper': 5.",
    )
    discount: float | None = setting(
        None, help="Discount of rewards per step. Default: 1. With preset 'paper': 0.99."
    )
    critics: int = setting(
        2, help="Number of critics. An update uses the smallest value of all critics.", most=MOST_WIDTH
    )
    action_samples: int = setting(
        10,
        help="Number of mixtures per distribution that dmix draws for the conservative term. The term uses "
        "three distributions.",
        most=MOST_WIDTH,
    )
    backup_samples: int = setting(
        10,
        help="Number of mixtures that dmix draws from the policy for the Bellman backup. The backup "
        "takes the largest value.",
        most=MOST_WIDTH,
    )
    tau: float = setting(
        0.03, help="Rate at which the target critics follow the critics, from 0 to 1 per update."
    )
    imagined: float | None = setting(
        None,
        help="Share of each batch that comes from rollouts (runs in learned simulators). Default: 0.75. "
        "With preset 'paper': 0.",
    )
    simulator_share: float | None = setting(
        None,
        help="Share of the actor's gradient that comes from learned simulators, at the actor's first "
        "update. The rest comes from the critics. If the share is above 0, it then rises, and the critics' "
        "weight falls to a hundredth. Default: 0.9. With preset 'paper': 0.",
    )
    proximity: float | None = setting(
        None,
        help="Penalty on the distance between the actor's mixtures and the mixtures of the rollouts (runs "
        "in learned simulators), per nat of KL divergence. The simulators give gradients only at the "
        "rollouts' mixtures, so the penalty keeps the actor near these mixtures. The penalty falls to a "
        "tenth over the actor's updates. Default: 0.5. With preset 'paper': 0.",
    )
    pessimism: float | None = setting(
        None,
        help="Uncertainty penalty, in standard deviations of the scores in --set. Learned simulators lower "
        "their predicted scores for states far from the runs in --set. The leverage measures how far a "
        "state is from the states of these runs. Above leverage 1, dmix subtracts this penalty times half "
        "the logarithm of the leverage. Default: 3. With preset 'paper': 0.",
    )
    views: float = setting(
        0.0,
        help="Share of augmented tasks in the training. An augmented task groups domains, drops "
        "objectives or changes their weights. If the share is above 0, dmix also adds tasks with half and "
        "with 2.5 times the number of steps. Only for architecture 'set'.",
    )
    imagined_every: int = setting(
        10,
        help="Number of updates after which dmix makes new rollouts (runs in learned simulators). The "
        "simulators take turns.",
    )
    imagined_runs: int = setting(
        64,
        help="Number of rollouts that dmix makes at a time (see --imagined-every). Training uses the last "
        "four groups of rollouts.",
    )
    simulators: int = setting(
        3, help="Number of learned simulators (networks that predict scores) for rollouts.", most=MOST_WIDTH
    )
    simulator_steps: int = setting(1500, help="Number of gradient steps per learned simulator.")
    simulator_width: int = setting(64, help="Hidden width of the learned simulators.", most=MOST_WIDTH)
    simulator_learning_rate: float = setting(3e-3, help="Adam learning rate of the learned simulators.")
    best_share: float = setting(
        0.1,
        help="Share of the trajectories that the actor imitates first, from the best downwards. With "
        "--from, this flag has no effect.",
    )
    clone_epochs: int = setting(30, help="Maximum number of passes over the imitated trajectories.")
    context: int = setting(
        80, help="Number of past steps that the agent reads. The default is the value in the paper."
    )
    hidden_size: int | None = setting(
        None,
        help="Hidden width of a new agent and its critics. Default: 256, as in the paper. With "
        "architecture 'set': 128.",
        most=MOST_WIDTH,
    )
    feedforward: int | None = setting(
        None,
        help="SwiGLU width of a new agent and its critics. Default: 1024, as in the paper. With "
        "architecture 'set': 256.",
        most=MOST_WIDTH,
    )
    domain_width: int = setting(
        64,
        help="Number of values per domain in the internal state of a new agent. Only for architecture 'set'.",
        most=MOST_WIDTH,
    )
    layers: int = setting(
        2,
        help="Number of decoder layers of a new agent. The default is the value in the paper.",
        most=MOST_WIDTH,
    )
    heads: int = setting(
        4, help="Number of attention heads of a new agent. The paper gives no value.", most=MOST_WIDTH
    )
    seed: int = setting(0, help="Seed of the weights and of all draws.")

    def __post_init__(self) -> None:
        counts = (
            "steps",
            "batch_episodes",
            "critics",
            "action_samples",
            "context",
            "layers",
            "clone_epochs",
            "heads",
            "imagined_every",
            "imagined_runs",
            "simulators",
            "simulator_steps",
            "simulator_width",
            "domain_width",
        )
        check_range(self, *counts, least=1, flags=True)
        check_range(self, "actor_delay", "returns_steps", "backup_samples", least=0, flags=True)
        check_range(self, "conservative_weight", "pessimism", "proximity", least=0, flags=True)
        rates = ("actor_learning_rate", "critic_learning_rate", "simulator_learning_rate")
        check_range(self, *rates, above=0, flags=True)
        check_range(self, "discount", "tau", "best_share", above=0, most=1, flags=True)
        check_range(self, "imagined", least=0, below=1, flags=True)
        check_range(self, "views", "simulator_share", least=0, most=1, flags=True)
        if self.views and (self.preset == "paper" or self.imagined == 0 or self.architecture == "paper"):
            raise InputError(
                "--views above 0 needs architecture 'set' and learned simulators; add --architecture "
                "set, and leave --preset and --imagined out"
            )
        check_architecture(
            self.architecture, preset=self.preset, hidden_size=self.widths[0], heads=self.heads
        )

    @property
    def widths(self) -> tuple[int, int]:
        """(width of a new agent, width of its SwiGLU), those of the architecture unless given."""
        return widths_of(
            self.architecture or "paper", hidden_size=self.hidden_size, feedforward=self.feedforward
        )

    def required(self, name: str) -> float:
        """The number `name` of resolved settings."""
        value = getattr(self, name)
        assert isinstance(value, int | float), f"{name} is not resolved"
        return float(value)

    def resolved(self, preset: str) -> "RlSettings":
        """The same settings with the values of the preset and of the architecture written out."""
        chosen = self.preset or preset
        missing = {k: v for k, v in _PRESET_VALUES[chosen].items() if getattr(self, k) is None}
        hidden_size, feedforward = self.widths
        return dataclasses.replace(
            self,
            architecture=self.architecture or "paper",
            preset=chosen,
            hidden_size=hidden_size,
            feedforward=feedforward,
            **missing,
        )
