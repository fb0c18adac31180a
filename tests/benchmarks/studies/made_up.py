"""Settings with a few runs whose answers are known, written by hand."""

import numpy as np
from benchmarks.studies.rows import NATURAL, StudyRun, StudySetting

from dmix.mixing.space.domains import DomainSpace

SPACE = DomainSpace(("x", "y"), np.array([40, 30, 20, 10]))
STEPS = 8


def run(
    controller,
    *,
    judged,
    feedback=None,
    share=0.3,
    scores=None,
    part="controller",
    seed=0,
    setting="s",
    mixtures=None,
):
    """A run of one general and one target objective; share may be one for each step."""
    share_T = np.broadcast_to(np.asarray(share, float), STEPS)
    if mixtures is None:
        mixtures = (1 - share_T)[:, None] * SPACE.start_N + share_T[:, None] * SPACE.target_state_N
    if scores is None:
        scores = np.vstack([np.zeros(2), np.outer(np.arange(1, STEPS + 1) / STEPS, judged)])
    return StudyRun(
        setting=setting,
        controller=controller,
        part=part,
        seed=seed,
        base=0,
        varied=False,
        mixtures_TN=np.asarray(mixtures, float),
        scores_TD=np.asarray(scores, float),
        feedback_D=np.asarray(judged if feedback is None else feedback, float),
        judged_D=np.asarray(judged, float),
    )


def naturals(*gains, setting="s"):
    """Runs of natural mixing with these gains on both objectives, a seed each."""
    return [run(NATURAL, judged=(g, g), seed=seed, setting=setting) for seed, g in enumerate(gains)]


def setting(*runs, name="s", group="s"):
    """Both objectives weigh the same on a scale of 1, so U is their mean gain; a step is two batches."""
    return StudySetting(
        name=name,
        group=group,
        space=SPACE,
        objectives=("kept", "learnt"),
        general_D=np.array([True, False]),
        weight_D=np.array([0.5, 0.5]),
        scale_D=np.ones(2),
        step_samples=16,
        max_passes=4,
        runs=tuple(runs),
    )
