"""A farm as it is stored: a set, its feedback and its environment, each read once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dmix.mixing.agent.features import RunContext
from dmix.mixing.agent.set_features import ObjectiveSpec
from dmix.mixing.space.domains import Vector
from dmix.mixing.trajectories.feedback import Feedback, farm_scales, load_feedback, read_trained
from dmix.mixing.trajectories.objectives import Environment, load_environment
from dmix.mixing.trajectories.store import Trajectory, TrajectorySet, read_set
from dmix.warehouse_schema.files.layout import Warehouse


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredFarm:
    """What the warehouse holds of a farm.

    Attributes:
        found: What the set was made from.
        feedback: All scores; may be none.
        environment: Environment of the scores; None if the set has no file of it.
        trajectories: All of the set, with the mixtures that proxies were trained on.
    """

    found: TrajectorySet
    feedback: Feedback
    environment: Environment | None
    trajectories: tuple[Trajectory, ...]

    @cached_property
    def scales_D(self) -> Vector:
        """s_i: those of the environment, else those of the scores that are there."""
        published = {} if self.environment is None else self.environment.scales
        if set(published) >= set(self.feedback.objectives):
            return np.array([published[name] for name in self.feedback.objectives])
        return farm_scales(self.feedback.scores.values(), objectives=self.feedback.objectives)

    @cached_property
    def weights_D(self) -> Vector:
        """lambda_i of the environment, 1/D each without one."""
        if self.environment is None:
            return np.full(len(self.feedback.objectives), 1 / max(1, len(self.feedback.objectives)))
        by_name = dict(zip(self.environment.names, self.environment.weights_D, strict=True))
        return np.array([by_name[name] for name in self.feedback.objectives])

    def context(self, *, as_sets: bool) -> RunContext:
        """The context of the farm's runs, with an objective spec for a set agent."""
        return RunContext.of_set(self.found, objective_spec=self._objective_spec() if as_sets else None)

    def preset(self, asked: str | None, *, as_sets: bool) -> str:
        """Preset of the tokens: `default` for a set agent, else the asked one, else the set's."""
        return "default" if as_sets else asked or self.found.preset

    def _objective_spec(self) -> ObjectiveSpec:
        if self.environment is None:
            return ObjectiveSpec.of(self.weights_D, ())
        roles = dict(zip(self.environment.names, self.environment.roles, strict=True))
        return ObjectiveSpec.of(self.weights_D, [roles[name] for name in self.feedback.objectives])


def read_farm(warehouse: Warehouse, set_name: str) -> StoredFarm:
    """A set with its feedback.

    Raises:
        NotFoundError: If there is no such set, or none of its trajectories is finished.
        InputError: If a file is damaged.
    """
    found, feedback = read_set(warehouse, set_name), load_feedback(warehouse, set_name)
    path = warehouse.feedback(set_name) / "environment.yaml"
    return StoredFarm(
        found=found,
        feedback=feedback,
        environment=load_environment(path) if path.is_file() else None,
        trajectories=tuple(read_trained(warehouse, set_name, feedback)),
    )
