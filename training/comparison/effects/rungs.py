"""Two more steps of the ladder of plans: one that runs check, and one that probes inform (method §8).

Both start from counts, in worlds of the ladder. `checked-plan` runs plans of several pulls, and natural
mixing twice, and takes the best plan if it is ahead by two standard errors. `probed-plan` adds effects by
probes, with coefficients fitted to the probes themselves, towards what other worlds taught. Both see feedback
items alone. Shapes: N domains, D objectives, R runs, I items, P probes.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dmix.mixing.effects.effects import Effects
from dmix.mixing.effects.plan import checked_choice, make_plan
from dmix.mixing.effects.prediction import Prediction, keeping_fields, predict, ridge_coefficients
from dmix.mixing.effects.settings import CHECK_PULLS, PlanRules
from dmix.mixing.effects.store import StoredEffects
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.training.comparison.data.settings import ComparisonSettings
from dmix.training.comparison.effects.judgement import FEEDBACK, ProbeRows, Row, Stored
from dmix.training.comparison.effects.world_plans import PLAIN, WorldPriors, run_supply, world_prediction
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_json, read_json

CHECKED, PROBED = "checked-plan", "probed-plan"
RUNGS_FILE = "rungs.json"


@dataclass(frozen=True, kw_only=True)
class Rungs:
    """What the two plans of a world are.

    Attributes:
        mixtures: Mixture of each.
        pull: Multiple of the usual pull that the checks chose; None for natural mixing.
        gains: Gain in U of each pull over natural mixing in its check, in the order of `CHECK_PULLS`.
        stderrs: Standard errors of these.
        prices: Run equivalents of each plan.
        promised: U over natural mixing that the plan with probes promises.
    """

    mixtures: dict[str, list[float]]
    pull: float | None
    gains: list[float]
    stderrs: list[float]
    prices: dict[str, float]
    promised: float


def write_rungs(results: Path, rungs: Rungs) -> None:
    """Publishes the plans with the results of their world."""
    publish_json(results / RUNGS_FILE, asdict(rungs))


def rung_mixture(results: Path, name: str) -> Vector:
    """The mixture of a plan, shape (N,).

    Raises:
        InputError: If it is not made yet.
    """
    path = results / RUNGS_FILE
    if not path.is_file():
        raise InputError(f"{path} does not exist; run --stage rungs")
    return np.array(Rungs(**read_json(path)).mixtures[name])


def pulled_mixture(
    factor: float,
    settings: ComparisonSettings,
    space: DomainSpace,
    *,
    counts: StoredEffects,
    weights_D: Vector,
) -> Vector:
    """The plan from counts under a multiple of the usual pull, shape (N,)."""
    return make_plan(
        world_prediction(counts, None, PLAIN),
        weights_D=weights_D,
        scales_D=counts.effects.scales_D,
        supply=run_supply(settings, space),
        rules=PlanRules(pull=PlanRules().pull * factor),
    ).mixture_N


def find_rungs(
    stored: Stored, base: int, *, counts: StoredEffects, priors: WorldPriors, weights_D: Vector
) -> Rungs:
    """Both plans of a world, from its check runs and probes.

    Args:
        stored: The rows of the world.
        base: Base model of its runs.
        counts: Its effects by counts.
        priors: What other worlds taught.
        weights_D: lambda, summing to 1.

    Raises:
        InputError: If a check run or a probe is missing.
    """
    settings, space = stored.settings, stored.space
    value_D = weights_D / counts.effects.scales_D
    index, gain_P, stderr_P = checked(stored, base, value_D=value_D)
    pull = None if index is None else CHECK_PULLS[index]
    checked_N = space.natural_N
    if pull is not None:
        checked_N = pulled_mixture(pull, settings, space, counts=counts, weights_D=weights_D)
    probes = ProbeRows.of(stored, base)
    if probes is None:
        raise InputError(f"base model {base} lacks probes; run --stage rungs again")
    plan = make_plan(
        keeping_fields(probed_prediction(probes, counts=counts, priors=priors), counts.effects),
        weights_D=weights_D,
        scales_D=counts.effects.scales_D,
        supply=run_supply(settings, space),
    )
    return Rungs(
        mixtures={CHECKED: checked_N.tolist(), PROBED: plan.mixture_N.tolist()},
        pull=pull,
        gains=gain_P.tolist(),
        stderrs=stderr_P.tolist(),
        prices={CHECKED: float(len(_checks(stored, base))), PROBED: probes.run_equivalents},
        promised=plan.utility,
    )


def checked(stored: Stored, base: int, *, value_D: Vector) -> tuple[int | None, Vector, Vector]:
    """Which pull the check runs choose (None: natural mixing), the gain of each in U, and its standard error.

    Raises:
        InputError: If a check run is missing.
    """
    runs = _checks(stored, base)
    plans = [runs.get(f"check-{factor:g}") for factor in CHECK_PULLS]
    natural = [run for name, run in sorted(runs.items()) if name.startswith("check-natural")]
    if None in plans or len(natural) < 2:
        raise InputError("check runs are missing; run --stage rungs again")
    names = list(stored.objectives)
    scores: dict[str, dict[tuple[str, str], float]] = {run["unit_id"]: {} for run in runs.values()}
    for row in stored.tables["items"]:
        if row["unit_id"] in scores and row["layer"] == FEEDBACK:
            scores[row["unit_id"]][row["objective"], row["item_id"]] = row["score"]
    items = sorted(scores[natural[0]["unit_id"]])
    items_RI = np.array([[scores[run["unit_id"]][key] for key in items] for run in [*plans, *natural] if run])
    return checked_choice(
        items_RI[: len(plans)],
        items_RI[len(plans) :],
        objective_I=np.array([names.index(objective) for objective, _ in items]),
        value_D=value_D,
    )


def probed_prediction(probes: ProbeRows, *, counts: StoredEffects, priors: WorldPriors) -> Prediction:
    """Counts and probes together, with coefficients fitted to the probes, each predicted without itself."""
    known = counts.effects
    assert counts.counts is not None
    measured = Effects(
        name="probe",
        estimator="probe",
        dataset=known.dataset,
        environment=known.environment,
        names=known.names,
        natural_N=known.natural_N,
        objectives=known.objectives,
        roles=known.roles,
        effect_ND=probes.effect_ND,
        errors=probes.errors,
    )
    at_natural_D = counts.counts.values(known.natural_N)
    counted_PD = np.array([counts.counts.values(m) for m in probes.mixtures_PN]) - at_natural_D
    coefficients = ridge_coefficients(
        counted_PD,
        probes.predicted_PD,
        probes.kl_P,
        probes.gains_PD,
        start=priors.coefficients(known.scales_D),
    )
    return predict([known, measured], counts.counts, coefficients=coefficients)


def _checks(stored: Stored, base: int) -> dict[str, Row]:
    """Check runs by name."""
    return {run["controller"]: run for run in stored.runs("check", base)}
