"""A farm at another number of steps: the same runs as if they had been steered more often, or more seldom.

A mixture is constant within a step, so the samples that a run of M steps took are those of a run of
M' steps whose mixtures are means over the same stretches; scores are read between the steps on
a straight line. A step of the other run is M / M' steps long, and supplies count in that unit.

Shapes: E episodes, S = T + 1 states, N domains, D objectives, J = T' + 1 states of the other run.
"""

from dataclasses import replace

import numpy as np

from dmix.mixing.agent.features import tokens
from dmix.mixing.agent.standardise import features
from dmix.mixing.offline.episodes import assembled
from dmix.mixing.offline.farm import Farm
from dmix.mixing.offline.runs import Run, ends_at
from dmix.mixing.space.domains import Array

# Steps of other runs, as multiples of the farm's.
TIME_FACTORS = (0.5, 2.5)


def time_resampled(farm: Farm, *, context: int) -> list[Farm]:
    """The farm at every factor of `TIME_FACTORS` that an agent of this context can look back on."""
    steps = {max(1, round(factor * farm.context.steps)) for factor in TIME_FACTORS} - {farm.context.steps}
    return [paced(farm, number) for number in sorted(steps) if number <= context]


def paced(farm: Farm, steps: int) -> Farm:
    """The farm's episodes as runs of M' = `steps` steps.

    An episode too short for one of them is left out.
    """
    factor = steps / farm.context.steps
    context = replace(farm.context, steps=steps, supply_N=farm.context.supply_N * factor)
    changed = replace(farm, context=context, target_steps=farm.target_steps * factor)
    episodes = farm.episodes
    runs = []
    for row in range(len(episodes)):
        made = int(episodes.valid_mask_ET[row].sum())
        mixtures_SN = np.vstack([farm.space.start_N, episodes.actions_ETN[row, :made].double().numpy()])
        changes_SD = episodes.changes_ESD[row, : made + 1].double().numpy()
        if int(made * factor + 1e-9) >= 1:
            runs.append(
                _run(
                    mixtures_SN,
                    changes_SD,
                    farm=changed,
                    factor=factor,
                    is_default_proxy=bool(episodes.is_default_proxy_E[row]),
                )
            )
    return replace(changed, episodes=assembled(runs, space=farm.space, weights_D=farm.weights_D))


def _run(mixtures_SN: Array, changes_SD: Array, *, farm: Farm, factor: float, is_default_proxy: bool) -> Run:
    time_J = np.arange(int((len(mixtures_SN) - 1) * factor + 1e-9) + 1) / factor
    drawn_SN = np.vstack([np.zeros(mixtures_SN.shape[1]), np.cumsum(mixtures_SN[1:], axis=0)])
    shares_TN = factor * np.diff(between(drawn_SN, time_J), axis=0)
    paced_SN, paced_SD = np.vstack([mixtures_SN[:1], shares_TN]), between(changes_SD, time_J)
    (seen_SD,) = features([paced_SD * farm.scales_D], scales_D=farm.scales_D, preset=farm.preset)
    return Run(
        tokens_SX=tokens(paced_SN, seen_SD, context=farm.context, preset=farm.preset),
        changes_SD=paced_SD,
        mixtures_TN=shares_TN,
        ended=ends_at(paced_SN, context=farm.context, target_steps=farm.target_steps) is not None,
        is_default_proxy=is_default_proxy,
    )


def between(values_SV: Array, time_J: Array) -> Array:
    """Rows of `values_SV` at times in steps, on straight lines between them; (J, V)."""
    first_J = np.minimum(np.floor(time_J + 1e-9).astype(int), len(values_SV) - 1)
    next_J = np.minimum(first_J + 1, len(values_SV) - 1)
    part_J1 = np.clip(time_J - first_J, 0, 1)[:, None]
    found: Array = (1 - part_J1) * values_SV[first_J] + part_J1 * values_SV[next_J]
    return found
