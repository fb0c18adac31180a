"""Which domain helps which objective: `dmix mix probe`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.cli.show.result import Result
from dmix.cli.workflows.data.kept_out import check_kept_out
from dmix.cli.workflows.preflight import check_dataset, check_environment, check_model
from dmix.cli.workflows.timing import ESTIMATED, estimate
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text, size_text

if TYPE_CHECKING:
    from dmix.cli.workflows.effects.measured import Measured, ProbeRequest
    from dmix.mixing.effects.store import StoredEffects
    from dmix.training.model.settings import TrainingSettings


def probe_effects(
    warehouse: Warehouse,
    *,
    environment: Path,
    dataset: str | None = None,
    estimator: str = "counts",
    model: str | None = None,
    training: Path | None = None,
    groups: int | None = None,
    steps: int | None = None,
    samples: int | None = None,
    max_hours: float | None = None,
    export_to: Path | None = None,
    scores: Path | None = None,
    name: str | None = None,
    master: str | None = None,
    allow_unscreened: bool = False,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Measures which domain helps which objective; the result's value is the stored effects.

    Args:
        warehouse: Where the dataset is and the effects go.
        environment: Environment file.
        dataset: Id or name; may be left out when there is one.
        estimator: `counts`, `gradient` or `probe`.
        model: Model that is measured; with `counts`, only what a domain knows and it does not counts.
        training: Training file of the runs that the effects are for.
        groups: Most groups of domains that are probed.
        steps: Steps of a probe.
        samples: Samples of the run that gradients or probes are for; the dataset's if left out.
        max_hours: Hours that it may take.
        export_to: Folder for probe mixtures for another trainer; nothing is trained.
        scores: Table of another trainer's scores.
        name: Name of the effects.
        master: Spark master that counts.
        allow_unscreened: Go on with a warning where evaluation items were not kept out of the dataset.
        dry_run: Say what it would take, and measure nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If dataset or files do not exist.
        InputError: If they cannot be used, or arguments contradict each other.
    """
    check_dataset(warehouse, dataset)
    check_environment(environment)
    check_kept_out(warehouse, dataset, environment, allow_unscreened=allow_unscreened, progress=progress)
    _refuse_contradictions(estimator, model, export_to=export_to, scores=scores)
    if export_to is not None:
        return _exported(warehouse, environment, dataset, groups, export_to, samples=samples, dry_run=dry_run)
    if scores is not None:
        from dmix.cli.workflows.effects.exchange import import_scores

        stored = import_scores(
            warehouse,
            environment=environment,
            scores=scores,
            dataset=dataset,
            name=name,
            dry_run=dry_run,
            progress=progress,
        )
        return effects_result(stored) if dry_run else _stored_result(warehouse, stored, progress)
    check_model(warehouse, model)
    if estimator != "counts":
        from dmix.cli.workflows.effects.measured import ProbeRequest

        request = ProbeRequest(
            environment=environment,
            model=str(model),
            training=_training_of(warehouse, str(model), training),
            dataset=dataset,
            groups=groups,
            steps=steps,
            samples=samples,
            max_hours=max_hours,
            name=name,
        )
        return _measured(warehouse, request, estimator, dry_run=dry_run, progress=progress)
    if dry_run:
        return _counting(warehouse, dataset)
    from dmix.cli.workflows.effects.counts import probe_counts

    stored = probe_counts(
        warehouse,
        environment=environment,
        dataset=dataset,
        model=model,
        name=name,
        master=master,
        progress=progress,
    )
    return _stored_result(warehouse, stored, progress)


def _refuse_contradictions(
    estimator: str, model: str | None, *, export_to: Path | None, scores: Path | None
) -> None:
    if export_to is not None and scores is not None:
        raise InputError("--export and --scores do not work together; give one of the two")
    if export_to is None and scores is None and estimator != "counts" and model is None:
        raise InputError(f"--estimator {estimator} needs a model; give it with --model")


def _stored_result(warehouse: Warehouse, stored: "StoredEffects", progress: Progress) -> Result:
    """Shows effects that were stored, and tells the catalog of them."""
    from dmix.warehouse_schema.catalog.sync import sync_at_end

    sync_at_end(warehouse, warn=progress)
    return effects_result(stored)


def _training_of(warehouse: Warehouse, model: str, path: Path | None) -> "TrainingSettings":
    from dmix.training.model.settings import load_training
    from dmix.training.run.request import resolve_model, with_rate

    return with_rate(load_training(path), resolve_model(model, warehouse))


def _measured(
    warehouse: Warehouse, request: "ProbeRequest", estimator: str, *, dry_run: bool, progress: Progress
) -> Result:
    """Effects that gradients or probes of a model measure, or what they would take."""
    if dry_run:
        return _measuring(warehouse, request, estimator)
    from dmix.cli.workflows.effects.gradients import probe_gradients
    from dmix.cli.workflows.effects.probes import probe_runs

    measure = probe_gradients if estimator == "gradient" else probe_runs
    return _stored_result(warehouse, measure(warehouse, request, progress=progress), progress)


