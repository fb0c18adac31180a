"""`dmix train` and `dmix train base`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dmix.cli.options import (
    config_option,
    dataset_option,
    dry_run_option,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.output import say, show_json, show_table
from dmix.training.request import RunRequest
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.layout import Warehouse

if TYPE_CHECKING:
    from dmix.training.launch import RunConfig
    from dmix.training.summary import RunSummary

_MODEL_HELP = "Model file (.yaml), checkpoint folder, model of the warehouse, or hub id."
_TRAINING_HELP = "YAML file with training settings."


@click.group(invoke_without_command=True)
@config_option
@warehouse_option
@dataset_option
@click.option("--model", metavar="PATH|NAME|HUB-ID", help=_MODEL_HELP)
@click.option(
    "--environment", metavar="FILE", type=click.Path(path_type=Path), help="Objectives to score on."
)
@click.option("--agent", metavar="NAME|PATH", help="Agent that steers the run.")
@click.option(
    "--controller",
    metavar="NAME",
    help="What steers instead: natural, naive, stratified, static:FILE, source-share:SHARE, linear:FROM-TO,"
    " cosine:FROM-TO, three-stage[:FROM-TO], odm, ado, aioli, sheared[:FILE], untrained[:SEED],"
    " replay:SET/TRAJECTORY, best-of:SET, regmix:SET, regmix-d:SET, schedule:SET, or python:MODULE:CLASS, a"
    " class of your own.",
)
@click.option("--run", "run_id", metavar="ID", help="Name of the run; made from the time if left out.")
@click.option("--resume", is_flag=True, help="Go on with --run where its newest checkpoint lies.")
@click.option("--training", metavar="FILE", type=click.Path(path_type=Path), help=_TRAINING_HELP)
@settings_options(RunRequest, parameter="request")
@json_option
@dry_run_option
@click.pass_context
def train(
    context: click.Context,
    *,
    warehouse: Warehouse,
    dataset: str | None,
    model: str | None,
    environment: Path | None,
    agent: str | None,
    controller: str | None,
    run_id: str | None,
    resume: bool,
    training: Path | None,
    request: RunRequest,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Train a model under an agent or another controller, step by step.

    Works under Composer's launcher too: composer -n 8 -c dmix train …

    Example: dmix train --model model.yaml --environment environment.yaml --controller natural
    """
    if context.invoked_subcommand is not None:
        return
    from dmix.training.launch import make_config, resume_run, start_run
    from dmix.training.settings import load_training

    warehouse.require()
    if resume:
        if run_id is None:
            raise InputError("--resume needs the run to go on with; name it with --run")
        _finish(warehouse, resume_run(warehouse, run_id, progress=say), as_json=as_json)
        return
    if model is None:
        raise InputError("--model is missing; give a model file, a checkpoint folder or a hub id")
    resolved = make_config(
        warehouse,
        request,
        model=model,
        controller=_controller(agent, controller),
        training=load_training(training),
        environment=environment,
        dataset=dataset,
        run_id=run_id,
    )
    if dry_run:
        _show_plan(warehouse, resolved, as_json=as_json)
        return
    _finish(warehouse, start_run(warehouse, resolved, progress=say), as_json=as_json)


@train.command()
@config_option
@warehouse_option
@dataset_option
@click.option("--model", required=True, metavar="PATH|HUB-ID", help=_MODEL_HELP)
@click.option("--tokens", required=True, type=int, help="Tokens of the source field to train on.")
@click.option("--name", required=True, help="Name of the model in the warehouse.")
@click.option("--training", metavar="FILE", type=click.Path(path_type=Path), help=_TRAINING_HELP)
@json_option
@dry_run_option
def base(
    *,
    warehouse: Warehouse,
    dataset: str | None,
    model: str,
    tokens: int,
    name: str,
    training: Path | None,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Pre-train a model on the source field alone, for farms and comparisons.

    Goes on where it was when it was cut off, and does nothing when the model is finished.

    Example: dmix train base --model model.yaml --tokens 1000000 --name small
    """
    from dmix.training.base import base_config, train_base
    from dmix.training.settings import load_training

    resolved = base_config(
        warehouse.require(),
        model=model,
        tokens=tokens,
        name=name,
        training=load_training(training),
        dataset=dataset,
    )
    if dry_run:
        _show_plan(warehouse, resolved, as_json=as_json)
        return
    _finish(warehouse, train_base(warehouse, resolved, progress=say), as_json=as_json)


def _controller(agent: str | None, controller: str | None) -> str:
    if (agent is None) == (controller is None):
        given = "both were given" if agent is not None else "none was given"
        raise InputError(f"one of --agent and --controller decides the mixtures, {given}; give exactly one")
    return f"agent:{agent}" if agent is not None else str(controller)


def _finish(warehouse: Warehouse, summary: "RunSummary", *, as_json: bool) -> None:
    """Brings the run into the catalog and shows what it came to; on the first rank alone."""
    from dmix.training.ranks import is_first_rank
    from dmix.warehouse_schema.catalog import sync

    if not is_first_rank():
        return
    sync(warehouse)
    if as_json:
        show_json(summary.to_json())
        return
    rows: list[tuple[Any, ...]] = [
        (name, before, after, after - before)
        for name, before, after in zip(
            summary.objectives, summary.feedback_TD[0], summary.feedback_TD[-1], strict=True
        )
    ]
    if rows:
        show_table(["objective", "score before", "score after", "change"], rows)
    say(
        f"run {summary.run_id}: {summary.steps} steps, {summary.tokens:,} tokens"
        f" ({summary.source_tokens:,} of the source), loss {summary.loss:.3f} in the last step"
    )


def _show_plan(warehouse: Warehouse, config: "RunConfig", *, as_json: bool) -> None:
    from dmix.training.estimate import measure_speed
    from dmix.training.launch import describe, expected_passes, job_of

    job = job_of(warehouse, config)
    speed = measure_speed(job.model, job.manifest, config.training)
    tokens = config.steps * config.step_samples * job.manifest.seq_len
    coverage = expected_passes(config, job.manifest)
    if as_json:
        show_json(
            {
                "run_id": config.run_id,
                "runs": 1,
                "steps": config.steps,
                "step_samples": config.step_samples,
                "batch_size": config.batch_size,
                "tokens": tokens,
                "parameters": speed.parameters,
                "hours": speed.hours(tokens),
                "coverage": {"source": coverage.source, "target": coverage.target},
            }
        )
        return
    say(describe(config, job.manifest))
    say(
        f"{speed.parameters:,} parameters, {speed.tokens_per_second:,.0f} tokens a second in this process:"
        f" about {speed.hours(tokens):.2g} hours, scoring left out"
    )
