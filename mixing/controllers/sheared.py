"""The rule of Sheared LLaMA, dynamic batch loading (Xia et al. 2023, arXiv 2310.06694).

After each step the weight of a domain grows with what its loss lies above a reference (exponentiated
ascent, after DoReMi, Xie et al. 2023, arXiv 2305.10429):

    w_i <- w_i exp(max(l_i - ref_i, 0)) / sum,    then  w <- (1 - c) w + c / K,  c = 1e-4

Reference losses come from a file (`sheared:FILE`: field/domain, or field, with a loss in nats per token),
for example those of a model trained on the domain alone. Without a file they are the losses of each
domain in the first step that served it, so that weight goes to what is being forgotten.

Departures: the paper takes validation losses and predicts its references from a scaling law over three
model sizes; a run here has one model and its training losses. A domain that a step did not serve keeps
its last loss. Weights start from natural shares. Shapes: N domains, T rows of history.
"""

from pathlib import Path

import numpy as np

from dmix.mixing.agent.standardise import carried_forward
from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.space.history import History
from dmix.mixing.space.mixtures import checked_weight, index_of_name
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.names import from_home
from dmix.warehouse_schema.settings import read_yaml
from dmix.warehouse_schema.taxonomy import FIELDS

_SMOOTHING = 1e-4


class ShearedController:
    """Exponentiated ascent on the loss above reference, from natural shares on.

    Args:
        references_N: Nats a token, NaN where the first loss of the run is to serve; None for all.
        name: What the run is recorded under.
    """

    # Each step multiplies the weights of the one before.
    context = None

    def __init__(self, references_N: Vector | None = None, *, name: str = "sheared") -> None:
        self.name = name
        self._references_N = references_N

    def propose(self, history: History) -> Proposal:
        space = history.space
        known_TN = ~np.isnan(history.losses_TN[1:])
        losses_TN = carried_forward(history.losses_TN[1:], known_TN, before=np.nan)
        first_TN = carried_forward(history.losses_TN[1:][::-1], known_TN[::-1], before=np.nan)
        references_N = first_TN[-1:].reshape(-1)
        if not len(references_N):
            return Proposal(space.natural_N.copy())
        if self._references_N is not None:
            references_N = np.where(np.isnan(self._references_N), references_N, self._references_N)
        weights_N = space.natural_N
        uniform_N = space.active_N / space.active_N.sum()
        for losses_N in losses_TN:
            excess_N = np.nan_to_num(np.maximum(losses_N - references_N, 0.0))
            weights_N = weights_N * np.exp(excess_N - excess_N.max())
            weights_N = (1 - _SMOOTHING) * weights_N / weights_N.sum() + _SMOOTHING * uniform_N
        return Proposal(weights_N / weights_N.sum())


def read_references(path: str, *, space: DomainSpace) -> Vector:
    """Reference losses by domain from a YAML file, shape (N,); NaN where it names none.

    Raises:
        NotFoundError: If the file does not exist.
        InputError: If a name is unknown, a loss is no number from 0 on, or nothing is named.
    """
    references_N = np.full(len(space), np.nan)
    values = read_yaml(from_home(path), keep_names=True)
    if not values:
        raise InputError(f"{path} contains no reference loss; write for example 'source/News: 3.2'")
    for name, given in sorted(values.items(), key=lambda item: item[0] not in FIELDS):
        loss = checked_weight(given, f"{path}: {name}")
        if name in FIELDS:
            references_N[space.target_N == (name == "target")] = loss
        else:
            references_N[index_of_name(name, space=space, where=path)] = loss
    return references_N


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """From the path of a file of reference losses, or nothing; `read_references` says what is refused."""
    if not argument:
        return ShearedController()
    references_N = read_references(argument, space=space)
    return ShearedController(references_N, name=f"sheared:{Path(argument).name}")
