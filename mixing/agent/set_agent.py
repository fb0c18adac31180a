"""The set agent: one trained agent for any number of domains and objectives (method §4).

The field share comes first, two logits of the run's state; then the shares within each field, as
tilts of the natural ones. Untrained it draws half from each field at natural shares, and a domain
space that it has never seen starts from there. Labels and the order of domains mean nothing to
it: what it knows of a domain is its size, its supply, its past shares, and what scores did then.

Shapes: B runs, T tokens, N (field, domain) pairs, F = 2 fields.
"""

import torch
from torch import Tensor, nn

from dmix.mixing.agent.agent import Agent
from dmix.mixing.agent.set_encoder import SetAgentConfig, SetEncoder, SetState


class SetAgent(Agent):
    """The policy over sets: tokens of a run in, the next mixture after each of them out."""

    config_class = SetAgentConfig
    base_model_prefix = "encoder"

    def __init__(self, config: SetAgentConfig) -> None:
        super().__init__(config)
        self.encoder = SetEncoder(config)
        self.fields = nn.Linear(config.hidden_size, 2)
        self.tilt = nn.Linear(config.domain_width, 1)
        for head in (self.fields, self.tilt):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leaves layers as they were made; transformers would draw all of them at 0.02."""

    def forward(self, tokens_BTX: Tensor, active_BN: Tensor) -> Tensor:
        """The mixture of the next step after each token, shape (B, T, N).

        Args:
            tokens_BTX: At most `context` tokens, padded at the end.
            active_BN: True where a domain has samples, shape (B, N).
        """
        return self.mixtures(self.encoder(tokens_BTX, active_BN))

    def mixtures(self, state: SetState) -> Tensor:
        """The mixtures that the heads make of encoded states, shape (B, T, N)."""
        there_BF = state.fields_BFN.any(-1)
        shares_BTF = _masked_softmax(self.fields(state.run_BTH), there_BF[:, None])
        tilts_BTN = self.tilt(state.domains_BTNE)[..., 0]
        smallest = torch.finfo(tilts_BTN.dtype).tiny
        weights_BTN = tilts_BTN + state.natural_BN.clamp_min(smallest).log()[:, None]
        within_BTFN = _masked_softmax(weights_BTN[:, :, None], state.fields_BFN[:, None])
        return torch.einsum("btf,btfn->btn", shares_BTF, within_BTFN)


def _masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis where `mask` is True, 0 elsewhere; all 0 where nothing is."""
    lowest = torch.finfo(logits.dtype).min
    return logits.masked_fill(~mask, lowest).softmax(dim=-1) * mask
