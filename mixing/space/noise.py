"""Whether a change is larger than its noise: one rule for reports, runs, evaluations and checked plans.

docs/guide/evaluate.md states it for users. The effects of an objective, one for each domain, have a test of
their own (`dmix.mixing.effects.effects.Effects.telling_D`).
"""

# Standard errors within which a change counts as none.
NOISE_WIDTH = 2.0
# Share of the scale s_o below which a change counts as none, where nothing measured its error.
UNCHANGED_SHARE = 0.1
# Change below which readers, who see two decimals, would see a zero; nats per token, or U.
LEAST_CHANGE = 0.005


def beyond_noise(change: float, *, stderr: float | None, scale: float | None = None) -> bool:
    """True where a change is more than two standard errors and two decimals show it.

    Args:
        change: Of a score in nats per token, or of a utility; NaN is no change.
        stderr: Standard error of the change, in its unit; None where nothing measured it.
        scale: s_o in nats per token. A share of it is the limit where there is no standard error; a change
            with neither counts as none.
    """
    if stderr is not None:
        limit = NOISE_WIDTH * stderr
    elif scale is not None:
        limit = UNCHANGED_SHARE * scale
    else:
        return False
    return bool(abs(change) > limit and abs(change) > LEAST_CHANGE)
