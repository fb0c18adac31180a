"""The encoder of the set agent: domains and objectives as sets, steps in order.

Domains share one network and are pooled per field by their natural shares and by their shares of
the mixture; objectives share another and are pooled by lambda and alike. What is pooled makes one
vector a step, which the decoder of the paper's agent reads causally. A domain then remembers what
the run did while it had which share: the mean over the past of its features, gated by the run's
state of the time. That is how scores can tell domains apart whose labels mean nothing here. So
the encoder is equivariant under any order of domains within a field, invariant under any order
of objectives, and costs O(T x N). Deep sets: Zaheer et al. 2017 (arXiv 1703.06114).

Shapes: B runs, T tokens, N (field, domain) pairs, D objectives, F = 2 fields, P = 2 kinds of
weights in pools, H width of the run's state, E width of a domain's state.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dmix.mixing.agent.agent import MixingAgentConfig, causal_decoder
from dmix.mixing.agent.set_features import (
    DOMAIN_WIDTH,
    EFFECT_WIDTH,
    FIELD,
    NATURAL,
    OBJECTIVE_WIDTH,
    SHARE,
    STEP_WIDTH,
    WEIGHT,
    split_tokens,
)
from dmix.mixing.space.domains import DomainSpace


class SetAgentConfig(MixingAgentConfig):
    """Shape of a set agent, and what it was trained on.

    `labels` is empty. `objectives` are those of its training; () makes an agent that sees mixtures
    alone. In a run it reads whatever objectives there are, and `scales` serve those it knows.

    Args:
        domain_width: Width of the state of a domain.
        spaces: One entry a training set: `set`, `domains`, `active`, `target_supply`.
        effects: Whether it reads what domains do to objectives; agents of before do not.
    """

    model_type = "dmix-set-agent"
    fixed_space = False

    def __init__(
        self,
        *,
        hidden_size: int = 128,
        feedforward: int = 256,
        domain_width: int = 64,
        spaces: list[dict[str, Any]] | tuple[dict[str, Any], ...] = (),
        effects: bool = False,
        **kwargs: Any,
    ) -> None:
        self.domain_width, self.spaces, self.effects = domain_width, list(spaces), effects
        super().__init__(hidden_size=hidden_size, feedforward=feedforward, **kwargs)


def seen_space(space: DomainSpace, *, set_name: str, target_supply: float) -> dict[str, Any]:
    """The entry of a training set in `SetAgentConfig.spaces`."""
    return {
        "set": set_name,
        "domains": len(space),
        "active": int(space.active_N.sum()),
        "target_supply": target_supply,
    }


@dataclass(frozen=True, eq=False)
class SetState:
    """What the encoder says of every prefix of a run.

    Attributes:
        run_BTH: Of the run.
        domains_BTNE: Of every domain.
        natural_BN: Natural shares within fields.
        fields_BFN: True where an active domain is of the field.
    """

    run_BTH: Tensor
    domains_BTNE: Tensor
    natural_BN: Tensor
    fields_BFN: Tensor


class SetEncoder(nn.Module):
    """Reads the tokens of a run and gives a state for each prefix and for each domain in it.

    Args:
        config: Widths; `domain_width` is E.
        layers: Decoder layers; None takes the agent's (a critic uses one).
    """

    def __init__(self, config: SetAgentConfig, *, layers: int | None = None) -> None:
        super().__init__()
        hidden, width = config.hidden_size, config.domain_width
        self._effects = config.effects
        features = DOMAIN_WIDTH + EFFECT_WIDTH * config.effects
        self.domain = _two_layers(features, width)
        self.objective = _two_layers(OBJECTIVE_WIDTH, width)
        # Apart from the pools: nine numbers beside hundreds would start too small to tell steps apart.
        self.step = nn.Linear(STEP_WIDTH, hidden)
        self.project = nn.Linear(6 * width, hidden, bias=False)
        self.decoder = causal_decoder(config, layers=layers)
        self.trace = nn.Linear(features, width)
        self.gate = nn.Linear(hidden, width)
        self.change = nn.Linear(OBJECTIVE_WIDTH, width, bias=False)
        self.join = nn.Linear(2 * width + hidden, width)
        # At the usual 0.3 the product of both starts near 0, and the agent takes tens of epochs to
        # notice that scores tell domains apart. Pools stay small: large ones carry over worse.
        for large in (self.trace, self.change):
            nn.init.normal_(large.weight, std=1.0)

    def forward(self, tokens_BTX: Tensor, active_BN: Tensor) -> SetState:
        """The states after each token; padding belongs at the end.

        Args:
            tokens_BTX: `dmix.mixing.agent.set_features.set_tokens`.
            active_BN: True where a domain has samples.
        """
        step_BTG, features_BTNF, objectives_BTDF = split_tokens(
            tokens_BTX, domains=active_BN.shape[1], effects=self._effects
        )
        # Fields and natural shares hold for the whole run; tokens of padding do not have them.
        field_BN = features_BTNF[:, 0, :, FIELD]
        natural_BN = features_BTNF[:, 0, :, NATURAL]
        fields_BFN = torch.stack([field_BN < 0, field_BN > 0], dim=1) & active_BN[:, None]
        domain_BTNE = self.domain(features_BTNF)
        weights_BPTN = torch.stack(
            [natural_BN[:, None].expand(features_BTNF.shape[:3]), features_BTNF[..., SHARE]], dim=1
        )
        pools = torch.einsum("bptn,bfn,btne->btpfe", weights_BPTN, fields_BFN.to(step_BTG.dtype), domain_BTNE)
        objectives_BTE = _pooled_objectives(objectives_BTDF, self.objective(objectives_BTDF))
        pooled_BTH = self.project(torch.cat([pools.flatten(2), objectives_BTE], dim=-1))
        run_BTH = self._decoded(self.step(step_BTG) + pooled_BTH)
        weighed_BTF = torch.einsum("btd,btdf->btf", objectives_BTDF[..., WEIGHT], objectives_BTDF)
        gate_BTE = self.gate(run_BTH) + self.change(weighed_BTF)
        past_BTNE = _mean_so_far(self.trace(features_BTNF) * gate_BTE[:, :, None])
        joined_BTNE = self._joined(torch.cat([domain_BTNE, past_BTNE], dim=-1), run_BTH)
        return SetState(run_BTH, nn.functional.silu(joined_BTNE), natural_BN, fields_BFN)

    def _joined(self, domains: Tensor, run_BTH: Tensor) -> Tensor:
        """`join` of every domain's columns and the run's, which are multiplied once and not N times."""
        own, shared = self.join.weight.split([domains.shape[-1], run_BTH.shape[-1]], dim=1)
        return (
            nn.functional.linear(domains, own)
            + nn.functional.linear(run_BTH, shared, self.join.bias)[:, :, None]
        )

    def _decoded(self, embedded_BTH: Tensor) -> Tensor:
        # A mask of ones says that there are no packed sequences; without it transformers 4.57
        # looks for them by vmap, which takes most of a small model's time.
        seen_BT = embedded_BTH.new_ones(embedded_BTH.shape[:2], dtype=torch.bool)
        hidden: Tensor = self.decoder(inputs_embeds=embedded_BTH, attention_mask=seen_BT).last_hidden_state
        return hidden


def _two_layers(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())


def _pooled_objectives(features_BTDF: Tensor, states_BTDE: Tensor) -> Tensor:
    """Objectives pooled by lambda and alike, (B, T, 2 E); zeros if there are none."""
    number = features_BTDF.shape[2]
    weights_BTD = features_BTDF[..., WEIGHT]
    weighted_BTE = torch.einsum("btd,btde->bte", weights_BTD, states_BTDE)
    return torch.cat([weighted_BTE, states_BTDE.sum(2) / max(1, number)], dim=-1)


def _mean_so_far(values_BTNE: Tensor) -> Tensor:
    """Means over the tokens up to each, (B, T, N, E)."""
    count_T = torch.arange(1, values_BTNE.shape[1] + 1, device=values_BTNE.device, dtype=values_BTNE.dtype)
    return values_BTNE.cumsum(1) / count_T[:, None, None]
