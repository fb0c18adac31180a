"""A set agent that imitates the effect agent in synthetic worlds (method §8, §9).

Worlds of the generator are run by the effect agent; a set agent that reads effects (mean and standard
error, weighted by lambda) learns its mixtures step by step (Eq. 4). It meets other worlds without any
fit: domains, objectives and their numbers are sets to it.
Shapes: N domains, D objectives, T steps.
"""

from collections.abc import Callable, Sequence

import numpy as np
from tests.mixing.testbed.random_worlds import Policy, World

from dmix.mixing.agent.features import Tokens, history_tokens
from dmix.mixing.agent.inputs import told_of
from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.effects.prediction import Prediction
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.learning.sft import SftResult, fit_sets
from dmix.mixing.offline.sft_examples import Example, SftDataset
from dmix.mixing.space.domains import Vector
from dmix.mixing.space.history import History


def cloned_policy(agent: SetAgent, prediction: Prediction) -> Policy:
    """The policy of a set agent that reads effects."""

    def policy(history: History) -> Vector:
        return agent.next_mixture(_tokens(history, prediction), history.space.active_N)

    return policy


def taught_by(
    world: World, teacher: Policy, prediction: Prediction, *, runs: int, rng: np.random.Generator
) -> SftDataset:
    """What runs of a world under a teacher teach; they differ in the noise of their scores."""
    examples = []
    for _ in range(runs):
        kept: list[History] = []

        def watched(history: History, kept: list[History] = kept) -> Vector:
            kept[:] = [history]
            return teacher(history)

        mixtures_TN = world.run(watched, rng)
        examples.append(
            Example(
                tokens_TX=_tokens(kept[0], prediction),
                mixtures_TN=mixtures_TN.astype(np.float32),
            )
        )
    return SftDataset(examples=examples, space=world.space, with_feedback=runs)


def clone_effect_agent(
    agent: SetAgent,
    taught: Sequence[SftDataset],
    *,
    settings: SftSettings,
    progress: Callable[[str], None],
) -> SftResult:
    """Fits `agent` in place to what the effect agent did in many worlds."""
    return fit_sets(agent, taught, settings=settings, progress=progress)


def _tokens(history: History, prediction: Prediction) -> Tokens:
    return history_tokens(
        history,
        objectives=history.objectives,
        scales_D=history.scales_D,
        preset="default",
        objective_spec=told_of(history, prediction),
    )
