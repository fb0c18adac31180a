"""Fitted Q evaluation: the utility that a policy would gain, from a farm of other policies' runs.

Le et al. 2019 (arXiv 1903.08738): Q(s, rho) is fitted to r + Q'(s', pi(s')). It is our CQL with
conservative weight 0, one critic, the policy's mean in the backup and an actor that never moves.
"""

from collections.abc import Callable

import numpy as np
import torch

from dmix.mixing.agent.agent import Agent, MixingAgentConfig
from dmix.mixing.agent.architectures import arguments_of
from dmix.mixing.learning.cql import SimplexCQL, SimplexCQLConfig
from dmix.mixing.learning.cql_losses import EpisodeBatch
from dmix.mixing.learning.settings.evaluate import EvaluateSettings
from dmix.mixing.offline.episodes import Episodes, reward_map
from dmix.warehouse_schema.progress import doing, during

_REPORTS = 4


@during("")
def fitted_value(
    agent: Agent,
    episodes: Episodes,
    *,
    settings: EvaluateSettings,
    seed: int,
    progress: Callable[[str], None],
) -> float:
    """Mean over the farm's starts of Q(s_0, pi(s_0)), in the unit of U; discount 1.

    A quarter of the updates fits the farm's returns first; the rest evaluates the policy.

    Args:
        agent: The policy; runs use its softmax.
        episodes: With the tokens of the agent's preset.
        settings: Widths and updates.
        seed: Of weights and batches.
        progress: Gets a line now and then.
    """
    mapping = reward_map(episodes, discount=1.0, bounded=False)
    data = EpisodeBatch.of_episodes(episodes, mapping=mapping, discount=1.0, potential=True)
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        algorithm = _evaluator(agent, episodes, settings)
        warm = settings.fqe_steps // 4
        for step in range(settings.fqe_steps):
            doing(f"fitted Q evaluation, seed {seed}, step {step + 1} of {settings.fqe_steps}")
            number = min(settings.batch_episodes, len(episodes))
            batch = data.rows(torch.from_numpy(rng.choice(len(episodes), number, replace=False)))
            losses = algorithm.fit_returns(batch) if step < warm else algorithm.update(batch)
            if (step + 1) % max(1, settings.fqe_steps // _REPORTS) == 0:
                text = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
                progress(f"fitted Q evaluation, seed {seed}, step {step + 1}: {text}")
        values_E = algorithm.impl.policy_values(data)[:, 0]
    return mapping.returns(float(values_E.mean()))


def _evaluator(agent: Agent, episodes: Episodes, settings: EvaluateSettings) -> SimplexCQL:
    """An algorithm whose actor is `agent` and whose critic has the widths of the settings."""
    config = SimplexCQLConfig(
        agent=arguments_of(agent.config),
        active=[bool(active) for active in episodes.space.active_N],
        critic=critic_arguments(agent.config, settings),
        critic_learning_rate=settings.learning_rate,
        conservative_weight=0.0,
        backup_samples=0,
        n_critics=1,
        tau=0.02,
        actor_delay=settings.fqe_steps,
        critic_updates=settings.fqe_steps,
    )
    algorithm = config.create()
    algorithm.create_impl((episodes.tokens_ESX.shape[-1],), len(episodes.space))
    algorithm.impl.policy.agent.load_state_dict(agent.state_dict())
    return algorithm


def critic_arguments(config: MixingAgentConfig, settings: EvaluateSettings) -> dict[str, int]:
    """Widths of an estimator, which need not be the agent's."""
    return {
        "hidden_size": settings.hidden_size,
        "feedforward": 2 * settings.hidden_size,
        "heads": settings.heads,
        "context": config.context + 1,
    }
