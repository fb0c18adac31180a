"""Batches of episodes whose tokens number their states."""

import torch

from dmix.mixing.learning.cql_losses import EpisodeBatch
from dmix.mixing.offline.episodes import returns_to_go


def batch_of(rewards, *, lengths, ended, domains=3, active=None, potential=None, discount=1.0):
    """Episodes whose token numbers their states."""
    rewards = torch.tensor(rewards)
    episodes, steps = rewards.shape
    made = torch.arange(steps) < torch.tensor(lengths)[:, None]
    terminal = torch.zeros(episodes, steps, dtype=torch.bool)
    for row, (length, end) in enumerate(zip(lengths, ended, strict=True)):
        terminal[row, length - 1] = end
    active = torch.ones(domains, dtype=torch.bool) if active is None else active
    actions = torch.zeros(episodes, steps, domains)
    actions[..., active] = 1 / int(active.sum())
    numbers = torch.arange(episodes * (steps + 1), dtype=torch.float32).reshape(episodes, steps + 1, 1)
    return EpisodeBatch(
        tokens_ESX=numbers,
        potential_ES=torch.zeros(episodes, steps + 1) if potential is None else potential,
        actions_ETN=actions,
        rewards_ET=rewards * made,
        returns_ET=returns_to_go(rewards * made, discount=discount),
        valid_mask_ET=made,
        terminal_ET=terminal,
        ended_E=terminal.any(1),
        logged_E=torch.ones(episodes, dtype=torch.bool),
        learnt_ET=made,
        grad_ETN=torch.zeros_like(actions),
        has_grad_E=torch.zeros(episodes, dtype=torch.bool),
    )
