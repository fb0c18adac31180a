"""What decides the mixtures of a run: the controller, its guard rails, and another one in shadow.

A run keeps the three as texts in its configuration; here they become one controller.
"""

from collections.abc import Callable, Mapping
from typing import Any

from dmix.mixing.agent.folders import agent_folder
from dmix.mixing.controllers import Controller
from dmix.mixing.controllers.guarded import GuardedController, load_limits
from dmix.mixing.controllers.plan import promised_controller
from dmix.mixing.controllers.registry import check_controller, make_controller, prepare_controller
from dmix.mixing.controllers.shadow import ShadowController
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.store import read_set, sets
from dmix.warehouse_schema.files.layout import Warehouse, read_json
from dmix.warehouse_schema.files.names import from_home


def steering_controller(
    spec: str,
    *,
    guard: str,
    shadow: str,
    warehouse: Warehouse,
    space: DomainSpace,
    promise: Mapping[str, Any] | None = None,
) -> Controller:
    """The controller `spec`, within the limits `guard`, beside the controller `shadow`.

    Args:
        spec: One of `dmix.mixing.controllers.registry.CONTROLLERS`.
        guard: `SET` or `SET:QUANTILE`; empty for no guard rails.
        shadow: A spec too; empty for none. It is not guarded: what it would do is to be seen.
        warehouse: Where sets and agents are looked for.
        space: The domain space of the run.
        promise: The plan of a run that has one; then `spec` only names it.

    Raises:
        InputError: If one of them does not fit the space.
        NotFoundError: If something that is named does not exist, or is not prepared.
    """
    if promise is None:
        controller = make_controller(spec, warehouse=warehouse, space=space)
    else:
        controller = promised_controller(promise, name=spec, space=space)
    if guard:
        limits = load_limits(guard, warehouse=warehouse, space=space)
        controller = GuardedController(controller, limits)
    if shadow:
        controller = ShadowController(controller, make_controller(shadow, warehouse=warehouse, space=space))
    return controller


def check_steering(spec: str, *, guard: str, shadow: str, warehouse: Warehouse, space: DomainSpace) -> None:
    """Raises what `steering_controller` would refuse once it is prepared; neither fits nor writes."""
    for one in filter(None, (spec, shadow)):
        check_controller(one, warehouse=warehouse, space=space)
    if guard:
        load_limits(guard, warehouse=warehouse, space=space)


def prepare_steering(
    spec: str, *, shadow: str, warehouse: Warehouse, space: DomainSpace, progress: Callable[[str], None]
) -> None:
    """Fits and keeps what the controllers of a run need; the first rank calls it, once."""
    for one in filter(None, (spec, shadow)):
        prepare_controller(one, warehouse=warehouse, space=space, progress=progress)


def resolved_guard(asked: str, *, controller: str, warehouse: Warehouse, space: DomainSpace) -> str:
    """Set and quantile of the guard rails that a run gets; empty for none.

    Args:
        asked: `auto`, `off`, `SET` or `SET:QUANTILE`. `auto` takes the set that an agent was trained
            on, if the warehouse has its trajectories for the domains of the run.
        controller: The spec of the controller.
        warehouse: Where sets and agents are.
        space: The domain space of the run.
    """
    if asked != "auto":
        return "" if asked == "off" else asked
    set_name = farm_of(controller, warehouse=warehouse)
    if set_name not in sets(warehouse) or read_set(warehouse, set_name).space != space.names:
        return ""
    return set_name if any(warehouse.trajectories(set_name).glob("*.parquet")) else ""


def farm_of(controller: str, *, warehouse: Warehouse) -> str:
    """The set that an agent was trained on; empty for other controllers."""
    kind, _, name = controller.partition(":")
    if kind != "agent":
        return ""
    config = read_json(agent_folder(warehouse, name) / "config.json")
    return str(config.get("set_name") or "")


def absolute_spec(controller: str) -> str:
    """The controller with the path that it may name made absolute, so that a resume finds it."""
    kind, _, argument = controller.partition(":")
    path, colon, rest = argument.partition(":") if kind == "python" else (argument, "", "")
    names_file = (
        (kind in ("static", "sheared") and argument != "")
        or (kind == "agent" and ("/" in argument or argument.startswith(".")))
        or (kind == "python" and path.endswith(".py"))
    )
    return f"{kind}:{from_home(path).absolute()}{colon}{rest}" if names_file else controller
