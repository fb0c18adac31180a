"""What regressors learn from a farm: its static runs, and the steps of all its runs.

Runs of proxies with another learning rate, width, base or source are left out: a regressor sees
mixtures alone, and would take what such a proxy gained or lost for their doing.

Shapes: R runs or steps, N (field, domain) pairs, D objectives, T entries of a trajectory,
X = 2 N + 1 features of a step.
"""

from dataclasses import dataclass, replace

import numpy as np

from dmix.mixing.offline.stored import read_farm
from dmix.mixing.space.domains import Array
from dmix.mixing.trajectories.objectives import utility
from dmix.mixing.trajectories.store import Trajectory
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

# Fewer static runs than this say nothing about a mixture of a handful of domains.
FEWEST_RUNS = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class FarmRuns:
    """Scored trajectories of a set, as utilities.

    Attributes:
        set_name: The set.
        names: (field, domain) of every index of a mixture.
        steps: M.
        trajectories: Those with a score after every step, of default proxies.
        utilities: U after each entry of theirs, shape (T,) each; 0 at the start.
        finals: Change of each score over a trajectory, shape (D,) each, in nats.
        scales_D: s_o of the objectives.
        weights_D: lambda_o, summing to 1.
    """

    set_name: str
    names: tuple[tuple[str, str], ...]
    steps: int
    trajectories: tuple[Trajectory, ...]
    utilities: tuple[Array, ...]
    finals: tuple[Array, ...]
    scales_D: Array
    weights_D: Array

    def static_scores(self) -> tuple[Array, Array]:
        """(mixtures (R, N), changes of the scores (R, D)) of the runs that hold one mixture.

        Raises:
            InputError: If there are too few.
        """
        mixtures_RN, _ = self.static()
        kinds = [trajectory.kind for trajectory in self.trajectories]
        return mixtures_RN, np.stack(
            [f for f, kind in zip(self.finals, kinds, strict=True) if kind == "static"]
        )

    def static(self) -> tuple[Array, Array]:
        """(mixtures (R, N), final U (R, 1)) of the runs that hold one mixture.

        Raises:
            InputError: If there are too few.
        """
        found = [
            (trajectory.mixtures_TN[-1], values_T[-1])
            for trajectory, values_T in zip(self.trajectories, self.utilities, strict=True)
            if trajectory.kind == "static"
        ]
        if len(found) < FEWEST_RUNS:
            raise InputError(
                f"set {self.set_name!r} has {len(found)} constant runs of the default proxy with "
                f"feedback, expected at least {FEWEST_RUNS}; run 'dmix mix sample --preset default' and "
                "'dmix mix collect'"
            )
        return np.stack([mixture_N for mixture_N, _ in found]), np.array([[value] for _, value in found])

    def changes(self) -> tuple[Array, Array]:
        """(features (R, X), changes of U (R, 1)) of every step of every run.

        Raises:
            InputError: If there are no runs.
        """
        if not self.trajectories:
            raise InputError(f"set {self.set_name!r} has no feedback; run 'dmix mix collect' first")
        features, changes = [], []
        for trajectory, values_T in zip(self.trajectories, self.utilities, strict=True):
            drawn_TN = trajectory.mixtures_TN[1:]
            for index, mixture_N in enumerate(drawn_TN):
                features.append(step_features(mixture_N[None], drawn_TN[:index], index + 1, self.steps)[0])
            changes.append(np.diff(values_T))
        return np.stack(features), np.concatenate(changes)[:, None]


def step_features(mixtures_CN: Array, drawn_TN: Array, step: int, steps: int) -> Array:
    """Features of drawing each of C mixtures at a step: it, what was drawn before, and the time.

    Args:
        mixtures_CN: Candidates for the step.
        drawn_TN: Mixtures of earlier steps; of the last ones alone, they stand for all.
        step: t, from 1.
        steps: M.

    Returns:
        Shape (C, 2 N + 1); what was drawn is in units of M steps.
    """
    before_N = drawn_TN.mean(0) * (step - 1) / steps if len(drawn_TN) else np.zeros(mixtures_CN.shape[1])
    known = np.append(before_N, step / steps)
    return np.hstack([mixtures_CN, np.broadcast_to(known, (len(mixtures_CN), len(known)))])


def load_farm_runs(warehouse: Warehouse, set_name: str) -> FarmRuns:
    """The runs of a set whose proxy was the default one, with a score after every step.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If it has no feedback.
    """
    farm = read_farm(warehouse, set_name)
    if not farm.feedback.scores:
        raise InputError(f"set {set_name!r} has no feedback; run 'dmix mix collect' first")
    scores, variations = farm.feedback.scores, farm.feedback.variations
    trajectories, utilities, finals = [], [], []
    for trajectory in farm.trajectories:
        scores_TD = scores.get(trajectory.trajectory_id)
        if scores_TD is None or variations[trajectory.trajectory_id]:
            continue
        if len(scores_TD) != len(trajectory.mixtures_TN):
            continue
        known_T = np.isfinite(scores_TD).all(1)
        made = int(known_T.sum())
        # Rows after the end of a run's data are NaN; a gap before that leaves changes unknown.
        if made < 2 or not known_T[:made].all():
            continue
        trajectories.append(replace(trajectory, mixtures_TN=trajectory.mixtures_TN[:made]))
        utilities.append(utility(scores_TD[:made], scores_TD[0], farm.scales_D, farm.weights_D))
        finals.append(scores_TD[made - 1] - scores_TD[0])
    return FarmRuns(
        set_name=set_name,
        names=farm.found.space,
        steps=farm.found.steps,
        trajectories=tuple(trajectories),
        utilities=tuple(utilities),
        finals=tuple(finals),
        scales_D=farm.scales_D,
        weights_D=farm.weights_D,
    )
