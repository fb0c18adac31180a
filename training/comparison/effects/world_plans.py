"""How priors that worlds taught steer runs in other worlds (method §8, §9).

Scales of a world are the spread that counts predict over tilts of its natural mixture, so they need no
run. `benchmarks/worlds` fits the priors to the stored runs of fitting worlds: how far the promises of
counts and of gradients come true, how the gain bends away from natural mixing, what natural mixing
gains, and how far scores move otherwise. All but beta and gamma are in scales, so that they carry over.

Shapes: N domains, D objectives, P runs.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dmix.mixing.controllers.effect import EffectController
from dmix.mixing.controllers.fixed import constant
from dmix.mixing.controllers.interface import Controller
from dmix.mixing.effects.belief import BeliefSettings
from dmix.mixing.effects.plan import Supply, make_plan
from dmix.mixing.effects.prediction import Coefficients, Prediction, keeping_fields, predict
from dmix.mixing.effects.store import StoredEffects
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.training.comparison.data.settings import ComparisonSettings
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import read_json
from dmix.warehouse_schema.files.manifest_json import digest_of

PRIORS_FILE = "priors.json"
NATURAL, COUNTS_PLAN, PLAN, AGENT = "natural", "counts-plan", "plan", "effect"
FITTING, LADDER, HELD_OUT = "fitting", "ladder", "held-out"
FRESH = 2
COUNTS = "counts"


@dataclass(frozen=True, kw_only=True)
class WorldPriors:
    """What the fitting worlds say of text that nobody has run yet.

    Attributes:
        beta, gamma: Parts of the promises by counts and by gradients that come true.
        q: Loss for each nat of KL from natural mixing, in scales.
        natural_gain: Gain of a run under natural mixing by role, in scales.
        drift, scale, direction, noise, saturation: As in `BeliefSettings`.
        worlds: Fitting worlds that it follows from.
        runs: Their runs.
    """

    beta: float
    gamma: float
    q: float
    natural_gain: dict[str, float]
    drift: float
    scale: float
    direction: float
    noise: float
    saturation: float = 0.0
    worlds: int = 0
    runs: int = 0

    def digest(self, spec: str) -> str:
        """Hash of the numbers that a controller may follow: when gains come is nothing to the static plan."""
        found = asdict(self)
        if spec == PLAN:
            del found["saturation"]
        return digest_of([found])

    def coefficients(self, scales_D: Vector) -> Coefficients:
        """beta, gamma and q of each objective."""
        ones_D = np.ones_like(scales_D)
        return Coefficients(beta_D=self.beta * ones_D, gamma_D=self.gamma * ones_D, q_D=self.q * scales_D)

    def belief(self) -> BeliefSettings:
        """Prior and noise of the effect agent.

        What natural mixing gains here is known from other worlds alone, and drift is how far these are apart.
        """
        return BeliefSettings(
            drift=self.drift,
            natural=self.drift,
            scale=self.scale,
            direction=self.direction,
            noise=self.noise,
            saturation=self.saturation,
        )


PLAIN = WorldPriors(
    beta=1.0,
    gamma=0.0,
    q=0.0,
    natural_gain={"general": 0.0, "target": 0.0},
    drift=BeliefSettings().drift,
    scale=BeliefSettings().scale,
    direction=BeliefSettings().direction,
    noise=BeliefSettings().noise,
)
"""Those of the plan without any fit: counts alone."""


def priors_file(setting_file: Path, kind: str) -> Path:
    """The priors of a world: one file for all held-out worlds, and one for each world of the ladder."""
    name = f"priors-{setting_file.stem}.json" if kind == LADDER else PRIORS_FILE
    return setting_file.with_name(name)


def read_priors(path: Path) -> WorldPriors:
    """The priors of a file.

    Raises:
        NotFoundError: If no fit was made yet.
        InputError: If the file is damaged.
    """
    if not path.is_file():
        raise NotFoundError(
            f"{path} does not exist; run the fitting worlds, then run 'python -m benchmarks.worlds fit'"
        )
    try:
        return WorldPriors(**read_json(path))
    except TypeError as error:
        raise InputError(f"{path} is damaged ({error}); fit the priors again") from None


def gradients_of(base: str) -> str:
    """Name of the gradients of a base model."""
    return f"gradient-{base}"


def world_prediction(
    counts: StoredEffects, gradients: StoredEffects | None, priors: WorldPriors
) -> Prediction:
    """What a world's effects promise, by what other worlds taught."""
    scales_D = counts.effects.scales_D
    measured = [gradients] if gradients is not None and priors.gamma > 0 else []
    found = predict(
        [counts.effects, *(stored.effects for stored in measured)],
        counts.counts,
        coefficients=priors.coefficients(scales_D),
        natural_gain_D=scales_D * [priors.natural_gain[role] for role in counts.effects.roles],
    )
    return keeping_fields(found, counts.effects)


def run_supply(settings: ComparisonSettings, space: DomainSpace) -> Supply:
    """What a run of a setting can draw."""
    return Supply(total=settings.run_samples, samples_N=space.samples_N, max_passes=settings.max_passes)


def planned_mixture(
    spec: str,
    settings: ComparisonSettings,
    space: DomainSpace,
    *,
    counts: StoredEffects,
    gradients: StoredEffects | None,
    priors: WorldPriors,
    weights_D: Vector,
) -> Vector:
    """The static plan of a world, shape (N,).

    Args:
        spec: `PLAN`, or `COUNTS_PLAN`, whose priors are `PLAIN`.
        settings: Of the world: its sizes and passes.
        space: Its domains.
        counts, gradients: What was measured in it.
        priors: What other worlds taught.
        weights_D: lambda, summing to 1.
    """
    if spec == COUNTS_PLAN:
        priors = PLAIN
    return make_plan(
        world_prediction(counts, gradients, priors),
        weights_D=weights_D,
        scales_D=counts.effects.scales_D,
        supply=run_supply(settings, space),
    ).mixture_N


def world_controller(
    spec: str,
    settings: ComparisonSettings,
    space: DomainSpace,
    *,
    counts: StoredEffects,
    gradients: StoredEffects | None,
    priors: WorldPriors,
    weights_D: Vector,
) -> Controller:
    """The controller of a run; see `planned_mixture`.

    `natural`, `counts-plan` (nothing fitted), `plan` (with priors and gradients), or `effect`, which listens.
    """
    if spec == NATURAL:
        return constant(space.natural_N, name=NATURAL)
    if spec == AGENT:
        return EffectController(
            world_prediction(counts, gradients, priors), name=AGENT, belief=priors.belief()
        )
    mixture_N = planned_mixture(
        spec, settings, space, counts=counts, gradients=gradients, priors=priors, weights_D=weights_D
    )
    return constant(mixture_N, name=spec)
