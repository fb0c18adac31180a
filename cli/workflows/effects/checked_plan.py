"""`dmix mix plan --check`: plans of four pulls and natural mixing twice are run before one is chosen.

With `--second-round` the domains that matter most are probed around the mixture that was taken, and the
plan is made once more near it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmix.cli.workflows.effects.plan import CheckedGain, PlannedMixture
from dmix.mixing.effects.settings import CHECK_NATURAL, CHECK_PULLS
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.progress import Progress, counted
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.mixing.effects.plan import Plan
    from dmix.mixing.effects.prediction import Prediction
    from dmix.mixing.effects.probes import Probe
    from dmix.mixing.effects.settings import PlanRules
    from dmix.training.farm.probe_task import ProbeTask
    from dmix.training.model.settings import TrainingSettings

RUNS = len(CHECK_PULLS) + CHECK_NATURAL
# Steps of a run, and of a probe of the second round, which is a quarter of one.
_STEPS, _PROBE_STEPS = 16, 4


def check_plan(
    warehouse: Warehouse,
    plan_at: "Callable[[PlanRules], PlannedMixture]",
    *,
    rules: "PlanRules",
    model: str,
    training: "TrainingSettings",
    second_round: bool = False,
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
        second_round: Probe around the mixture that is taken, and plan once more near it.
        progress: Receives lines for people.

    Returns:
        The plan that was chosen; natural mixing if none is ahead. Its promise is that of before the
        check, and what the check measured stands beside it.
    """
    from dmix.mixing.effects.plan import checked_choice
    from dmix.training.farm.probe import probe_scores

    plans = [plan_at(dataclasses.replace(rules, pull=rules.pull * factor)) for factor in CHECK_PULLS]
    first = plans[0]
    task = check_task(warehouse, first, model=model, training=training)
    runs = _check_runs(plans)
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
    means_RD = np.array([scores.means(first.objectives.names) for scores in found])
    taught, kept = _taught(warehouse, plans, means_RD, task, key=key)
    said = (
        f"{num_text(len(runs), 'run')} checked {num_text(len(plans), 'plan')}: the best plan gains "
        f"{gain_P[best]:+.3f} of "
        f"utility over natural mixing (standard error {stderr_P[best]:.3f})"
    )
    keeps = "" if kept is None else f" Effects {kept!r} contain the coefficients that fit these runs."
    if chosen is None:
        checked = _natural(first, checked=f"{said}. This is less than two standard errors.{keeps}")
    else:
        checked = dataclasses.replace(
            plans[chosen],
            checked=f"{said}.{keeps}",
            measured=CheckedGain(
                gain_D=means_RD[chosen] - means_RD[len(plans) :].mean(0),
                utility=float(gain_P[chosen]),
                utility_stderr=float(stderr_P[chosen]),
            ),
        )
    if not second_round:
        return checked
    return _second_round(checked, taught, task, rules=rules, folder=folder, progress=progress)


def _check_runs(plans: "Sequence[PlannedMixture]") -> "list[Probe]":
    """A run at the mixture of each plan, then those at natural mixing."""
    from dmix.mixing.effects.probes import Probe

    mixtures = {f"pull-{i}": planned.plan.mixture_N for i, planned in enumerate(plans, start=1)}
    mixtures |= {f"natural-{i}": plans[0].space.natural_N for i in range(1, CHECK_NATURAL + 1)}
    return [
        Probe(probe_id=name, domains=(), dose=0.0, mixture_N=mixture_N)
        for name, mixture_N in mixtures.items()
    ]


def _natural(planned: PlannedMixture, *, checked: str) -> PlannedMixture:
    """Natural mixing in place of a plan that is not ahead of it."""
    plan, none_D = planned.plan, np.zeros(len(planned.objectives.names))
    natural_N = planned.space.natural_N
    plan = dataclasses.replace(
        plan,
        mixture_N=natural_N,
        gain_D=none_D,
        stderr_D=none_D,
        utility=0.0,
        utility_stderr=0.0,
        passes_N=natural_N * planned.total / np.maximum(planned.space.samples_N, 1),
        note="No plan gains two standard errors over natural mixing in the check runs, so the plan is "
        "natural mixing.",
    )
    return dataclasses.replace(planned, plan=plan, checked=checked)


def round_probes(planned: PlannedMixture, prediction: "Prediction", task: "ProbeTask") -> "list[Probe]":
    """Controls and probes of a second round around a plan.

    Raises:
        InputError: If no domain has enough text for a probe.
    """
    from dmix.mixing.effects.plan import domains_that_matter
    from dmix.mixing.effects.probes import LEAST_DOSE, SECOND_ROUND, dose_of, probes_around

    space = planned.space
    able = [
        bool(space.active_N[i]) and dose_of(space, (i,), samples=task.samples) >= LEAST_DOSE
        for i in range(len(space))
    ]
    domains = domains_that_matter(
        prediction,
        planned.plan.mixture_N,
        value_D=planned.objectives.weights_D / planned.objectives.scales_D,
        able_N=np.array(able),
        most=SECOND_ROUND,
    )
    if not domains:
        raise InputError(
            f"every domain has too few samples for --second-round: a probe of "
            f"{num_text(task.samples, 'sample')} "
            "must draw an eighth from one domain; lower --samples"
        )
    return probes_around(space, planned.plan.mixture_N, domains, samples=task.samples)


