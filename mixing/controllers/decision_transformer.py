"""Decision Transformer: imitates a farm, conditioned on the gain that each run still had ahead.

Chen et al. 2021 (arXiv 2106.01345). The network reads the tokens of the paper's agent with one number
more, the return-to-go G_t = U_T - U_t in units of the farm's deviation; it is trained by Eq. 4 on every
comparable run of the farm. In a run G_0 is a quantile of the farm's outcomes, and falls by what the run has
gained. Departs from it: one token a step holds return, scores and the last mixture, in place of three
tokens, and mixtures are the output, not a law.

Shapes: E episodes, T steps, X token width, N domains.
"""

import base64
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import torch
from safetensors.torch import load, save
from torch import nn

from dmix.mixing.agent.agent import MixingAgent
from dmix.mixing.agent.inputs import reading, run_tokens
from dmix.mixing.agent.standardise import carried_forward
from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.learning.sft import fit
from dmix.mixing.offline.episodes import Episodes
from dmix.mixing.offline.farm import Farm, config_of_farm, load_farm
from dmix.mixing.offline.sft_examples import Example
from dmix.mixing.regression.fits import PlannedFit
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.space.history import History
from dmix.mixing.space.simplex import masked_mixture
from dmix.mixing.trajectories.objectives import utility
from dmix.mixing.trajectories.store import read_fitting_set
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.weights import readable

# A farm of tens of runs teaches no more than a small network holds.
SETTINGS = SftSettings(hidden_size=64, feedforward=128)


class DecisionTransformerController:
    """Proposes what runs of the farm did that still gained as much as this one is to gain.

    Args:
        network: An agent whose projection reads the return-to-go as its last column.
        aim: Final utility that is asked for.
        spread: Standard deviation of the farm's outcomes.
        weights_D: Lambda of the farm's objectives.
        name: What the run is recorded under.
    """

    def __init__(
        self, network: MixingAgent, *, aim: float, spread: float, weights_D: Vector, name: str
    ) -> None:
        self.name = name
        self.context = int(network.config.context)
        self._network, self._aim, self._spread, self._weights_D = network, aim, spread, weights_D

    def propose(self, history: History) -> Proposal:
        """The mixture that follows; natural shares where the first or the newest score is missing.

        Raises:
            InputError: If the run does not measure an objective of the farm.
        """
        read = reading(self._network.config, history, name=self.name)
        scores_TD = history.feedback_TD[:, [history.objectives.index(name) for name in read.objectives]]
        if not np.isfinite(scores_TD[[0, -1]]).all():
            note = "a score is missing, so this step uses natural mixing"
            return Proposal(history.space.natural_N.copy(), note=note)
        gained_T = utility(scores_TD, scores_TD[0], read.scales_D, self._weights_D)
        # a missing score in between says nothing new of what is still to gain
        (gained_T,) = carried_forward(gained_T[:, None], np.isfinite(gained_T)[:, None]).T
        togo_T = (self._aim - gained_T) / self._spread
        tokens_TX = np.column_stack([run_tokens(self._network.config, history, read), togo_T])
        mixture_N = self._network.next_mixture(tokens_TX.astype(np.float32), history.space.active_N)
        return Proposal(masked_mixture(mixture_N, history.space))


def plan(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> PlannedFit:
    """The training of the network of a set, `SET` or `SET:QUANTILE`.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If it has other domains than the run, no run that was scored to its end, or
            the quantile is none.
    """
    set_name, _ = _parsed(argument)
    read_fitting_set(warehouse, set_name, space=space)
    return _plan(warehouse, load_farm(warehouse, set_name, preset=None))


def _plan(warehouse: Warehouse, farm: Farm) -> PlannedFit:
    taught = farm.episodes.best(1.0)

    def train(progress: Callable[[str], None]) -> str:
        network, examples = _network(farm), _examples(taught, _spread(taught))
        fit(network, examples, space=farm.space, settings=SETTINGS, progress=progress)
        return base64.b64encode(save(network.state_dict())).decode()

    return PlannedFit(
        warehouse=warehouse,
        set_name=farm.set_name,
        kind="decision",
        arrays=(taught.tokens_ESX.numpy(), taught.actions_ETN.numpy(), taught.utility_ES.numpy()),
        settings=asdict(SETTINGS),
        fit=train,
    )


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """The prepared network of a set, which asks for a quantile of the set's outcomes."""
    set_name, quantile = _parsed(argument)
    read_fitting_set(warehouse, set_name, space=space)
    farm = load_farm(warehouse, set_name, preset=None)
    taught, network = farm.episodes.best(1.0), _network(farm)
    plan = _plan(warehouse, farm)
    with readable(
        plan.path, what="weights of this controller", fix="delete the file; dmix then fits the weights again"
    ):
        network.load_state_dict(load(base64.b64decode(plan.read())))
    return DecisionTransformerController(
        network.eval(),
        aim=float(np.quantile(taught.gains_E.double().numpy(), quantile)),
        spread=_spread(taught),
        weights_D=farm.weights_D,
        name=f"decision-transformer:{argument}",
    )


def _spread(taught: Episodes) -> float:
    """Standard deviation of the outcomes; 1 if they are all the same."""
    return float(taught.gains_E.double().numpy().std()) or 1.0


def _parsed(argument: str) -> tuple[str, float]:
    """(set, quantile) of `SET[:QUANTILE]`; the farm's best run, 1, if none is given."""
    set_name, colon, given = argument.partition(":")
    try:
        quantile = float(given) if colon else 1.0
    except ValueError:
        quantile = float("nan")
    if not 0 <= quantile <= 1:
        raise InputError(f"quantile is {given!r} in decision-transformer:{argument}, expected 0 to 1")
    return set_name, quantile


def _network(farm: Farm) -> MixingAgent:
    """An untrained agent for the farm that reads one column more; its weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(SETTINGS.seed)
        network = MixingAgent(config_of_farm(farm, settings=SETTINGS))
        network.encoder.project = nn.Linear(network.config.token_width + 1, network.config.hidden_size)
        network.encoder.reset_projection()
    return network


def _examples(taught: Episodes, spread: float) -> list[Example]:
    """Runs as sequences of tokens with their return-to-go, and the mixtures that followed."""
    examples = []
    for row, length in enumerate(taught.valid_mask_ET.sum(1).tolist()):
        togo_T = (taught.utility_ES[row, length] - taught.utility_ES[row, :length]) / spread
        tokens_TX = torch.cat([taught.tokens_ESX[row, :length], togo_T[:, None]], dim=1)
        examples.append(
            Example(tokens_TX=tokens_TX.numpy(), mixtures_TN=taught.actions_ETN[row, :length].numpy())
        )
    return examples
