"""Effects by short runs of one's own model."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmix.cli.workflows.effects.measured import Measured, ProbeRequest, measured, speed_of
from dmix.cli.workflows.effects.names import model_digest
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse, publish_json, read_json
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.progress import Progress, counted
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.mixing.effects.effects import Effects
    from dmix.mixing.effects.probes import Probe
    from dmix.mixing.effects.store import StoredEffects
    from dmix.training.farm.probe import ProbeScores
    from dmix.training.farm.probe_task import ProbeTask

DESIGN = "probes.json"

# A run has 16 steps unless its user says otherwise, and a probe is a quarter of it.
_RUN_STEPS, _PROBE_STEPS = 16, 4


# ---- probes


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbePlan:
    """What probes will take.

    Attributes:
        task: What all of them share.
        probes: Controls and probes.
        parameters: Weights of the model.
        hours: Expected time of all of them, scoring left out.
        run_equivalents: The same in runs of 16 steps.
    """

    task: "ProbeTask"
    probes: "list[Probe]"
    parameters: int
    hours: float
    run_equivalents: float


def plan_probes(found: Measured, request: ProbeRequest, *, dry_run: bool = False) -> ProbePlan:
    """As many groups as fit the time; nothing is written.

    Args:
        found: What is measured.
        request: What a user asks.
        dry_run: Estimate the speed of the model instead of timing a few batches.

    Raises:
        InputError: If not even two groups fit.
    """
    from dmix.mixing.effects.probes import MOST_GROUPS, controls_of, design_probes
    from dmix.mixing.effects.store import effect_names, read_effects
    from dmix.mixing.space.budget import auto_step_samples, whole_batches
    from dmix.training.farm.probe_task import ProbeTask

    steps = _PROBE_STEPS if request.steps is None else request.steps
    task = ProbeTask(
        warehouse=found.warehouse,
        manifest=found.manifest,
        environment=found.environment,
        model=found.model,
        training=request.training,
        steps=steps,
        step_samples=(
            auto_step_samples(found.space, _RUN_STEPS, request.training.batch_size)
            if request.samples is None
            else whole_batches(-(-request.samples // _RUN_STEPS), request.training.batch_size)
        ),
    )
    speed = speed_of(found.model, found.manifest, request.training, dry_run=dry_run)
    each = speed.hours(task.tokens)
    most = MOST_GROUPS if request.groups is None else min(request.groups, MOST_GROUPS)
    if request.max_hours is not None:
        fits = [g for g in range(2, most + 1) if (g + controls_of(g)) * each <= request.max_hours]
        if not fits:
            raise InputError(
                f"--max-hours {request.max_hours:g} is too low: a probe of {num_text(steps, 'step')} takes "
                "about "
                f"{each:.2g} hours, and dmix needs at least five probes; raise --max-hours, or use "
                "--estimator counts or gradient"
            )
        most = fits[-1]
    counted = None
    for name in reversed(effect_names(found.warehouse)):
        other = read_effects(found.warehouse, name).effects
        if (other.estimator, other.dataset) == ("counts", found.manifest.dataset):
            counted = other.effect_ND
            break
    probes = design_probes(found.space, samples=task.samples, most_groups=most, effect_ND=counted)
    return ProbePlan(
        task=task,
        probes=probes,
        parameters=speed.parameters,
        hours=each * len(probes),
        run_equivalents=len(probes) * steps / _RUN_STEPS,
    )


def probe_runs(warehouse: Warehouse, request: ProbeRequest, *, progress: Progress) -> "StoredEffects":
    """Effects by probes: trains the missing ones, then fits."""
    from dmix.mixing.effects.store import StoredEffects, write_effects

    found = measured(warehouse, request)
    name, stored = found.already("probe", request, progress)
    if stored is not None:
        return stored
    folder = warehouse.effects(name) / "probes"
    with held_lock(warehouse.lock_of("effects", name), what=f"effects {name}", of_job=True):
        plan, before, scores = _trained_probes(found, request, folder, progress=progress)
    objectives = found.environment.names
    effects, facts = fitted_effects(
        found,
        plan.probes,
        {probe_id: of.means(objectives) for probe_id, of in scores.items()},
        name=name,
        delivered={probe_id: of.delivered_N for probe_id, of in scores.items()},
    )
    import pyarrow as pa

    tables = [before.table("before"), *(of.table(probe_id) for probe_id, of in scores.items())]
    stored = StoredEffects(
        effects=effects,
        counts=None,
        environment=found.environment,
        facts={
            **facts,
            "model_digest": model_digest(found.model),
            "parameters": plan.parameters,
            "tokens": plan.task.tokens * len(plan.probes),
            "run_equivalents": plan.run_equivalents,
            "before": before.means(objectives).tolist(),
        },
        items=pa.concat_tables(tables),
    )
    write_effects(warehouse, stored)
    shutil.rmtree(folder, ignore_errors=True)
    return stored


def _trained_probes(
    found: Measured, request: ProbeRequest, folder: Path, *, progress: Progress
) -> "tuple[ProbePlan, ProbeScores, dict[str, ProbeScores]]":
    """The plan, the scores before any training, and those of every probe; trains the missing ones.

    Raises:
        InputError: If the folder holds probes of another design.
    """
    from dmix.training.farm.probe import probe_scores, starting_scores

    design_file = folder / DESIGN
    plan = plan_probes(found, request)
    wanted = {
        "samples": plan.task.samples,
        "training": repr(request.training),
        "model": model_digest(found.model),
        "probes": [probe.to_json(found.space.names) for probe in plan.probes],
    }
    if design_file.is_file() and read_json(design_file) != json.loads(json.dumps(wanted)):
        raise InputError(
            f"{folder} has probes with other options; give the same options as before or another --name, "
            "or remove the folder"
        )
    publish_json(design_file, wanted)
    progress(
        f"training {num_text(len(plan.probes), 'probe')} of {num_text(plan.task.tokens, 'token')}, in "
        f"about {plan.hours:.2g} hours"
    )
    before = starting_scores(plan.task)
    scores = {}
    for number, probe in enumerate(counted(plan.probes, "probe"), start=1):
        scores[probe.probe_id] = probe_scores(plan.task, probe, folder=folder)
        progress(f"probe {number} of {len(plan.probes)}: {probe.probe_id}")
    return plan, before, scores


def fitted_effects(
    found: Measured,
    probes: "Sequence[Probe]",
    scores: "dict[str, np.ndarray]",
    *,
    name: str,
    delivered: "dict[str, np.ndarray] | None" = None,
) -> "tuple[Effects, dict[str, Any]]":
    """Effects and facts from the mean scores of controls and probes."""
    from dmix.mixing.effects.probes import fit_probes

    natural_N = found.space.natural_N
    groups = [probe for probe in probes if probe.domains]
    doses = []
    for probe in groups:
        dose = probe.dose
        if delivered is not None:
            group = list(probe.domains)
            share, natural = float(delivered[probe.probe_id][group].sum()), float(natural_N[group].sum())
            dose = (share - natural) / (1 - natural)
        doses.append(dose)
    fit = fit_probes(
        [probe.domains for probe in groups],
        np.array(doses),
        np.array([scores[probe.probe_id] for probe in groups]),
        np.array([scores[probe.probe_id] for probe in probes if not probe.domains]),
        natural_N=natural_N,
        target_N=found.space.target_N,
    )
    facts = {
        "linearity": fit.linearity_D.tolist(),
        "linearity_stderr": fit.linearity_stderr_D.tolist(),
        "probes": [
            {
                "probe": probe.probe_id,
                "domains": ["/".join(found.space.names[i]) for i in probe.domains],
                "dose": dose,
                "scores": np.asarray(scores[probe.probe_id]).tolist(),
            }
            for probe, dose in zip(
                [*(p for p in probes if not p.domains), *groups],
                [*(0.0 for p in probes if not p.domains), *doses],
                strict=True,
            )
        ],
    }
    return found.effects("probe", name, fit.effect_ND, fit.errors), facts