def round_task(task: "ProbeTask") -> "ProbeTask":
    """What the probes of a second round share: a quarter of a check run."""
    return dataclasses.replace(task, steps=_PROBE_STEPS)


def _second_round(
    checked: PlannedMixture,
    taught: "Prediction",
    task: "ProbeTask",
    *,
    rules: "PlanRules",
    folder: Path,
    progress: Progress,
) -> PlannedMixture:
    """The plan within a small KL of the one that was taken, by what probes around that one say."""
    from dmix.mixing.effects.plan import RADIUS, Supply, plan_around
    from dmix.mixing.effects.probes import corrections
    from dmix.training.farm.probe import probe_scores

    short, first_N = round_task(task), checked.plan.mixture_N
    probes = round_probes(checked, taught, short)
    # what is taken may differ between two calls, and so may the probes around it
    key = digest_of([short.samples, *(probe.mixture_N.tolist() for probe in probes)])
    found = []
    for number, probe in enumerate(counted(probes, "probe"), start=1):
        found.append(probe_scores(short, probe, folder=folder / f"round-{key[:12]}"))
        progress(f"second round, probe {number} of {len(probes)}: {probe.probe_id}")
    controls = sum(not probe.domains for probe in probes)
    domains = [probe.domains[0] for probe in probes[controls:]]
    scores_RD = np.array([scores.means(checked.objectives.names) for scores in found])
    moved_GN = np.array([scores.delivered_N for scores in found[controls:]])
    promised_GD = np.array([taught.gains(moved_N) for moved_N in moved_GN]) - taught.gains(first_N)
    correction_ND, errors = corrections(
        domains,
        (moved_GN[np.arange(len(domains)), domains] - first_N[domains]) / (1 - first_N[domains]),
        scores_RD[controls:] - scores_RD[:controls].mean(0) - promised_GD,
        scores_RD[:controls].std(0, ddof=1),
        controls=controls,
        size=len(first_N),
    )
    space, objectives = checked.space, checked.objectives
    second = plan_around(
        taught.around(first_N, correction_ND=correction_ND, errors=errors),
        weights_D=objectives.weights_D,
        scales_D=objectives.scales_D,
        supply=Supply(total=checked.total, samples_N=space.samples_N, max_passes=checked.max_passes),
        rules=rules,
    )
    names = ", ".join("/".join(space.names[d]) for d in domains)
    said = (
        f"{checked.checked} The second round made {num_text(len(probes), 'short run')} near that mixture, "
        f"for {names}."
    )
    if second.utility <= 0:
        said += " No mixture near it has a predicted gain above its risk, so dmix keeps that mixture."
        return dataclasses.replace(checked, checked=said)
    said += (
        f" The new mixture has a KL divergence of at most {RADIUS:g} nats from that mixture. Its "
        f"predicted utility is {second.utility:+.3f} higher (standard error "
        f"{second.utility_stderr:.3f}); no run has checked this prediction."
    )
    return dataclasses.replace(
        checked, plan=_from_natural(checked, second, taught), checked=said, measured=None
    )


def _from_natural(checked: PlannedMixture, second: "Plan", taught: "Prediction") -> "Plan":
    """The second plan with gains over natural mixing, in place of those over the first one."""
    value_D = checked.objectives.weights_D / checked.objectives.scales_D
    first_N = checked.plan.mixture_N
    gain_D = taught.gains(first_N) + second.gain_D
    stderr_D = np.hypot(taught.stderr(first_N), second.stderr_D)
    note = checked.plan.note
    if checked.plan.is_natural:
        note = (
            "No plan beats natural mixing in the check runs, but short runs near natural mixing show "
            "a better mixture."
        )
    return dataclasses.replace(
        second,
        natural_N=checked.space.natural_N,
        gain_D=gain_D,
        stderr_D=stderr_D,
        utility=float(value_D @ gain_D),
        utility_stderr=float(np.sqrt(((value_D * stderr_D) ** 2).sum())),
        note=note,
    )


def _taught(
    warehouse: Warehouse,
    plans: "Sequence[PlannedMixture]",
    scores_RD: np.ndarray,
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
    natural_D = scores_RD[len(plans) :].mean(0)
    gain_D = natural_D - starting_scores(task).means(first.objectives.names)
    mixtures_PN = np.array([planned.plan.mixture_N for planned in plans])
    fitted = fitted_coefficients(
        dataclasses.replace(first.prediction, natural_gain_D=gain_D),
        mixtures_PN,
        scores_RD[: len(plans)] - natural_D,
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


def check_task(
    warehouse: Warehouse, planned: PlannedMixture, *, model: str, training: "TrainingSettings"
) -> "ProbeTask":
    """What all check runs share: the planned run in steps of a sixteenth of it."""
    from dmix.training.farm.probe_task import ProbeTask
    from dmix.training.model.settings import read_model
    from dmix.training.run.request import resolve_model

    resolved = resolve_model(model, warehouse)
    batch = training.batch_size
    return ProbeTask(
        warehouse=warehouse,
        manifest=planned.manifest,
        environment=planned.objectives,
        model=read_model(resolved),
        training=training,
        steps=_STEPS,
        step_samples=max(1, planned.total // _STEPS // batch) * batch,
        max_passes=planned.max_passes,
    )
