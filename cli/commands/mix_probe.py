"""`dmix mix probe`; `dmix.cli.commands.mix` adds it to its group."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dmix.cli.show.options import (
    FiniteFloat,
    config_option,
    dataset_option,
    dry_run_option,
    json_option,
    warehouse_option,
)
from dmix.cli.show.output import say, show_json, show_table
from dmix.cli.workflows.preflight import check_dataset, check_environment, check_model
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

if TYPE_CHECKING:
    from dmix.cli.workflows.measured_effects import ProbeRequest
    from dmix.mixing.effects.store import StoredEffects

ESTIMATORS = ("counts", "gradient", "probe")


@click.command()
@config_option
@warehouse_option
@dataset_option
@click.option(
    "--environment",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Objectives whose items tell what text helps.",
)
@click.option(
    "--estimator",
    type=click.Choice(ESTIMATORS),
    default="counts",
    show_default=True,
    help="counts: bigrams of each domain on the items, seconds, no model. gradient: of this model, about an"
    " hour. probe: short runs of this model with more of one domain.",
)
@click.option(
    "--model",
    metavar="PATH|HUB-ID",
    help="Model that is measured: model file (.yaml), checkpoint folder, model of the warehouse, or hub id;"
    " for gradient and probe. With counts, only what a domain knows and this model does not counts.",
)
@click.option(
    "--training",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="YAML file with the training settings of the runs that the effects are for.",
)
@click.option(
    "--groups", type=click.IntRange(min=2), help="Most groups of domains that are probed; 40 if left out."
)
@click.option(
    "--steps", type=click.IntRange(min=4), help="Steps of a probe; 4, a quarter of a run, if left out."
)
@click.option(
    "--max-hours",
    type=FiniteFloat(),
    help="Hours that it may take: probes group domains, gradients take less text. 1 for gradients if left"
    " out.",
)
@click.option(
    "--export",
    "export_to",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write probe mixtures and an empty table of scores for your own trainer, and train nothing.",
)
@click.option(
    "--scores",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Table of your own trainer's scores (probe, objective, score; .csv, .jsonl or .parquet) beside the"
    " probes.json that --export wrote.",
)
@click.option("--name", help="Name of the effects; made of what is measured when left out.")
@click.option(
    "--master",
    envvar="DMIX_MASTER",
    show_envvar=True,
    metavar="URL",
    help="Spark master that counts, for sets that are too large for one machine; this process if left out.",
)
@json_option
@dry_run_option
def probe(
    *,
    warehouse: Warehouse,
    dataset: str | None,
    environment: Path,
    estimator: str,
    model: str | None,
    training: Path | None,
    groups: int | None,
    steps: int | None,
    max_hours: float | None,
    export_to: Path | None,
    scores: Path | None,
    name: str | None,
    master: str | None,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Measure which domain helps which objective, before a run.

    Keeps the effects in the warehouse (views effects and effect_objectives), and shows them as a table:
    the gain of each objective, in nats per token, when a tenth of the mixture moves from natural mixing
    to the domain. 'dmix mix plan' makes a mixture from them.

    Example: dmix mix probe --environment environment.yaml
    """
    check_dataset(warehouse, dataset)
    check_environment(environment)
    if export_to is not None and scores is not None:
        raise InputError("--export writes probes and --scores reads what became of them; give one of them")
    if export_to is not None:
        _export(warehouse, environment, dataset, groups, export_to, as_json=as_json)
        return
    from dmix.warehouse_schema.catalog.catalog import sync

    if scores is not None:
        from dmix.cli.workflows.measured_effects import import_scores

        stored = import_scores(
            warehouse, environment=environment, scores=scores, dataset=dataset, name=name, progress=say
        )
    elif estimator == "counts":
        if model is not None:
            check_model(warehouse, model)
        if dry_run:
            _show_counting(warehouse, dataset, as_json=as_json)
            return
        from dmix.cli.workflows.effects import probe_counts

        stored = probe_counts(
            warehouse,
            environment=environment,
            dataset=dataset,
            model=model,
            name=name,
            master=master,
            progress=say,
        )
    else:
        if model is None:
            raise InputError(f"--estimator {estimator} measures a model; name it with --model")
        check_model(warehouse, model)
        from dmix.cli.workflows.measured_effects import ProbeRequest, probe_gradients, probe_runs
        from dmix.training.model.settings import load_training

        request = ProbeRequest(
            environment=environment,
            model=model,
            training=load_training(training),
            dataset=dataset,
            groups=groups,
            steps=steps,
            max_hours=max_hours,
            name=name,
        )
        if dry_run:
            _show_measuring(warehouse, request, estimator, as_json=as_json)
            return
        measure = probe_gradients if estimator == "gradient" else probe_runs
        stored = measure(warehouse, request, progress=say)
    sync(warehouse)
    show_effects(stored, as_json=as_json)


