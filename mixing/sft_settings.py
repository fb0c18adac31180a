"""Settings of `dmix agent sft`."""

from dataclasses import dataclass

from dmix.mixing.sample_settings import PRESETS
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import setting


@dataclass(frozen=True, kw_only=True)
class SftSettings:
    """How an agent is fine-tuned; the paper gives no value for most of it."""

    preset: str | None = setting(
        None, help="Tokens and features of the agent; the set's preset when left out.", choices=PRESETS
    )
    learning_rate: float = setting(1e-3, help="Of AdamW.")
    weight_decay: float = setting(0.01, help="Of AdamW.")
    batch_trajectories: int = setting(16, help="Trajectories a gradient step.")
    epochs: int = setting(200, help="Most passes over the trajectories.")
    patience: int = setting(30, help="Epochs without a better held-out loss until training stops.")
    held_out: float = setting(0.1, help="Share of trajectories that only measure; none below 5 trajectories.")
    context: int = setting(80, help="Most steps the agent looks back (from the paper).")
    hidden_size: int = setting(256, help="Width of the agent (from the paper).")
    feedforward: int = setting(1024, help="Width of its SwiGLU (from the paper).")
    layers: int = setting(2, help="Its decoder layers (from the paper).")
    heads: int = setting(4, help="Its attention heads (not in the paper).")
    seed: int = setting(0, help="Seed of weights, order and held-out trajectories.")

    def __post_init__(self) -> None:
        for name in ("batch_trajectories", "epochs", "patience", "context", "layers", "heads"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected at least 1")
        if not self.learning_rate > 0:
            raise InputError(f"--learning-rate is {self.learning_rate}, expected a number above 0")
        if not 0 <= self.held_out < 1:
            raise InputError(f"--held-out is {self.held_out}, expected 0 or more, below 1")
        if self.hidden_size % (2 * self.heads):
            raise InputError(
                f"--hidden-size is {self.hidden_size}, expected a multiple of {2 * self.heads} (2 x --heads)"
            )
