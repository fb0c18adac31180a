"""Settings of `dmix agent rl`; None means the preset's value (method §5)."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from dmix.mixing.learning.settings.sft import ARCHITECTURES, check_architecture, widths_of
from dmix.mixing.trajectories.settings import PRESETS
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import setting

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
        help="'paper': the paper's agent, only for the domains of --set. 'set': an agent for"
        " any domains and objectives. Default: the architecture of --from, or 'paper'"
        " without --from.",
        choices=ARCHITECTURES,
    )
    preset: str | None = setting(
        None,
        help="'default': the critic has no bounds and reads scores, too. 'paper': the critic"
        " has a sigmoid output and reads only mixtures. Default: the preset of --set.",
        choices=PRESETS,
    )
    steps: int = setting(2000, help="Number of critic updates.")
    actor_delay: int = setting(200, help="Number of critic updates before the first actor update.")
    returns_steps: int = setting(
        500,
        help="Number of gradient steps that fit the critics to the farm's returns before the first update.",
    )
    batch_episodes: int = setting(64, help="Episodes per gradient step.")
    actor_learning_rate: float = setting(3e-4, help="Adam learning rate of the actor.")
    critic_learning_rate: float = setting(1e-3, help="Adam learning rate of the critics.")
    conservative_weight: float | None = setting(
        None,
        help="Weight of the conservative term, for returns of standard deviation 1 (preset"
        " 'default': 0.02; preset 'paper': 5).",
    )
    discount: float | None = setting(
        None, help="Discount of rewards per step (preset 'default': 1; preset 'paper': 0.99)."
    )
    critics: int = setting(2, help="Number of critics. The update uses their smallest value.")
    action_samples: int = setting(
        10, help="Number of mixtures drawn from each of the three distributions in the conservative term."
    )
    backup_samples: int = setting(
        10,
        help="Number of mixtures drawn from the policy in the Bellman backup, which takes"
        " their largest value.",
    )
    tau: float = setting(0.03, help="Rate at which the target critics follow the critics.")
    imagined: float | None = setting(
        None,
        help="Share of each batch that comes from rollouts in learned simulators (preset"
        " 'default': 0.75; preset 'paper': 0).",
    )
    simulator_share: float | None = setting(
        None,
        help="Share of the actor's gradient from learned simulators; the critics give the rest"
        " (preset 'default': 0.9; preset 'paper': 0).",
    )
    proximity: float | None = setting(
        None,
        help="Penalty per nat of KL from a rollout's mixtures to the actor's, so that the"
        " actor stays near the mixtures for which the simulators gave its gradients. It falls to 0 over"
        " the first half of the actor's updates (preset 'default': 0.5; preset 'paper': 0).",
    )
    pessimism: float | None = setting(
        None,
        help="Uncertainty penalty of the learned simulators. Where a state is unlike the"
        " farm's states (leverage above 1), it lowers a score by this many standard"
        " deviations of the farm's scores per unit of half the log leverage (preset"
        " 'default': 3; preset 'paper': 0).",
    )
    views: float = setting(
        0.0,
        help="Share of a set agent's training on augmented tasks: tasks with grouped domains,"
        " or with fewer or re-weighted objectives. Above 0, dmix also adds tasks with half"
        " as many steps and with 2.5 times as many.",
    )
    imagined_every: int = setting(
        10,
        help="Number of updates between two refreshes of the rollouts; each refresh uses the next simulator.",
    )
    imagined_runs: int = setting(
        64, help="Number of rollouts per refresh; dmix keeps the rollouts of the last four refreshes."
    )
    simulators: int = setting(3, help="Number of learned simulators for rollouts.")
    simulator_steps: int = setting(1500, help="Gradient steps per learned simulator.")
    simulator_width: int = setting(64, help="Hidden width of the learned simulators.")
    simulator_learning_rate: float = setting(3e-3, help="Adam learning rate of the learned simulators.")
    best_share: float = setting(
        0.1, help="Without --from, the actor first clones the best trajectories: this share of all."
    )
    clone_epochs: int = setting(30, help="Maximum number of passes over the cloned trajectories.")
    context: int = setting(80, help="Number of past steps that the agent reads (from the paper).")
    hidden_size: int | None = setting(
        None,
        help="Hidden width of a new agent and its critics (architecture 'paper': 256, as in"
        " the paper; architecture 'set': 128).",
    )
    feedforward: int | None = setting(
        None,
        help="SwiGLU width of a new agent and its critics (architecture 'paper': 1024, as in"
        " the paper; architecture 'set': 256).",
    )
    domain_width: int = setting(64, help="Width of a domain's state in a new set agent.")
    layers: int = setting(2, help="Decoder layers of a new agent (from the paper).")
    heads: int = setting(4, help="Attention heads of a new agent (not in the paper).")
    seed: int = setting(0, help="Seed of the weights and of all draws.")

    def __post_init__(self) -> None:
        for name in (
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
        ):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected at least 1")
        for name in ("actor_delay", "returns_steps", "backup_samples"):
            if getattr(self, name) < 0:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected 0 or more")
        for name in ("actor_learning_rate", "critic_learning_rate", "simulator_learning_rate"):
            if not getattr(self, name) > 0:
                raise InputError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)}, expected a number above 0"
                )
        for name in ("discount", "tau", "best_share"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise InputError(
                    f"--{name.replace('_', '-')} is {value}, expected a number above 0, at most 1"
                )
        if self.imagined is not None and not 0 <= self.imagined < 1:
            raise InputError(f"--imagined is {self.imagined}, expected 0 or more, below 1")
        if not 0 <= self.views <= 1:
            raise InputError(f"--views is {self.views}, expected 0 to 1")
        if self.views and (self.preset == "paper" or self.imagined == 0 or self.architecture == "paper"):
            raise InputError(
                f"--views is {self.views}, which needs a set agent and learned simulators; add --architecture"
                " set and leave --preset and --imagined out"
            )
        if self.simulator_share is not None and not 0 <= self.simulator_share <= 1:
            raise InputError(f"--simulator-share is {self.simulator_share}, expected 0 to 1")
        for name in ("conservative_weight", "pessimism", "proximity"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise InputError(f"--{name.replace('_', '-')} is {value}, expected 0 or more")
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