def _export(
    warehouse: Warehouse,
    environment: Path,
    dataset: str | None,
    groups: int | None,
    out: Path,
    *,
    as_json: bool,
) -> None:
    from dmix.cli.workflows.measured_effects import DESIGN, SCORES, export_probes

    probes = export_probes(
        warehouse, environment=environment, dataset=dataset, samples=None, groups=groups, out=out
    )
    if as_json:
        show_json({"folder": str(out), "probes": [probe.probe_id for probe in probes]})
        return
    controls = sum(not probe.domains for probe in probes)
    say(
        f"{len(probes)} mixtures in {out}, {controls} of them natural: train each, fill its scores into"
        f" {out / SCORES}, keep {DESIGN} beside it, and run 'dmix mix probe --environment {environment}"
        f" --scores {out / SCORES}'"
    )


def _show_counting(warehouse: Warehouse, dataset: str | None, *, as_json: bool) -> None:
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    manifest = read_dataset_manifest(warehouse, dataset)
    tokens = sum(stream.tokens for stream in manifest.streams)
    if as_json:
        show_json({"estimator": "counts", "runs": 0, "tokens_read": tokens, "tokens_trained": 0})
    else:
        say(f"counts bigrams in {tokens:,} tokens, once; trains nothing")


def _show_measuring(warehouse: Warehouse, request: "ProbeRequest", estimator: str, *, as_json: bool) -> None:
    """What gradients or probes would take."""
    from dmix.cli.workflows.measured_effects import measured, plan_gradients, plan_probes

    found = measured(warehouse, request)
    if estimator == "gradient":
        plan = plan_gradients(found, request)
        facts = {
            "estimator": estimator,
            "runs": 0,
            "tokens": plan.budget.tokens,
            "parameters": plan.parameters,
            "hours": plan.hours,
            "memory_bytes": plan.memory_bytes,
            "items_per_objective": plan.budget.items,
            "samples_per_domain": plan.budget.batches * plan.budget.samples,
        }
        line = (
            f"gradients of {plan.parameters:,} weights over {plan.budget.tokens:,} tokens,"
            f" {plan.budget.batches * plan.budget.samples} samples per domain and"
            f" {'all' if plan.budget.items is None else plan.budget.items} items per objective: about"
            f" {plan.hours:.2g} hours and {plan.memory_bytes / 2**30:.2g} GiB on this machine"
        )
    else:
        probes = plan_probes(found, request)
        groups = [probe for probe in probes.probes if probe.domains]
        facts = {
            "estimator": estimator,
            "runs": len(probes.probes),
            "groups": len(groups),
            "tokens": probes.task.tokens * len(probes.probes),
            "parameters": probes.parameters,
            "hours": probes.hours,
            "run_equivalents": probes.run_equivalents,
            "grouped": [
                ["/".join(found.space.names[i]) for i in probe.domains]
                for probe in groups
                if len(probe.domains) > 1
            ],
        }
        line = (
            f"{len(probes.probes)} probes of {probes.task.tokens:,} tokens ({len(groups)} groups of"
            f" {int(found.space.active_N.sum())} domains, the rest controls), {probes.run_equivalents:.3g}"
            f" runs in all: about {probes.hours:.2g} hours on this machine, scoring left out"
        )
    if as_json:
        show_json(facts)
    else:
        say(line)


MOVED = 0.1
"""Share that the table of effects moves: a whole mixture of one domain says little about a run."""


def show_effects(stored: "StoredEffects", *, as_json: bool) -> None:
    """Prints effects, the most helpful domains first, and how much of each objective is noise."""
    effects = stored.effects
    if as_json:
        show_json(
            {
                "name": stored.name,
                "estimator": effects.estimator,
                "dataset": effects.dataset,
                "environment": effects.environment,
                "objectives": [
                    {
                        "objective": name,
                        "role": effects.roles[i],
                        "signal": float(effects.signal_D[i]),
                        "noise": float(effects.noise_D[i]),
                        "reliability": float(effects.reliability_D[i]),
                        "telling": bool(effects.telling_D[i]),
                    }
                    for i, name in enumerate(effects.objectives)
                ],
                "effects": [
                    {"field": field, "domain": domain, **dict(zip(effects.objectives, row, strict=True))}
                    for (field, domain), row, share in zip(
                        effects.names, effects.effect_ND.tolist(), effects.natural_N, strict=True
                    )
                    if share
                ],
            }
        )
        return
    total_N = effects.effect_ND @ stored.environment.weights_D
    order = sorted((i for i in range(len(total_N)) if effects.natural_N[i]), key=lambda i: -total_N[i])
    rows = [
        (*effects.names[i], float(effects.natural_N[i]), *(MOVED * effects.effect_ND[i]).tolist())
        for i in order
    ]
    show_table(
        ["field", "domain", "natural share", *effects.objectives],
        rows,
        title=f"Gain in nats per token when {MOVED:.0%} of the mixture moves to a domain",
    )
    show_table(
        ["objective", "role", "signal", "noise", "reliability", "beyond noise"],
        [
            (
                name,
                effects.roles[i],
                float(effects.signal_D[i]),
                float(effects.noise_D[i]),
                float(effects.reliability_D[i]),
                "yes" if effects.telling_D[i] else "no",
            )
            for i, name in enumerate(effects.objectives)
        ],
    )
    say(
        f"effects {stored.name}: for a mixture from them, run 'dmix mix plan --probe {stored.name} --out"
        " mixture.yaml'"
    )
