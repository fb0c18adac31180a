"""Feedback of proxies along the trajectories of a set: `dmix mix collect`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dmix.cli.show.result import Result
from dmix.cli.workflows.data.kept_out import check_kept_out
from dmix.cli.workflows.preflight import check_environment, check_set
from dmix.cli.workflows.timing import ESTIMATED, estimate
from dmix.etl.spark.masters import DEFAULT_MASTER, refuse_connect
from dmix.training.model.settings import load_proxy
from dmix.training.run.request import base_of_proxies
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.locks import refuse_while_working
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from dmix.mixing.trajectories.objectives import Environment
    from dmix.training.farm.plan import FarmPlan
    from dmix.training.model.settings import ProxySettings


def collect_farm(
    warehouse: Warehouse,
    *,
    set_name: str,
    environment: Path,
    proxy: Path | None = None,
    bases: Sequence[str] = (),
    stack: int = 1,
    gpus_per_task: float | None = None,
    master: str | None = None,
    in_process: bool = False,
    allow_unscreened: bool = False,
    accept_changes: bool = False,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Trains a proxy under every trajectory of a set and scores it at each step.

    Args:
        warehouse: Where the set is and the feedback goes.
        set_name: Name of the set.
        environment: Environment file.
        proxy: Proxy file; a small LLaMA when left out.
        bases: Base models that proxies start from.
        stack: Most trajectories of one task.
        gpus_per_task: GPUs that Spark gives each task.
        master: Spark master.
        in_process: Train here, without Spark.
        allow_unscreened: Go on with a warning where evaluation items were not kept out of the dataset.
        accept_changes: Go on although items or base models changed since feedback was collected.
        dry_run: Say what it would take, and train nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If set, files or base models do not exist.
        InputError: If they cannot be used.
        LockHeldError: If another process collects feedback on the set.
    """
    check_set(warehouse, set_name)
    check_environment(environment)
    if not dry_run:
        refuse_while_working(warehouse.lock_of("farm", set_name), what=f"the feedback on set {set_name}")
    from dmix.mixing.trajectories.store import read_set

    check_kept_out(
        warehouse,
        read_set(warehouse, set_name).dataset,
        environment,
        allow_unscreened=allow_unscreened,
        progress=progress,
    )
    given = _proxy(warehouse, proxy, bases)
    if not in_process:
        refuse_connect(
            master or DEFAULT_MASTER,
            command="dmix mix collect",
            reason="its tasks need RDDs, and Spark Connect has none",
        )
    from dmix.mixing.trajectories.objectives import load_environment
    from dmix.training.farm.plan import default_proxy, plan_farm

    base = bases[0] if bases else None
    farm = plan_farm(
        warehouse,
        set_name,
        environment=load_environment(environment),
        proxy=given or default_proxy(read_set(warehouse, set_name), base=base),
        base=base,
        other_bases=bases[1:],
        accept_changes=accept_changes,
    )
    _announce(set_name, farm, progress)
    if dry_run:
        return _farm_plan_result(warehouse, farm)
    from dmix.training.farm.farm import collect as collect_feedback
    from dmix.warehouse_schema.catalog.sync import sync_at_end

    spark = _session(master) if farm.todo and not in_process else None
    scored = collect_feedback(
        warehouse, farm, spark=spark, progress=progress, stack=stack, gpus_per_task=gpus_per_task
    )
    sync_at_end(warehouse, warn=progress)
    return _farm_result(set_name, farm, scored)


def _session(master: str | None) -> "SparkSession":
    from dmix.etl.spark.session import spark_session

    return spark_session(master=master or DEFAULT_MASTER, app="dmix mix collect")


def _farm_result(set_name: str, farm: "FarmPlan", scored: "Environment") -> Result:
    """The objectives of a farm with their measured scales."""
    facts = {"set_name": set_name, "trajectories": farm.done + len(farm.todo), "scales": scored.scales}
    result = Result(facts, scored)
    rows = [(o.name, o.role, scored.scales[o.name]) for o in scored.objectives]
    result.table(["objective", "role", "scale (nats per token)"], rows)
    return result


def _proxy(warehouse: Warehouse, path: Path | None, bases: Sequence[str]) -> "ProxySettings | None":
    """The proxy of a file, whose base models are there; None where there is no file."""
    given = None if path is None else load_proxy(path)
    init = ("base" if bases else "scratch") if given is None else given.init
    for name in bases or (None,):
        base_of_proxies(warehouse, name, init=init)
    return given


def _announce(set_name: str, farm: "FarmPlan", progress: Progress) -> None:
    """What is done and what will be, before it begins."""
    for change in farm.changes:
        progress(f"accepted: {change.digests}")
    progress(
        f"set {set_name}: {farm.done} of {num_text(farm.done + len(farm.todo), 'trajectory')} have "
        "feedback; at "
        f"most {num_text(farm.tokens, 'token')} of training"
    )
    if farm.variations:
        listed = ", ".join(f"{n} with {name}" for name, n in farm.variations.items())
        progress(
            f"varied proxies: {listed}. These differ from the others on purpose, so that the agent learns to "
            "read scores"
        )
    if farm.warning:
        progress(f"warning: {farm.warning}")


def _farm_plan_result(warehouse: Warehouse, farm: "FarmPlan") -> Result:
    from dmix.training.model.estimate.shapes import shape_of
    from dmix.training.model.estimate.speed import estimated_speed
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    manifest = read_dataset_manifest(warehouse, farm.task.dataset)
    model = farm.task.proxy.model() if farm.task.base is None else str(farm.task.base)
    speed = estimated_speed(shape_of(model, manifest), seq_len=manifest.seq_len)
    plan = {
        "runs": len(farm.todo),
        "tokens": farm.tokens,
        "parameters": speed.parameters,
        "hours": speed.hours(farm.tokens),
        "variations": farm.variations,
    }
    result = Result(plan, farm)
    result.line(
        f"{num_text(len(farm.todo), 'proxy')} of {speed.parameters:,} parameters. Time in one "
        f"process, without scoring: {estimate(3600 * speed.hours(farm.tokens))}. {ESTIMATED}"
    )
    return result