def _exported(
    warehouse: Warehouse,
    environment: Path,
    dataset: str | None,
    groups: int | None,
    out: Path,
    *,
    samples: int | None,
    dry_run: bool,
) -> Result:
    from dmix.cli.workflows.effects.exchange import SCORES, export_probes
    from dmix.cli.workflows.effects.probes import DESIGN

    probes = export_probes(
        warehouse,
        environment=environment,
        dataset=dataset,
        samples=None if samples is None else max(1, samples // 4),
        groups=groups,
        out=out,
        dry_run=dry_run,
    )
    result = Result({"folder": str(out), "probes": [probe.probe_id for probe in probes]}, probes)
    controls = sum(not probe.domains for probe in probes)
    if dry_run:
        result.line(
            f"would write {num_text(len(probes), 'mixture')} to {out}; {controls} of them are natural mixing"
        )
        return result
    result.line(
        f"wrote {num_text(len(probes), 'mixture')} to {out}; {controls} of them are natural mixing. Train "
        "a model on "
        f"each mixture and write its scores into {out / SCORES}. Keep {DESIGN} beside that file. Then "
        f"run 'dmix mix probe --environment {environment} --scores {out / SCORES}'"
    )
    return result


def _counting(warehouse: Warehouse, dataset: str | None) -> Result:
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    manifest = read_dataset_manifest(warehouse, dataset)
    tokens = sum(stream.tokens for stream in manifest.streams)
    result = Result({"estimator": "counts", "runs": 0, "tokens_read": tokens, "tokens_trained": 0})
    result.line(f"would count bigrams in {num_text(tokens, 'token')}, and train nothing")
    return result


def _measuring(warehouse: Warehouse, request: "ProbeRequest", estimator: str) -> Result:
    """What gradients or probes would take."""
    from dmix.cli.workflows.effects.measured import measured

    found = measured(warehouse, request)
    facts, line = (_gradient_plan if estimator == "gradient" else _probe_plan)(found, request)
    result = Result({"estimator": estimator, **facts})
    result.line(line)
    return result


def _gradient_plan(found: "Measured", request: "ProbeRequest") -> tuple[dict[str, Any], str]:
    """Facts of planned gradients, and the line that tells them."""
    from dmix.cli.workflows.effects.gradients import plan_gradients

    plan = plan_gradients(found, request, dry_run=True)
    samples = plan.budget.batches * plan.budget.samples
    facts = {
        "runs": 0,
        "tokens": plan.budget.tokens,
        "parameters": plan.parameters,
        "hours": plan.hours,
        "memory_bytes": plan.memory_bytes,
        "items_per_objective": plan.budget.items,
        "samples_per_domain": samples,
    }
    return facts, (
        f"would compute gradients of {num_text(plan.parameters, 'weight')} over "
        f"{num_text(plan.budget.tokens, 'token')}: {num_text(samples, 'sample')} per domain and "
        f"{'all' if plan.budget.items is None else plan.budget.items} items per objective. This "
        f"takes {size_text(plan.memory_bytes)} of memory. Time on this machine: "
        f"{estimate(3600 * plan.hours)}. {ESTIMATED}"
    )


def _probe_plan(found: "Measured", request: "ProbeRequest") -> tuple[dict[str, Any], str]:
    """Facts of planned probes, and the line that tells them."""
    from dmix.cli.workflows.effects.probes import plan_probes

    plan = plan_probes(found, request, dry_run=True)
    groups = [probe.domains for probe in plan.probes if probe.domains]
    facts = {
        "runs": len(plan.probes),
        "groups": len(groups),
        "tokens": plan.task.tokens * len(plan.probes),
        "parameters": plan.parameters,
        "hours": plan.hours,
        "run_equivalents": plan.run_equivalents,
        "grouped": [
            ["/".join(found.space.names[i]) for i in domains] for domains in groups if len(domains) > 1
        ],
    }
    return facts, (
        f"would train {num_text(len(plan.probes), 'probe')} of {num_text(plan.task.tokens, 'token')} "
        f"({num_text(len(groups), 'group')} of {num_text(int(found.space.active_N.sum()), 'domain')}, and "
        f"controls), together as long as {plan.run_equivalents:.3g} runs. Time on "
        f"this machine without scoring: {estimate(3600 * plan.hours)}. {ESTIMATED}"
    )


MOVED = 0.1
"""Share that the table of effects moves: a whole mixture of one domain says little about a run."""


def effects_result(stored: "StoredEffects") -> Result:
    """Effects, the most helpful domains first, and how much of each objective is noise."""
    effects = stored.effects
    objectives = [
        {
            "objective": name,
            "role": effects.roles[i],
            "signal": float(effects.signal_D[i]),
            "noise": float(effects.noise_D[i]),
            "reliability": float(effects.reliability_D[i]),
            "telling": bool(effects.telling_D[i]),
        }
        for i, name in enumerate(effects.objectives)
    ]
    facts = {
        "name": stored.name,
        "estimator": effects.estimator,
        "dataset": effects.dataset,
        "environment": effects.environment,
        "objectives": objectives,
        "effects": [
            {"field": field, "domain": domain, **dict(zip(effects.objectives, row, strict=True))}
            for (field, domain), row, share in zip(
                effects.names, effects.effect_ND.tolist(), effects.natural_N, strict=True
            )
            if share
        ],
    }
    result = Result(facts, stored)
    result.table(
        ["field", "domain", "natural share", *effects.objectives],
        _moved_rows(stored),
        title=f"Gain in nats per token when {MOVED:.0%} of the mixture moves to a domain",
    )
    result.table(
        ["objective", "role", "signal", "noise", "reliability", "beyond noise"],
        [(*list(o.values())[:-1], "yes" if o["telling"] else "no") for o in objectives],
    )
    result.line(
        f"effects {stored.name}. Next, plan a mixture: dmix mix plan --probe {stored.name} --out mixture.yaml"
    )
    return result


def _moved_rows(stored: "StoredEffects") -> list[tuple[Any, ...]]:
    """Field, domain, share and gains of each domain that has text, the most helpful first."""
    effects = stored.effects
    total_N = effects.effect_ND @ stored.environment.weights_D
    order = sorted((i for i in range(len(total_N)) if effects.natural_N[i]), key=lambda i: -total_N[i])
    return [
        (*effects.names[i], float(effects.natural_N[i]), *(MOVED * effects.effect_ND[i]).tolist())
        for i in order
    ]
