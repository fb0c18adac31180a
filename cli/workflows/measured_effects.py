"""Effects measured on a model: gradients, probes of one's own model, scores of somebody else's trainer."""

import csv
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmix.cli.workflows.effects import Progress, effects_name, model_digest, stored_already
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes, publish_json, read_json
from dmix.warehouse_schema.files.manifests import DatasetManifest, digest_of, read_dataset_manifest

if TYPE_CHECKING:
    from dmix.mixing.effects.effects import Effects
    from dmix.mixing.effects.gradients import GradientBudget
    from dmix.mixing.effects.probes import Probe
    from dmix.mixing.effects.store import StoredEffects
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.trajectories.objectives import Environment
    from dmix.training.farm.gradients import GradientTask
    from dmix.training.farm.probe import ProbeTask
    from dmix.training.model.settings import ModelSettings, TrainingSettings

DESIGN, SCORES = "probes.json", "scores.csv"

# A run has 16 steps unless its user says otherwise, and a probe is a quarter of it.
_RUN_STEPS, _PROBE_STEPS = 16, 4
# Time that passes of gradients take beside those that were timed: reading, products, Python.
_GRADIENT_SPARE = 0.7


@dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """What a user asks of effects that are measured on a model.

    Attributes:
        environment: Environment file.
        model: Model file, checkpoint folder, model of the warehouse, or hub id.
        training: Content of the training file.
        dataset: Id or name; may be left out when there is one.
        groups: Most groups of domains that are probed.
        steps: Steps of a probe.
        max_hours: Hours that it may take; None for no limit on probes, an hour for gradients.
        name: Name of the effects.
    """

    environment: Path
    model: str
    training: "TrainingSettings"
    dataset: str | None = None
    groups: int | None = None
    steps: int | None = None
    max_hours: float | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.max_hours is not None and not 0 < self.max_hours < math.inf:
            raise InputError(f"--max-hours is {self.max_hours}, expected a number above 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A dataset, its objectives, and the model that is measured."""

    warehouse: Warehouse
    manifest: DatasetManifest
    space: "DomainSpace"
    environment: "Environment"
    digest: str
    model: "str | ModelSettings"
    model_name: str

    def effects(self, estimator: str, name: str, effect_ND: Any, errors: Any) -> "Effects":
        """The record of some effects."""
        from dmix.mixing.effects.effects import Effects

        return Effects(
            name=name,
            estimator=estimator,
            dataset=self.manifest.dataset,
            model=self.model_name,
            environment=self.digest,
            names=self.space.names,
            natural_N=self.space.natural_N,
            objectives=self.environment.names,
            roles=self.environment.roles,
            effect_ND=effect_ND,
            errors=errors,
        )

    def already(self, estimator: str, name: str | None) -> "tuple[str, StoredEffects | None]":
        """The name of these effects, and they themselves if they are stored."""
        key = digest_of([self.digest, self.model_name, model_digest(self.model)])
        found = effects_name(estimator, self.manifest, key, name)
        return found, stored_already(
            self.warehouse,
            found,
            dataset=self.manifest.dataset,
            environment=self.digest,
            estimator=estimator,
        )


def measured(warehouse: Warehouse, request: ProbeRequest) -> Measured:
    """Everything that a request names, found and checked.

    Raises:
        NotFoundError: If something is not there.
    """
    from dmix.mixing.effects.store import environment_digest
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.trajectories.objectives import load_environment
    from dmix.training.model.settings import ModelSettings
    from dmix.training.run.request import resolve_model
    from dmix.warehouse_schema.settings import load_settings

    manifest = read_dataset_manifest(warehouse.require(), request.dataset)
    environment = load_environment(request.environment)
    resolved = resolve_model(request.model, warehouse)
    is_file = Path(resolved).suffix in (".yaml", ".yml")
    return Measured(
        warehouse=warehouse,
        manifest=manifest,
        space=DomainSpace.of_dataset(manifest),
        environment=environment,
        digest=environment_digest(environment),
        model=load_settings(ModelSettings, resolved) if is_file else resolved,
        model_name=Path(resolved).name if Path(resolved).exists() else resolved,
    )


# ---- gradients


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientPlan:
    """What gradients will take.

    Attributes:
        task: What they are taken of.
        budget: How much text.
        parameters: Weights of the model.
        hours: Expected time.
        memory_bytes: Gradients that are kept at once.
    """

    task: "GradientTask"
    budget: "GradientBudget"
    parameters: int
    hours: float
    memory_bytes: int


def plan_gradients(found: Measured, request: ProbeRequest) -> GradientPlan:
    """How much text fits the time, by timing a few passes; nothing is written.

    Raises:
        InputError: If too little fits.
    """
    from dmix.mixing.effects.gradients import gradient_budget
    from dmix.training.farm.gradients import GradientTask, encoded_items
    from dmix.training.model.estimate import measure_speed

    task = GradientTask(
        warehouse=found.warehouse,
        manifest=found.manifest,
        environment=found.environment,
        model=found.model,
        training=request.training,
    )
    speed = measure_speed(found.model, found.manifest, request.training)
    items = encoded_items(task, max_length=found.manifest.seq_len)
    hours = 1.0 if request.max_hours is None else request.max_hours
    budget = gradient_budget(
        tokens=hours * 3600 * speed.tokens_per_second * _GRADIENT_SPARE,
        seq_len=found.manifest.seq_len,
        domains=int(found.space.active_N.sum()),
        item_tokens_D=np.array([sum(len(item.ids) for item in of) for of in items], np.float64),
        items_D=np.array([len(of) for of in items], np.float64),
    )
    return GradientPlan(
        task=task,
        budget=budget,
        parameters=speed.parameters,
        hours=speed.hours(budget.tokens) / _GRADIENT_SPARE,
        memory_bytes=4 * speed.parameters * (len(items) + 4),
    )


def probe_gradients(warehouse: Warehouse, request: ProbeRequest, *, progress: Progress) -> "StoredEffects":
    """Effects by gradients of the model as it is now."""
    from dmix.mixing.effects.gradients import gradient_effects
    from dmix.mixing.effects.store import StoredEffects, write_effects
    from dmix.training.farm.gradients import gradient_products, rate_sum

    found = measured(warehouse, request)
    name, stored = found.already("gradient", request.name)
    if stored is not None:
        progress(f"effects {name} are there already; nothing to do")
        return stored
    plan = plan_gradients(found, request)
    progress(
        f"gradients over {plan.budget.tokens:,} tokens: {plan.budget.batches} batches of"
        f" {plan.budget.samples} samples a domain; about {plan.hours:.2g} hours"
    )
    products_NBD = gradient_products(plan.task, plan.budget, progress=progress)
    samples = int(found.space.samples_N.sum())
    rates = rate_sum(samples, request.training)
    effect_ND, errors = gradient_effects(products_NBD, found.space.natural_N, rate_sum=rates)
    stored = StoredEffects(
        effects=found.effects("gradient", name, effect_ND, errors),
        counts=None,
        environment=found.environment,
        facts={
            "model_digest": model_digest(found.model),
            "parameters": plan.parameters,
            "tokens": plan.budget.tokens,
            "run_samples": samples,
            "rate_sum": rates,
        },
    )
    write_effects(warehouse, stored)
    return stored


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


def plan_probes(found: Measured, request: ProbeRequest) -> ProbePlan:
    """As many groups as fit the time; nothing is written.

    Raises:
        InputError: If not even two groups fit.
    """
    from dmix.mixing.effects.probes import MOST_GROUPS, design_probes
    from dmix.mixing.effects.store import effect_names, read_effects
    from dmix.mixing.space.budget import auto_step_samples
    from dmix.training.farm.probe import ProbeTask
    from dmix.training.model.estimate import measure_speed

    steps = _PROBE_STEPS if request.steps is None else request.steps
    task = ProbeTask(
        warehouse=found.warehouse,
        manifest=found.manifest,
        environment=found.environment,
        model=found.model,
        training=request.training,
        steps=steps,
        step_samples=auto_step_samples(found.space, _RUN_STEPS, request.training.batch_size),
    )
    speed = measure_speed(found.model, found.manifest, request.training)
    each = speed.hours(task.tokens)
    most = MOST_GROUPS if request.groups is None else min(request.groups, MOST_GROUPS)
    if request.max_hours is not None:
        fits = [
            g for g in range(2, most + 1) if (g + math.ceil(2 * math.sqrt(g))) * each <= request.max_hours
        ]
        if not fits:
            raise InputError(
                f"a probe of {steps} steps takes about {each:.2g} hours, and at least five are needed; raise"
                f" --max-hours {request.max_hours:g}, or take the estimator counts or gradient"
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
    from dmix.training.farm.probe import probe_scores, starting_scores

    found = measured(warehouse, request)
    name, stored = found.already("probe", request.name)
    if stored is not None:
        progress(f"effects {name} are there already; nothing to do")
        return stored
    folder = warehouse.effects(name) / "probes"
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
            f"{folder} holds probes of another design; give the same options as before, another --name, or"
            " remove the folder"
        )
    publish_json(design_file, wanted)
    progress(f"{len(plan.probes)} probes of {plan.task.tokens:,} tokens: about {plan.hours:.2g} hours")
    before = starting_scores(plan.task)
    scores = {}
    for number, probe in enumerate(plan.probes, start=1):
        scores[probe.probe_id] = probe_scores(plan.task, probe, folder=folder)
        progress(f"probe {number} of {len(plan.probes)}: {probe.probe_id}")
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


# ---- somebody else's trainer


def export_probes(
    warehouse: Warehouse,
    *,
    environment: Path,
    dataset: str | None,
    samples: int | None,
    groups: int | None,
    out: Path,
) -> "list[Probe]":
    """Writes probe mixtures for another trainer, and a table for its scores to be filled in.

    Args:
        warehouse: Where the dataset is.
        environment: Names the objectives.
        dataset: Id or name.
        samples: Samples of a probe; a quarter of the dataset when left out.
        groups: Most groups of domains.
        out: Folder for the files.
    """
    from dmix.cli.workflows.mixture_files import mixture_file
    from dmix.mixing.effects.probes import MOST_GROUPS, design_probes
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.trajectories.objectives import load_environment

    manifest = read_dataset_manifest(warehouse.require(), dataset)
    space = DomainSpace.of_dataset(manifest)
    objectives = load_environment(environment).names
    size = max(1, int(space.samples_N.sum()) // 4) if samples is None else samples
    probes = design_probes(space, samples=size, most_groups=min(groups or MOST_GROUPS, MOST_GROUPS))
    for probe in probes:
        text = mixture_file(
            probe.mixture_N,
            form="dmix",
            warehouse=warehouse,
            manifest=manifest,
            passes_N=probe.mixture_N * size / np.maximum(space.samples_N, 1),
            header=[f"{probe.probe_id}: train {size:,} samples on this mixture, then score every objective"],
        )
        publish_bytes(out.absolute() / f"{probe.probe_id}.yaml", text.encode())
    rows = [f"{probe.probe_id},{name}," for probe in probes for name in objectives]
    publish_bytes(out.absolute() / SCORES, ("probe,objective,score\n" + "\n".join(rows) + "\n").encode())
    design = {
        "dataset": manifest.dataset,
        "samples": size,
        "objectives": list(objectives),
        "probes": [{"domains_index": list(probe.domains), **probe.to_json(space.names)} for probe in probes],
    }
    publish_json(out.absolute() / DESIGN, design)
    return probes


def import_scores(
    warehouse: Warehouse,
    *,
    environment: Path,
    scores: Path,
    dataset: str | None,
    name: str | None,
    progress: Progress,
) -> "StoredEffects":
    """Effects from the scores that somebody's own trainer gave for exported probes.

    Args:
        warehouse: Where the effects go.
        environment: Names the objectives.
        scores: Table (.csv, .jsonl or .parquet) of probe, objective and score; `probes.json` of the
            export lies beside it.
        dataset: Id or name.
        name: Name of the effects.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If a file is not there.
        InputError: If a score is missing, given twice, or no number.
    """
    from dmix.mixing.effects.probes import Probe
    from dmix.mixing.effects.store import StoredEffects, environment_digest, write_effects
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.trajectories.objectives import load_environment

    manifest = read_dataset_manifest(warehouse.require(), dataset)
    space = DomainSpace.of_dataset(manifest)
    objectives = load_environment(environment)
    design = read_json(scores.absolute().parent / DESIGN)
    if design.get("dataset") != manifest.dataset:
        raise InputError(
            f"{scores.absolute().parent / DESIGN} was made for dataset {design.get('dataset')}, not for"
            f" {manifest.dataset}; name that dataset with --dataset"
        )
    if tuple(design["objectives"]) != objectives.names:
        raise InputError(
            f"the probes were exported for {', '.join(design['objectives'])}, the environment lists"
            f" {', '.join(objectives.names)}; give the same environment file"
        )
    table = read_scores(scores)
    index = {"/".join(pair): i for i, pair in enumerate(space.names)}
    probes = []
    for entry in design["probes"]:
        mixture_N = np.zeros(len(space))
        for domain, weight in entry["mixture"].items():
            mixture_N[index[domain]] = weight
        domains = tuple(index[domain] for domain in entry["domains"])
        probes.append(
            Probe(probe_id=entry["probe"], domains=domains, dose=entry["dose"], mixture_N=mixture_N)
        )
    means = {}
    for probe in probes:
        missing = [o for o in objectives.names if (probe.probe_id, o) not in table]
        if missing:
            raise InputError(
                f"{scores} has no score of {probe.probe_id} on {', '.join(missing)}; fill in every row"
            )
        means[probe.probe_id] = np.array([table[probe.probe_id, o] for o in objectives.names])
    found = Measured(
        warehouse=warehouse,
        manifest=manifest,
        space=space,
        environment=objectives,
        digest=environment_digest(objectives),
        model="",
        model_name="own trainer",
    )
    chosen = effects_name("probe", manifest, digest_of(sorted(map(str, table.items()))), name)
    effects, facts = fitted_effects(found, probes, means, name=chosen)
    stored = StoredEffects(effects=effects, counts=None, environment=objectives, facts=facts)
    write_effects(warehouse, stored)
    progress(f"{len(table):,} scores of {len(probes)} probes")
    return stored


def read_scores(path: Path) -> dict[tuple[str, str], float]:
    """(probe, objective) -> score of a table.

    Raises:
        NotFoundError: If it is not there.
        InputError: If a column is missing, a score is no finite number, or a row comes twice.
    """
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist; give the table of scores")
    readers: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
        ".csv": lambda p: list(csv.DictReader(p.open(encoding="utf-8-sig", newline=""))),
        ".jsonl": lambda p: [json.loads(line) for line in p.read_text("utf-8").splitlines() if line.strip()],
        ".parquet": _parquet_rows,
    }
    if path.suffix not in readers:
        raise InputError(f"{path} ends in {path.suffix!r}, expected one of {', '.join(readers)}")
    try:
        rows = readers[path.suffix](path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}); write it again") from None
    found: dict[tuple[str, str], float] = {}
    for number, row in enumerate(rows, start=1):
        try:
            key, score = (str(row["probe"]), str(row["objective"])), float(row["score"])
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{path}, row {number} is {row}; expected probe, objective and a number as score"
            ) from None
        if key in found or not math.isfinite(score):
            what = "comes twice" if key in found else f"has the score {score}"
            raise InputError(f"{path}, row {number}: {' on '.join(key)} {what}; give one finite score")
        found[key] = score
    return found


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path, partitioning=None).to_pylist()
    return rows
