"""The agent of the paper: rho_t = f(rho~_0 … rho~_{t-1}), a small causal transformer (Eq. 3).

Two decoder layers, width 256, SwiGLU 1,024, softmax over the active domains, at most `context`
tokens back; 2.13M parameters at N = 52 (the paper counts 2.12M). The layers are transformers'
LLaMA ones, fed with projected tokens instead of embedded ids. `MixtureEncoder` is what a critic
shares with it. Shapes: B trajectories, T tokens, X token width, H width, N domains.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel, PretrainedConfig, PreTrainedModel

from dmix.mixing.agent.features import Tokens, token_width
from dmix.mixing.space.domains import Vector


class MixingAgentConfig(PretrainedConfig):
    """Shape of an agent, and what it was trained on.

    Args:
        labels: Domain labels of both fields, so N = 2 * len(labels).
        objectives: Names of the objectives it reads; () for an agent that sees mixtures alone.
        scales: Their s_i in nats per token in training; its features in runs use the same.
        preset: `paper` or `default`, which decides the tokens.
        context: Most tokens that a decision looks back on.
        hidden_size, layers, heads, feedforward: Of the decoder.
        set_name: Set of trajectories it was trained on.
        target_supply: |T| / (R * M) of that set.
        trained_at: ISO 8601, UTC.
        stage: `untrained`, `sft` or `rl`.
        parameters: Number of its parameters.
    """

    model_type = "dmix-mixing-agent"
    # Whether the agent serves the labels and objectives of its training alone.
    fixed_space = True

    def __init__(
        self,
        *,
        labels: tuple[str, ...] | list[str] = (),
        objectives: tuple[str, ...] | list[str] = (),
        scales: tuple[float, ...] | list[float] = (),
        preset: str = "default",
        context: int = 80,
        hidden_size: int = 256,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 1024,
        set_name: str = "",
        target_supply: float = 0.0,
        trained_at: str = "",
        stage: str = "untrained",
        parameters: int = 0,
        initializer_range: float = 0.02,
        **kwargs: Any,
    ) -> None:
        self.labels, self.objectives, self.scales = list(labels), list(objectives), list(scales)
        self.preset, self.context = preset, context
        self.hidden_size, self.layers, self.heads = hidden_size, layers, heads
        self.feedforward = feedforward
        self.set_name, self.trained_at, self.stage = set_name, trained_at, stage
        self.target_supply, self.parameters = target_supply, parameters
        self.initializer_range = initializer_range
        super().__init__(**kwargs)

    @property
    def domains(self) -> int:
        """N."""
        return 2 * len(self.labels)

    @property
    def token_width(self) -> int:
        """X."""
        return token_width(domains=self.domains, objectives=len(self.objectives), preset=self.preset)


def causal_decoder(config: MixingAgentConfig, *, layers: int | None) -> LlamaModel:
    """Decoder layers of the widths of an agent; None takes its number of them."""
    return LlamaModel(
        LlamaConfig(
            vocab_size=1,  # ids are never embedded; transformers wants at least one
            hidden_size=config.hidden_size,
            intermediate_size=config.feedforward,
            num_hidden_layers=config.layers if layers is None else layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=config.context,
            initializer_range=config.initializer_range,
            use_cache=False,
        )
    )


class MixtureEncoder(nn.Module):
    """Reads the tokens of a run and gives one state vector for each prefix, causally.

    Args:
        config: Widths.
        layers: Decoder layers; None takes the agent's (a critic uses one).
    """

    def __init__(self, config: MixingAgentConfig, *, layers: int | None = None) -> None:
        super().__init__()
        self.project = nn.Linear(config.token_width, config.hidden_size)
        self.decoder = causal_decoder(config, layers=layers)
        self.reset_projection()

    def reset_projection(self) -> None:
        """Draws the projection anew, with standard deviation 1: tokens are vectors of norm about 1.

        The usual 0.02 would leave the token far below what the first layer adds to it, and the
        agent would take tens of epochs to notice its input.
        """
        nn.init.normal_(self.project.weight, std=1.0)
        nn.init.zeros_(self.project.bias)

    def forward(self, tokens_BTX: Tensor) -> Tensor:
        """State after each token, shape (B, T, H); padding belongs at the end."""
        # Without a mask transformers 4.57 looks for packed sequences by vmap, which takes most of a
        # small model's time; a mask of ones says that there are none.
        seen_BT = tokens_BTX.new_ones(tokens_BTX.shape[:2], dtype=torch.bool)
        embedded_BTH = self.project(tokens_BTX)
        hidden: Tensor = self.decoder(inputs_embeds=embedded_BTH, attention_mask=seen_BT).last_hidden_state
        return hidden


class Agent(PreTrainedModel):
    """A policy: tokens of a run in, the next mixture after each of them out.

    `forward(tokens_BTX, active_BN)` gives mixtures (B, T, N) for at most `config.context` tokens,
    padded at the end; `active_BN` is True where a domain has samples.
    """

    @torch.no_grad()
    def next_mixture(self, tokens_TX: Tokens, active_N: NDArray[np.bool_]) -> Vector:
        """The mixture that follows these tokens, float64, shape (N,); reads the last `context`."""
        window = torch.from_numpy(tokens_TX[-self.config.context :]).to(self.device)
        active_BN = torch.tensor(active_N, device=self.device)[None]
        mixture_N: Vector = self(window[None], active_BN)[0, -1].double().cpu().numpy()
        return mixture_N


class MixingAgent(Agent):
    """The agent of the paper, for the labels and objectives of its training."""

    config_class = MixingAgentConfig
    base_model_prefix = "encoder"

    def __init__(self, config: MixingAgentConfig) -> None:
        super().__init__(config)
        self.encoder = MixtureEncoder(config)
        self.head = nn.Linear(config.hidden_size, config.domains)
        self.post_init()
        self.encoder.reset_projection()

    def forward(self, tokens_BTX: Tensor, active_BN: Tensor) -> Tensor:
        """The mixture of the next step after each token, shape (B, T, N).

        Args:
            tokens_BTX: At most `context` tokens, padded at the end.
            active_BN: True where a domain has samples, shape (B, N).
        """
        logits_BTN = self.head(self.encoder(tokens_BTX))
        return logits_BTN.masked_fill(~active_BN[:, None, :], float("-inf")).softmax(dim=-1)
