"""The constant mixture that effects promise most of (`dmix.mixing.effects.plan`).

A run plans for its own sizes, supply and objectives before it starts, and keeps plan and promise in
its configuration (`plan_for_run`); so its controller is made of numbers that are written down. Where
nobody runs, as in shadow mode, the plan is one for a pass over the dataset with at most four passes
through a domain, and is kept with the effects.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dmix.mixing.controllers.fixed import constant
from dmix.mixing.controllers.interface import Controller
from dmix.mixing.effects.plan import Plan, PlanRules, Supply, make_plan
from dmix.mixing.effects.prediction import predict_stored
from dmix.mixing.effects.store import StoredEffects, fitting_effects
from dmix.mixing.regression.fits import PlannedFit
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.mixtures import parse_mixture
from dmix.mixing.trajectories.objectives import Environment
from dmix.warehouse_schema.files.layout import Warehouse

_PASSES = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptPlan(PlannedFit):
    """A plan that is kept beside the effects that it was made from."""

    @property
    def path(self) -> Path:
        """The file that keeps the plan."""
        return self.warehouse.effects(self.set_name) / "plans" / super().path.name


def plan(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> KeptPlan:
    """The plan for a pass over the dataset, by the effects NAME or the newest that fit the domains.

    Raises:
        NotFoundError: If there are no such effects.
        InputError: If the effects are of other domains.
    """
    stored = fitting_effects(warehouse, space, name=argument or None)
    supply = Supply(total=int(space.samples_N.sum()), samples_N=space.samples_N, max_passes=_PASSES)

    def fit(progress: Any) -> dict[str, Any]:
        return _planned(stored, stored.environment, supply).to_json(space.names)

    return KeptPlan(
        warehouse=warehouse,
        set_name=stored.name,
        kind="plan",
        arrays=(stored.effects.effect_ND, space.samples_N),
        settings={"passes": _PASSES, **asdict(PlanRules())},
        fit=fit,
    )


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """The plan as a constant mixture; `plan` says what is refused."""
    kept = plan(argument, warehouse=warehouse, space=space)
    return promised_controller(kept.read(), name=f"plan:{kept.set_name}", space=space)


def plan_for_run(
    argument: str,
    *,
    warehouse: Warehouse,
    space: DomainSpace,
    environment: Environment | None,
    supply: Supply,
) -> tuple[str, dict[str, Any]]:
    """The name of the effects and the plan with its promise, as plain values, for one run.

    Args:
        argument: Name of the effects; empty for the newest that fit domains and objectives.
        warehouse: Where the effects are.
        space: The domain space of the run.
        environment: Of the run: its weights and scales count; None takes those of the effects.
        supply: What the run can draw.

    Raises:
        NotFoundError: If there are no such effects.
        InputError: If the effects are of other domains or objectives.
    """
    stored = fitting_effects(warehouse, space, name=argument or None, environment=environment)
    objectives = stored.environment if environment is None else environment
    return stored.name, _planned(stored, objectives, supply).to_json(space.names)


def promised_controller(promise: Mapping[str, Any], *, name: str, space: DomainSpace) -> Controller:
    """The constant mixture of a plan that was written down.

    Raises:
        InputError: If it does not fit the domains of the run.
    """
    return constant(parse_mixture(promise["mixture"], space=space, where=name), name=name)


def _planned(stored: StoredEffects, environment: Environment, supply: Supply) -> Plan:
    return make_plan(
        predict_stored([stored]),
        weights_D=environment.weights_D,
        scales_D=environment.scales_D,
        supply=supply,
    )
