"""`dmix mix probe`; `dmix.cli.commands.mix` adds it to its group."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dmix.cli.show.options import config_option, dataset_option, dry_run_option, json_option, warehouse_option
from dmix.cli.show.output import say, show_json, show_table
from dmix.cli.workflows.preflight import check_dataset, check_environment
from dmix.warehouse_schema.files.layout import Warehouse

if TYPE_CHECKING:
    from dmix.mixing.effects.store import StoredEffects


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
    type=click.Choice(("counts",)),
    default="counts",
    show_default=True,
    help="counts: bigrams of each domain on the items, seconds, no model.",
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
    from dmix.cli.workflows.effects import probe_counts
    from dmix.warehouse_schema.catalog.catalog import sync
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    if dry_run:
        manifest = read_dataset_manifest(warehouse, dataset)
        tokens = sum(stream.tokens for stream in manifest.streams)
        plan = {"estimator": estimator, "runs": 0, "tokens_read": tokens, "tokens_trained": 0}
        if as_json:
            show_json(plan)
        else:
            say(f"counts bigrams in {tokens:,} tokens, once; trains nothing")
        return
    stored = probe_counts(
        warehouse, environment=environment, dataset=dataset, name=name, master=master, progress=say
    )
    sync(warehouse)
    show_effects(stored, as_json=as_json)


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
