"""Mixtures that are fixed before a run begins: the baselines that hear no feedback.

| spec | mixture | source |
|---|---|---|
| `natural` | shares of samples over both fields | arXiv 2507.15640, baselines |
| `naive` | the target field alone, naive continual pre-training | arXiv 2507.15640, baselines |
| `stratified` | every active domain of both fields alike | |
| `static:FILE` | a YAML file, see `parse_mixture` | |
| `source-share:SHARE` | a fixed share of the source, the remedy against forgetting | arXiv 2403.08763 |
| `linear:FROM-TO` | the target share moves on a straight line from first to last step | |
| `cosine:FROM-TO` | the same along half a cosine, slow at both ends | arXiv 1608.03983, learning rates |
| `three-stage[:FROM-TO]` | near the source, a change-over, heavy on the target | arXiv 2507.15640 |

Ibrahim et al. 2024 (arXiv 2403.08763) replay 5% of the source for a weak shift of the data and 25% for a
strong one. Schedules give the target share; within the fields shares are natural. The paper gives no
three-stage schedule to repeat, so its shares and lengths are ours: the first fifth of the run at FROM,
the last two fifths at TO, a straight line in between.
"""

import math
import re
from collections.abc import Callable

import numpy as np

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.space.history import History
from dmix.mixing.space.mixtures import parse_mixture
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.names import from_home
from dmix.warehouse_schema.settings import read_yaml

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_RANGE = re.compile(rf"{_NUMBER}-{_NUMBER}")

# An end at an extreme share was seen to cost more than any gain on the way, so neither end is one.
DEFAULT_SHARES = (0.15, 0.75)
WARM_UP, SETTLED = 0.2, 0.6

Make = Callable[..., Controller]


class FixedController:
    """Proposes what a rule says of the step, whatever the feedback.

    Args:
        mixture: The mixture of a step, from the history that leads to it; sum 1.
        name: Name that the run is recorded under.
    """

    def __init__(self, mixture: Callable[[History], Vector], *, name: str) -> None:
        self.name = name
        self._mixture = mixture

    def propose(self, history: History) -> Proposal:
        return Proposal(self._mixture(history).copy())


def constant(mixture_N: Vector, *, name: str = "static") -> FixedController:
    """The same mixture at every step."""
    return FixedController(lambda history: mixture_N, name=name)


def source() -> FixedController:
    """The source field alone, by its natural shares: the data of base models.

    Users cannot name it, since a continual run under it would learn nothing.
    """
    return FixedController(lambda history: history.space.start_N, name="source")


def natural(argument: str = "", **_: object) -> FixedController:
    """Shares of samples over both fields."""
    return FixedController(lambda history: history.space.natural_N, name="natural")


def naive(argument: str = "", **_: object) -> FixedController:
    """Nothing of the source field, natural shares within the target field."""
    return FixedController(lambda history: history.space.target_state_N, name="naive")


def stratified(argument: str = "", **_: object) -> FixedController:
    """The uniform mixture over the active domains."""
    return FixedController(
        lambda history: history.space.active_N / history.space.active_N.sum(), name="stratified"
    )


def static(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> FixedController:
    """The mixture of a YAML file.

    Raises:
        NotFoundError: If the file does not exist.
        InputError: If a name is unknown, a domain has no samples, or a weight is no number.
    """
    file = from_home(argument)
    mixture_N = parse_mixture(read_yaml(file, keep_names=True), space=space, where=argument)
    return constant(mixture_N, name=f"static:{file.name}")


def source_share(argument: str, **_: object) -> FixedController:
    """A fixed share of the source, the rest is target.

    Raises:
        InputError: If the argument is no number from 0 to 1.
    """
    try:
        share = float(argument)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InputError(
            f"source-share:{argument} contains no share from 0 to 1; write for example source-share:0.05"
        )
    return _by_target_share(lambda part: 1 - share, name=f"source-share:{argument}")


def _schedule(
    kind: str, shape: Callable[[float], float], *, default: tuple[float, float] = (0.0, 1.0)
) -> Make:
    """Makes controllers whose target share goes from FROM to TO as `shape` does from 0 to 1."""

    def make(argument: str, **_: object) -> FixedController:
        first, last = parse_range(argument, spec=kind) if argument else default
        return _by_target_share(
            lambda part: (1 - shape(part)) * first + shape(part) * last,
            name=f"{kind}:{argument}" if argument else kind,
        )

    return make


def change_over(part: float) -> float:
    """How far the change-over has come after a part of the run: 0 in the first stage, 1 in the last."""
    return min(1.0, max(0.0, (part - WARM_UP) / (SETTLED - WARM_UP)))


linear = _schedule("linear", lambda part: part)
cosine = _schedule("cosine", lambda part: (1 - math.cos(math.pi * part)) / 2)
three_stage = _schedule("three-stage", change_over, default=DEFAULT_SHARES)


def _by_target_share(share: Callable[[float], float], *, name: str) -> FixedController:
    """The target share that a schedule gives at the progress of the run, 0 at step 1 and 1 at step M."""

    def mixture(history: History) -> Vector:
        target = share(min(1.0, (history.step - 1) / max(1, history.steps - 1)))
        return history.space.expand(np.array([1 - target, target]))

    return FixedController(mixture, name=name)


def parse_range(argument: str, *, spec: str) -> tuple[float, float]:
    """Two shares written FROM-TO.

    Raises:
        InputError: If the argument has another form, or a share is above 1.
    """
    found = _RANGE.fullmatch(argument)
    if found is None or not all(float(share) <= 1 for share in found.groups()):
        raise InputError(
            f"{spec}:{argument} does not contain two target shares from 0 to 1; write for "
            f"example {spec}:0.2-0.8"
        )
    return float(found[1]), float(found[2])
