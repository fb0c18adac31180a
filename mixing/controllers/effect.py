"""The effect agent in a run: plans by effects, listens to the scores, and plans what is left anew.

`dmix.mixing.effects.effect_agent` holds the arithmetic. Every step writes an event of kind `forecast`: the
scores that it expects after the step, with 95% intervals, so that a reader can compare what was
promised with what came.
"""

import numpy as np

from dmix.mixing.controllers.interface import Controller, ControllerEvent, Proposal
from dmix.mixing.effects.belief import BeliefSettings
from dmix.mixing.effects.effect_agent import (
    ListeningRules,
    forecast_json,
    forecast_of,
    heard_by_plan,
    listen,
    replan,
    with_run_effects,
)
from dmix.mixing.effects.prediction import Prediction, predict_stored
from dmix.mixing.effects.settings import PlanRules
from dmix.mixing.effects.store import fitting_effects
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.space.history import History
from dmix.mixing.trajectories.objectives import Environment, changed_names
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.sizes import num_text

TAUGHT = BeliefSettings(scale=0.42, direction=0.92, noise=0.35, saturation=3.0)
"""What the fitting worlds taught (`benchmarks/quality/worlds/priors.json`); the gain of natural mixing
depends on the model, so it stays unknown."""


class EffectController:
    """Closed loop over a prediction; the plan where scores say nothing new.

    Args:
        prediction: Of the objectives of the run, in their order.
        name: What the run is recorded under.
        rules: Pull and caution of the plan.
        belief: Prior and noise of the filter.
        listening: Price of a change, and when promises count as broken.
        noise_D: Measured standard deviation of each score's noise, nats per token; None takes the belief's.
    """

    # The filter reads the scores of all steps.
    context = None

    def __init__(
        self,
        prediction: Prediction,
        *,
        name: str = "effect",
        rules: PlanRules | None = None,
        belief: BeliefSettings | None = None,
        listening: ListeningRules | None = None,
        noise_D: Vector | None = None,
    ) -> None:
        self.name = name
        self._prediction = prediction
        self._rules = rules or PlanRules()
        self._belief = belief or BeliefSettings()
        self._listening = listening or ListeningRules()
        self._noise_D = noise_D

    def propose(self, history: History) -> Proposal:
        """The next mixture; natural shares where the first scores are missing or promises are broken.

        Raises:
            InputError: If the run has other objectives or domains than the effects.
        """
        self._check(history)
        if not np.isfinite(history.feedback_TD[0]).all():
            return _natural(history, "a score before the first step is missing")
        known = heard_by_plan(self._prediction, history, self._rules)
        heard = listen(history, known, self._belief, noise_D=self._noise_D)
        if heard.surprise > self._listening.contradiction:
            return _natural(
                history,
                f"the effects do not fit this run: the utility is {heard.surprise:.1f} standard errors "
                f"below its forecasts (limit {self._listening.contradiction:g})",
            )
        prediction = with_run_effects(known, history, trust=self._listening.trust)
        mixture_N = replan(history, prediction, heard, rules=self._rules, listening=self._listening)
        forecast = forecast_of(history, prediction, heard, mixture_N)
        event = ControllerEvent(kind="forecast", detail=forecast_json(history.objectives, forecast))
        return Proposal(mixture_N, events=(event,))

    def _check(self, history: History) -> None:
        if history.objectives != self._prediction.objectives:
            raise InputError(
                "the effects are for other objectives than the run's "
                f"({changed_names(self._prediction.objectives, history.objectives)}); run 'dmix mix probe "
                "--environment FILE' with the environment file of the run"
            )
        if len(history.space) != len(self._prediction.natural_N):
            covered = num_text(len(self._prediction.natural_N), "domain")
            raise InputError(
                f"the effects cover {covered}, but the run has {len(history.space)}; run 'dmix mix probe' "
                "on its dataset"
            )


def _natural(history: History, why: str) -> Proposal:
    return Proposal(history.space.natural_N.copy(), note=f"{why}; dmix uses natural mixing instead")


def resolved_name(
    argument: str, *, warehouse: Warehouse, space: DomainSpace, environment: Environment
) -> str:
    """Name of the effects that a run steers by, so that a resume reads the same ones.

    Args:
        argument: Their name; empty for the newest about these domains and objectives.
        warehouse: Where they are.
        space: The domains of the run.
        environment: The objectives of the run.

    Raises:
        NotFoundError: If there are none.
        InputError: If they are about other domains or objectives.
    """
    stored = fitting_effects(warehouse, space, name=argument or None, environment=environment)
    return stored.name


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """The effect agent over the effects of a name, or the newest that fit the domains."""
    stored = fitting_effects(warehouse, space, name=argument or None)
    return EffectController(
        predict_stored([stored], taught=True), name=f"effect:{stored.name}", belief=TAUGHT
    )
