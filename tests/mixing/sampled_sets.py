"""A small set of trajectories, with feedback as proxies might get."""

import numpy as np

from dmix.mixing.trajectories.feedback import write_feedback
from dmix.mixing.trajectories.sampling import read_trajectories, sample_trajectories
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.warehouse_schema.files.layout import Warehouse

COUNTS = (300, 0, 120, 40, 200, 90, 0, 110)
STEPS = 12
NAMES = ("general", "math")


def sampled(folder, make_manifest, **changes):
    warehouse = Warehouse.at(folder)
    given = {"top_k": (1, 20), "paths": 10, "random_paths": 2, "candidates": 300, "steps": STEPS}
    sample_trajectories(
        warehouse,
        manifest=make_manifest(COUNTS),
        set_name="set",
        settings=SampleSettings(**{**given, "batch_size": 8, **changes}),
        processes=1,
    )
    return warehouse


def scores_of(mixtures, *, seed=0):
    """Scores as a proxy might get: target share helps one objective and harms the other."""
    target = mixtures[:, 4:].sum(1)
    noise = np.random.default_rng(seed).normal(size=(len(mixtures), 2)) * 0.01
    drift = np.stack([-0.04 * target.cumsum(), 0.6 * (1 - np.exp(-0.3 * target.cumsum()))], axis=1)
    return -3 + drift + noise


def add_feedback(warehouse, *, limit=None):
    scores = {}
    for trajectory in read_trajectories(warehouse, "set")[:limit]:
        name = trajectory.trajectory_id
        scores[name] = scores_of(trajectory.mixtures_TN, seed=len(scores))
        write_feedback(
            warehouse, set_name="set", trajectory_id=name, objectives=NAMES, scores_TD=scores[name]
        )
    return scores
