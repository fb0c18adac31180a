"""`dmix mix collect`; `dmix.cli.commands.mix` adds it to its group."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dmix.cli.show.options import (
    FiniteFloat,
    config_option,
    dry_run_option,
    json_option,
    master_option,
    warehouse_option,
)
from dmix.cli.show.output import say, show_json, show_table
from dmix.cli.workflows.preflight import check_environment, check_set
from dmix.etl.spark.masters import DEFAULT_MASTER, refuse_connect
from dmix.training.model.settings import load_proxy
from dmix.training.run.request import base_of_proxies
from dmix.warehouse_schema.files.layout import Warehouse

if TYPE_CHECKING:
    from dmix.training.farm.farm import FarmPlan


@click.command()
@config_option
@warehouse_option
@click.option("--set", "set_name", required=True, metavar="NAME", help="Set of trajectories to follow.")
@click.option(
    "--environment",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Objectives that proxies are scored on.",
)
@click.option(
    "--proxy",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Proxy model and its training; a small LLaMA if left out.",
)
@click.option(
    "--base",
    "bases",
    metavar="NAME",
    multiple=True,
    help="Base model that proxies start from, under init: base. Further ones, of another width or with"
    " another amount of pre-training, serve some of the varied proxies (vary in the proxy file).",
)
@click.option(
    "--stack",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Most trajectories of one task, whose proxies are trained at once: what fills a GPU.",
)
@click.option(
    "--gpus-per-task",
    type=FiniteFloat(),
    help="GPUs that Spark gives each task; 0.25 lets four tasks share one. Needs a cluster whose executors"
    " have GPUs (spark.executor.resource.gpu.*).",
)
@master_option
@click.option("--in-process", is_flag=True, help="Train one stack after the other here, without Spark.")
@json_option
@dry_run_option
def collect(
    *,
    warehouse: Warehouse,
    set_name: str,
    environment: Path,
    proxy: Path | None,
    bases: tuple[str, ...],
    stack: int,
    gpus_per_task: float | None,
    master: str | None,
    in_process: bool,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Train a proxy along every trajectory of a set and score it at each step.

    Finished trajectories are kept and not done again. A quarter of the proxies of a `default` set
    are varied, so that feedback tells an agent something; the column `variation` of the view
    `feedback` says how.

    Example: dmix mix collect --set farm --environment environment.yaml --proxy proxy.yaml
    """
    check_set(warehouse, set_name)
    check_environment(environment)
    given = None if proxy is None else load_proxy(proxy)
    init = ("base" if bases else "scratch") if given is None else given.init
    for name in bases or (None,):
        base_of_proxies(warehouse, name, init=init)
    if not in_process:
        refuse_connect(
            master or DEFAULT_MASTER,
            command="dmix mix collect",
            reason="its tasks are RDDs, which Connect has not",
        )
    from dmix.mixing.trajectories.objectives import load_environment
    from dmix.mixing.trajectories.store import read_set
    from dmix.training.farm.farm import collect as collect_feedback
    from dmix.training.farm.farm import default_proxy, plan_farm
    from dmix.warehouse_schema.catalog.catalog import sync

    found = read_set(warehouse.require(), set_name)
    base = bases[0] if bases else None
    settings = given or default_proxy(found, base=base)
    farm = plan_farm(
        warehouse,
        set_name,
        environment=load_environment(environment),
        proxy=settings,
        base=base,
        other_bases=bases[1:],
    )
    say(
        f"set {set_name}: {farm.done} of {farm.done + len(farm.todo)} trajectories have feedback;"
        f" {farm.tokens:,} tokens to train on at most"
    )
    if farm.variations:
        say("varied proxies: " + ", ".join(f"{n} {name}" for name, n in farm.variations.items()))
    if farm.warning:
        say(f"warning: {farm.warning}")
    if dry_run:
        _show_plan(warehouse, farm, as_json=as_json)
        return
    if in_process or not farm.todo:
        scored = collect_feedback(warehouse, farm, spark=None, progress=say, stack=stack)
    else:
        from dmix.etl.spark.session import spark_session

        spark = spark_session(master=master or DEFAULT_MASTER, app="dmix mix collect")
        scored = collect_feedback(
            warehouse, farm, spark=spark, progress=say, stack=stack, gpus_per_task=gpus_per_task
        )
    sync(warehouse)
    if as_json:
        show_json({"set_name": set_name, "trajectories": farm.done + len(farm.todo), "scales": scored.scales})
        return
    rows = [(o.name, o.role, scored.scales[o.name]) for o in scored.objectives]
    show_table(["objective", "role", "scale (nats per token)"], rows)


def _show_plan(warehouse: Warehouse, farm: "FarmPlan", *, as_json: bool) -> None:
    from dmix.training.model.estimate import measure_speed
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    manifest = read_dataset_manifest(warehouse, farm.task.dataset)
    model = farm.task.proxy.model() if farm.task.base is None else str(farm.task.base)
    speed = measure_speed(model, manifest, farm.task.proxy.training)
    plan = {
        "runs": len(farm.todo),
        "tokens": farm.tokens,
        "parameters": speed.parameters,
        "hours": speed.hours(farm.tokens),
        "variations": farm.variations,
    }
    if as_json:
        show_json(plan)
        return
    say(
        f"{plan['runs']} proxies of {speed.parameters:,} parameters: about"
        f" {speed.hours(farm.tokens):.2g} hours of one core, scoring left out"
    )
