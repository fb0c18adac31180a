"""Settings of `dmix agent sft`."""

from dataclasses import dataclass

from dmix.mixing.trajectories.settings import PRESETS
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import MOST_WIDTH, check_range, setting

ARCHITECTURES = ("paper", "set")
_HIDDEN_SIZE = {"paper": 256, "set": 128}
_FEEDFORWARD = {"paper": 1024, "set": 256}


@dataclass(frozen=True, kw_only=True)
class SftSettings:
    """How an agent is fine-tuned; the paper gives no value for most of it."""

    architecture: str = setting(
        "paper",
        help="Architecture of the agent. 'paper' is the architecture of the paper, which works only with "
        "the domains of --set. 'set' works with any domains and objectives, and learns from one or several "
        "sets of trajectories.",
        choices=ARCHITECTURES,
    )
    preset: str | None = setting(
        None,
        help="Preset that decides which inputs the agent reads. Default: the preset of --set.",
        choices=PRESETS,
    )
    learning_rate: float = setting(1e-3, help="AdamW learning rate.")
    weight_decay: float = setting(0.01, help="AdamW weight decay.")
    batch_trajectories: int = setting(16, help="Number of trajectories per gradient step.")
    epochs: int = setting(200, help="Maximum number of passes over the trajectories.")
    patience: int = setting(
        30, help="Training stops after this number of epochs without a better held-out loss."
    )
    held_out: float = setting(
        0.1,
        help="Share of the trajectories that dmix holds out to measure the loss, from 0 to below 1. With "
        "fewer than 5 trajectories, dmix holds out none.",
    )
    context: int = setting(
        80, help="Number of past steps that the agent reads. The default is the value in the paper."
    )
    hidden_size: int | None = setting(
        None,
        help="Hidden width of the agent. Default: 256, as in the paper. With architecture 'set': 128.",
        most=MOST_WIDTH,
    )
    feedforward: int | None = setting(
        None,
        help="SwiGLU width of the agent. Default: 1024, as in the paper. With architecture 'set': 256.",
        most=MOST_WIDTH,
    )
    domain_width: int = setting(
        64,
        help="Number of values per domain in the agent's internal state. Only for architecture 'set'.",
        most=MOST_WIDTH,
    )
    layers: int = setting(
        2,
        help="Number of decoder layers of the agent. The default is the value in the paper.",
        most=MOST_WIDTH,
    )
    heads: int = setting(
        4, help="Number of attention heads of the agent. The paper gives no value.", most=MOST_WIDTH
    )
    seed: int = setting(
        0, help="Seed of the weights, of the order of trajectories, and of the held-out trajectories."
    )

    def __post_init__(self) -> None:
        counts = ("batch_trajectories", "epochs", "patience", "context", "layers", "heads", "domain_width")
        check_range(self, *counts, least=1, flags=True)
        check_range(self, "learning_rate", above=0, flags=True)
        check_range(self, "held_out", least=0, below=1, flags=True)
        check_architecture(
            self.architecture, preset=self.preset, hidden_size=self.widths[0], heads=self.heads
        )

    @property
    def widths(self) -> tuple[int, int]:
        """(width of the agent, width of its SwiGLU), those of the architecture unless given."""
        return widths_of(self.architecture, hidden_size=self.hidden_size, feedforward=self.feedforward)


def widths_of(architecture: str, *, hidden_size: int | None, feedforward: int | None) -> tuple[int, int]:
    """(width of an agent, width of its SwiGLU), those of the architecture where None."""
    return (
        _HIDDEN_SIZE[architecture] if hidden_size is None else hidden_size,
        _FEEDFORWARD[architecture] if feedforward is None else feedforward,
    )


def check_architecture(architecture: str | None, *, preset: str | None, hidden_size: int, heads: int) -> None:
    """Raises `InputError` unless the preset and the widths go with the architecture."""
    if architecture == "set" and preset == "paper":
        raise InputError("--architecture set does not work with --preset paper; leave one of the two out")
    if hidden_size < 1 or hidden_size % (2 * heads):
        raise InputError(f"--hidden-size is {hidden_size}, expected a multiple of {2 * heads} (2 x --heads)")
