"""Controllers: whatever chooses the next mixture. The agent is one, every baseline another.

`Controller` is the whole interface; `make_controller` finds one by the name users give.
"""

import difflib
from typing import Protocol

from dmix.mixing.domains import DomainSpace, Vector
from dmix.mixing.history import History
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.layout import Warehouse

CONTROLLERS = {
    "natural": "shares of all samples",
    "naive": "the target field alone",
    "stratified": "all active domains alike",
    "static:FILE": "the constant mixture of a YAML file",
    "agent:NAME": "a trained agent, by name or folder",
    "replay:SET/TRAJECTORY": "the mixtures of a trajectory",
}


class Controller(Protocol):
    """Chooses the mixture of a step from the history; holds no state that the history lacks.

    So a resumed run needs no controller state, and a decision depends on what was seen alone.
    """

    name: str

    def propose(self, history: History) -> Vector:
        """The asked mixture of step `history.step`: non-negative, shape (N,), sum 1."""
        ...


def make_controller(spec: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """The controller that a user names.

    Args:
        spec: One of `CONTROLLERS`.
        warehouse: Where agents and trajectories are looked for.
        space: The domain space of the run; files, agents and trajectories must fit it.

    Raises:
        InputError: If there is no such controller, or what it names does not fit the space.
        NotFoundError: If a file, an agent or a trajectory does not exist.
    """
    # Imported when asked for: the agent needs torch and transformers.
    kind, _, argument = spec.partition(":")
    if spec == "naive":
        from dmix.mixing.controllers.naive import NaiveController

        return NaiveController()
    if spec == "natural":
        from dmix.mixing.controllers.natural import NaturalController

        return NaturalController()
    if spec == "stratified":
        from dmix.mixing.controllers.stratified import StratifiedController

        return StratifiedController()
    if argument and kind == "static":
        from dmix.mixing.controllers.static import StaticController

        return StaticController.from_file(argument, space=space)
    if argument and kind == "agent":
        from dmix.mixing.controllers.agent import AgentController

        return AgentController.load(argument, warehouse=warehouse, space=space)
    if argument and kind == "replay":
        from dmix.mixing.controllers.replay import ReplayController

        return ReplayController.load(argument, warehouse=warehouse, space=space)
    near = difflib.get_close_matches(kind, [name.partition(":")[0] for name in CONTROLLERS], n=1)
    hint = f"; did you mean {next(n for n in CONTROLLERS if n.startswith(near[0]))!r}?" if near else ""
    raise InputError(f"controller {spec!r} is not one of {', '.join(CONTROLLERS)}{hint}")
