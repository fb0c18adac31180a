"""`dmix mix plan --check`: plans of four pulls and natural mixing twice are run before one is chosen."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmix.cli.workflows.effects.plan import PlannedMixture
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import digest_of
from dmix.warehouse_schema.progress import Progress

if TYPE_CHECKING:
    from dmix.mixing.effects.plan import Plan
    from dmix.mixing.effects.prediction import Prediction
    from dmix.mixing.effects.settings import PlanRules
    from dmix.training.farm.probe import ProbeTask
    from dmix.training.model.settings import TrainingSettings

# Multiples of the pull that are tried, and runs of natural mixing beside them.
PULLS = (0.2, 1.0, 2.0, 4.0)
NATURAL_RUNS = 2
RUNS = len(PULLS) + NATURAL_RUNS
_STEPS = 16


def check_plan(
    warehouse: Warehouse,
    plan_at: "Callable[[PlanRules], PlannedMixture]",
    *,
    rules: "PlanRules",
    model: str,
    training: "TrainingSettings",
    progress: Progress,
) -> PlannedMixture:
    """The best of plans of four pulls, if it is ahead of natural mixing by two standard errors.

    Every run has the length of the planned one and starts from the model; scores are those of the
    feedback items at its end. Runs that are done are kept with the effects, so a killed check goes on.

    Args:
        warehouse: Where dataset and effects are.
        plan_at: Makes a plan by some rules.
        rules: Pull and caution that the user chose.
        model: Model file, checkpoint folder, model of the warehouse, or hub id.
        training: Content of the training file.
        progress: Receives lines for people.

    Returns:
        The plan that was chosen; natural mixing if none is ahead.
    """
    from dmix.mixing.effects.plan import checked_choice
    from dmix.mixing.effects.probes import Probe
    from dmix.training.farm.probe import probe_scores

    plans = [plan_at(dataclasses.replace(rules, pull=rules.pull * factor)) for factor in PULLS]
    first = plans[0]
    task = check_task(warehouse, first, model=model, training=training)
    natural_N = first.space.natural_N
    runs = [
        *(
            Probe(probe_id=f"pull-{i}", domains=(), dose=0.0, mixture_N=planned.plan.mixture_N)
            for i, planned in enumerate(plans, start=1)
        ),
        *(
            Probe(probe_id=f"natural-{i + 1}", domains=(), dose=0.0, mixture_N=natural_N)
            for i in range(NATURAL_RUNS)
        ),
    ]
    key = digest_of([repr(task.model), repr(training), task.samples, [r.mixture_N.tolist() for r in runs]])
    folder = warehouse.effects(first.plan.sources[0]) / "checks" / key[:12]
    found = []
    for number, run in enumerate(runs, start=1):
        found.append(probe_scores(task, run, folder=folder))
        progress(f"check run {number} of {len(runs)}: {run.probe_id}")
    names = list(first.objectives.names)
    objectives = first.objectives
    items_RI = np.array([scores.scores_I for scores in found])
    chosen, gain_P, stderr_P = checked_choice(
        items_RI[: len(plans)],
        items_RI[len(plans) :],
        objective_I=np.array([names.index(name) for name in found[0].objectives]),
        value_D=objectives.weights_D / objectives.scales_D,
    )
    best = int(gain_P.argmax())
    taught, kept = _taught(
        warehouse, plans, [scores.means(first.objectives.names) for scores in found], task, key=key
    )
    said = (
        f"Checked by {len(runs)} runs: the best of {len(plans)} pulls gains {gain_P[best]:+.3f} of"
        f" utility over natural mixing (standard error {stderr_P[best]:.3f})"
    )
    keeps = "" if kept is None else f" Effects {kept!r} store the coefficients that fit these runs."
    if chosen is not None:
        checked = dataclasses.replace(plans[chosen], prediction=taught, checked=f"{said}.{keeps}")
        return dataclasses.replace(checked, plan=_promised_by(checked, taught))
    plan = dataclasses.replace(
        first.plan,
        mixture_N=natural_N,
        gain_D=np.zeros(len(names)),
        stderr_D=np.zeros(len(names)),
        utility=0.0,
        utility_stderr=0.0,
        passes_N=natural_N * first.total / np.maximum(first.space.samples_N, 1),
        note="No checked plan is ahead of natural mixing by two standard errors, so the plan is natural.",
    )
    return dataclasses.replace(first, plan=plan, checked=f"{said}, less than two standard errors.{keeps}")


def _taught(
    warehouse: Warehouse,
    plans: "Sequence[PlannedMixture]",
    scores_RD: "Sequence[np.ndarray]",
    task: "ProbeTask",
    *,
    key: str,
) -> "tuple[Prediction, str | None]":
    """The prediction with N_o and coefficients from the check runs, and the name under which they are kept.

    Where two effects made the plan together, the coefficients serve this plan alone.
    """
    from dmix.cli.workflows.effects.names import model_digest
    from dmix.mixing.effects.prediction import fitted_coefficients
    from dmix.mixing.effects.store import write_effects
    from dmix.training.farm.probe import starting_scores

    first = plans[0]
    natural_D = np.mean(scores_RD[len(plans) :], axis=0)
    gain_D = natural_D - starting_scores(task).means(first.objectives.names)
    mixtures_PN = np.array([planned.plan.mixture_N for planned in plans])
    fitted = fitted_coefficients(
        dataclasses.replace(first.prediction, natural_gain_D=gain_D),
        mixtures_PN,
        np.array(scores_RD[: len(plans)]) - natural_D,
    )
    if len(first.sources) > 1:
        return fitted, None
    source, c = first.sources[0], fitted.coefficients
    name = f"{source.name}-checked-{key[:6]}"
    fit = {
        "beta": c.beta_D.tolist(),
        "gamma": c.gamma_D.tolist(),
        "q": c.q_D.tolist(),
        "natural_gain": gain_D.tolist(),
        "samples": task.samples,
        "model_digest": model_digest(task.model),
    }
    effects = dataclasses.replace(source.effects, name=name)
    write_effects(warehouse, dataclasses.replace(source, effects=effects, facts={**source.facts, "fit": fit}))
    return fitted, name


def _promised_by(planned: PlannedMixture, prediction: "Prediction") -> "Plan":
    """The plan with the promise of another prediction."""
    mixture_N = planned.plan.mixture_N
    value_D = planned.objectives.weights_D / planned.objectives.scales_D
    gain_D, stderr_D = prediction.gains(mixture_N), prediction.stderr(mixture_N)
    return dataclasses.replace(
        planned.plan,
        gain_D=gain_D,
        stderr_D=stderr_D,
        utility=float(value_D @ gain_D),
        utility_stderr=float(np.sqrt(((value_D * stderr_D) ** 2).sum())),
    )


def check_task(
    warehouse: Warehouse, planned: PlannedMixture, *, model: str, training: "TrainingSettings"
) -> "ProbeTask":
    """What all check runs share: the planned run in steps of a sixteenth of it."""
    from dmix.training.farm.probe import ProbeTask
    from dmix.training.model.settings import ModelSettings
    from dmix.training.run.request import resolve_model
    from dmix.warehouse_schema.settings import load_settings

    resolved = resolve_model(model, warehouse)
    is_file = Path(resolved).suffix in (".yaml", ".yml")
    batch = training.batch_size
    return ProbeTask(
        warehouse=warehouse,
        manifest=planned.manifest,
        environment=planned.objectives,
        model=load_settings(ModelSettings, resolved) if is_file else resolved,
        training=training,
        steps=_STEPS,
        step_samples=max(1, planned.total // _STEPS // batch) * batch,
        max_passes=planned.max_passes,
    )
