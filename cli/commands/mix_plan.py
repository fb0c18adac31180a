"""`dmix mix plan`; `dmix.cli.commands.mix` adds it to its group."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dmix.cli.show.options import (
    config_option,
    dataset_option,
    dry_run_option,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.output import say, show_json, show_table
from dmix.cli.workflows.effects.mixture_files import FORMATS
from dmix.cli.workflows.preflight import check_model
from dmix.mixing.effects.settings import PlanRules
from dmix.training.model.settings import TrainingSettings, load_training
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

if TYPE_CHECKING:
    from dmix.cli.workflows.effects.plan import PlannedMixture


@click.command()
@config_option
@warehouse_option
@dataset_option
@click.option(
    "--probe",
    "probes",
    multiple=True,
    metavar="NAME",
    help="Effects to plan from, by their name in 'dmix mix probe'. Give one by counts, one measured on a"
    " model, or both. Default: the dataset's newest.",
)
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Mixture file to write.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="dmix",
    show_default=True,
    help="Trainer that will read the file. dmix reads it with --controller static:FILE.",
)
@click.option(
    "--environment",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Environment file with the weights and scales to use. Default: that of the effects.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Samples that the run will draw. Default: all of the dataset's.",
)
@click.option(
    "--max-passes",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Most passes through each domain.",
)
@settings_options(PlanRules, parameter="rules")
@click.option(
    "--check",
    is_flag=True,
    help="Test the plan with six runs of --samples on --model: four pulls, and natural mixing twice. The"
    " best plan wins if it is ahead by two standard errors; otherwise natural mixing does.",
)
@click.option(
    "--model",
    metavar="PATH|HUB-ID",
    help="Model of the check runs: model file (.yaml), checkpoint folder, model of the warehouse, or hub id.",
)
@click.option(
    "--training",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="YAML file with the training settings of the check runs.",
)
@json_option
@dry_run_option
def plan(
    *,
    warehouse: Warehouse,
    dataset: str | None,
    probes: tuple[str, ...],
    out: Path,
    form: str,
    environment: Path | None,
    samples: int | None,
    max_passes: int,
    rules: PlanRules,
    check: bool,
    model: str | None,
    training: Path | None,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Write the mixture with the largest predicted gain, for dmix or another trainer.

    The command prints each domain's share and passes, and each objective's predicted gain over natural
    mixing with an interval. The interval covers only the sampling of items; runs must show whether the
    estimator suits your model. If the effects are noise, the plan is natural mixing.

    Example: dmix mix plan --out mixture.yaml
    """
    warehouse.require()
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name a file in it, for example {out / 'mixture.yaml'}")
    if check != (model is not None):
        raise InputError("--check runs a model: give both --check and --model, or neither")
    from dmix.cli.workflows.effects.plan import plan_mixture, write_mixture

    def plan_at(chosen: PlanRules) -> "PlannedMixture":
        return plan_mixture(
            warehouse,
            probes=probes,
            dataset=dataset,
            environment=environment,
            samples=samples,
            max_passes=max_passes,
            rules=chosen,
        )

    planned = plan_at(rules)
    if model is not None:
        check_model(warehouse, model)
        from dmix.training.run.request import resolve_model, with_rate

        settings = with_rate(load_training(training), resolve_model(model, warehouse))
        if dry_run:
            _say_check(warehouse, planned, model, settings)
        else:
            from dmix.cli.workflows.effects.checked_plan import check_plan

            planned = check_plan(
                warehouse, plan_at, rules=rules, model=model, training=settings, progress=say
            )
    path = None if dry_run else write_mixture(warehouse, planned, out, form=form)
    if as_json:
        show_json({**_facts(planned), "file": None if path is None else str(path)})
        return
    _show(planned)
    say(f"would write {out}" if path is None else f"wrote {path}")


def _say_check(
    warehouse: Warehouse, planned: "PlannedMixture", model: str, training: TrainingSettings
) -> None:
    """What the check runs would take."""
    from dmix.cli.workflows.effects.checked_plan import RUNS, check_task
    from dmix.training.model.estimate import measure_speed

    task = check_task(warehouse, planned, model=model, training=training)
    speed = measure_speed(task.model, planned.manifest, training)
    say(
        f"would check the plan by {RUNS} runs of {task.tokens:,} tokens: about"
        f" {speed.hours(RUNS * task.tokens):.2g} hours on this machine, scoring left out"
    )


def _facts(planned: "PlannedMixture") -> dict:
    plan, space = planned.plan, planned.space
    low, high = plan.interval
    return {
        **plan.to_json(space.names),
        "dataset": planned.manifest.dataset,
        "samples": planned.total,
        "natural": plan.is_natural,
        "utility_low": low,
        "utility_high": high,
        "scales": planned.scales,
        "scales_from": planned.scales_from,
        "passes": {
            "/".join(space.names[i]): float(plan.passes_N[i]) for i in range(len(space)) if space.active_N[i]
        },
        "gap": plan.gap,
        "checked": planned.checked,
    }


def _show(planned: "PlannedMixture") -> None:
    from dmix.cli.workflows.effects.plan import most_changed, promise_lines

    plan = planned.plan
    show_table(
        ["field", "domain", "natural share", "planned share", "times natural", "passes"],
        [
            (
                *planned.space.names[i],
                float(plan.natural_N[i]),
                float(plan.mixture_N[i]),
                float(plan.mixture_N[i] / plan.natural_N[i]),
                float(plan.passes_N[i]),
            )
            for i in most_changed(planned)
        ],
    )
    for line in promise_lines(planned):
        say(line)
