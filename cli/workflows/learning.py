"""What agents and plans learn from: `dmix mix sample`, `collect`, `probe`, and `dmix agent sft` and `rl`."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.cli.show.result import Result
from dmix.cli.workflows.datasets import check_kept_out
from dmix.cli.workflows.preflight import (
    check_agent,
    check_dataset,
    check_environment,
    check_model,
    check_new_agent,
    check_set,
)
from dmix.cli.workflows.project_files import in_words
from dmix.etl.spark.masters import DEFAULT_MASTER, refuse_connect
from dmix.training.model.settings import load_proxy
from dmix.training.run.request import base_of_proxies
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

if TYPE_CHECKING:
    from dmix.cli.workflows.measured_effects import ProbeRequest
    from dmix.mixing.effects.store import StoredEffects
    from dmix.mixing.learning.settings.clone import CloneSettings
    from dmix.mixing.learning.settings.evaluate import EvaluateSettings
    from dmix.mixing.learning.settings.rl import RlSettings
    from dmix.mixing.learning.settings.sft import SftSettings
    from dmix.mixing.trajectories.settings import SampleSettings
    from dmix.training.farm.farm import FarmPlan

Progress = Callable[[str], None]


def sample_set(
    warehouse: Warehouse,
    *,
    set_name: str,
    dataset: str | None = None,
    settings: "SampleSettings",
    processes: int | None = None,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Samples trajectories with Algorithm 1.

    Args:
        warehouse: Where the dataset is and the set goes.
        set_name: Name of the set.
        dataset: Id or name; may be left out when there is one.
        settings: Preset, sizes, seed.
        processes: Processes to use; one a core when left out.
        dry_run: Say what it would take, and sample nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If there is no such dataset.
        InputError: If a set of that name has other settings.
    """
    from dmix.mixing.trajectories.sampling import (
        expected_work,
        planned_set,
        read_trajectories,
        sample_trajectories,
    )
    from dmix.warehouse_schema.catalog.catalog import sync_at_end
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    manifest = read_dataset_manifest(warehouse.require(), dataset)
    wanted = planned_set(manifest, set_name=set_name, settings=settings)
    report: dict[str, Any] = _budget(wanted)
    if dry_run:
        work = expected_work(warehouse, wanted=wanted, settings=settings)
        report |= {
            "trajectories": work.trajectories,
            "missing": work.missing,
            "candidate_steps_at_most": work.steps,
            "core_hours_at_most": work.seconds / 3600,
        }
        report |= _farm_work(work.trajectories * wanted.steps * wanted.step_samples * manifest.seq_len)
    else:
        sample_trajectories(
            warehouse,
            manifest=manifest,
            set_name=set_name,
            settings=settings,
            processes=processes,
            progress=progress,
        )
        trajectories = read_trajectories(warehouse, set_name)
        report |= {"trajectories": len(trajectories), "coverage": _coverage(wanted, trajectories)}
        report |= _farm_work(len(trajectories) * wanted.steps * wanted.step_samples * manifest.seq_len)
        sync_at_end(warehouse, warn=progress)
    return _sample_result(report)


def _budget(wanted: Any) -> dict[str, Any]:
    """R, M, what they cover, and how much room the domain space has."""
    from dmix.mixing.space.budget import expected_coverage
    from dmix.mixing.trajectories.coverage import field_dimensions
    from dmix.warehouse_schema.taxonomy import FIELDS

    space = wanted.domain_space
    covered = expected_coverage(space, steps=wanted.steps, step_samples=wanted.run_step_samples)
    fields = zip(FIELDS, field_dimensions(space), strict=True)
    return {
        "set": wanted.set_name,
        "dataset": wanted.dataset,
        "preset": wanted.preset,
        "steps": wanted.steps,
        "samples_per_step": wanted.step_samples,
        "run_samples_per_step": wanted.run_step_samples,
        "target_supply": wanted.target_supply,
        "natural_target_coverage": covered.target,
        "fields": [
            {"field": name, "active_domains": found.active, "effective_domains": found.effective}
            for name, found in fields
        ],
    }


def _coverage(wanted: Any, trajectories: Sequence[Any]) -> dict[str, Any]:
    """The (target share x step) report as plain values."""
    from dmix.mixing.trajectories.coverage import SHARE_EDGES, coverage

    found = coverage(
        [trajectory.mixtures_TN for trajectory in trajectories],
        target_N=wanted.domain_space.target_N,
        steps=wanted.steps,
    )
    return {
        "share_edges": list(SHARE_EDGES),
        "trajectories_by_cell_and_step": found.counts_ZM.tolist(),
        "lowest_share": found.lowest_M.tolist(),
        "highest_share": found.highest_M.tolist(),
        "empty_cells": len(found.empty_cells),
    }


# Weights of a proxy whose time is told before there is one: the model that `dmix init` describes.
_PROXY_WEIGHTS = 890_000


def _farm_work(tokens: int) -> dict[str, Any]:
    """Tokens and core hours of small proxies on all trajectories, from one matrix product of this machine."""
    from dmix.cli.workflows.init import training_speed

    hours = tokens / training_speed(_PROXY_WEIGHTS) / 3600
    return {"farm_tokens_at_most": tokens, "farm_hours_of_a_small_proxy": hours}


def _farm_words(report: dict[str, Any]) -> str:
    return (
        f"proxies on all trajectories would train on at most {report['farm_tokens_at_most']:,} tokens,"
        f" {in_words(3600 * report['farm_hours_of_a_small_proxy'])} on this machine for a proxy of"
        f" {_PROXY_WEIGHTS / 1e6:.1f} million weights ('dmix mix collect --dry-run' measures yours)"
    )


def _sample_result(report: dict[str, Any]) -> Result:
    result = Result(report)
    result.line(
        f"R = {report['samples_per_step']:,} samples per step"
        f" (guided run: {report['run_samples_per_step']:,}), M = {report['steps']} steps;"
        f" |T|/(R*M) = {report['target_supply']:.3f};"
        f" natural mixing covers the target {report['natural_target_coverage']:.3f} times"
    )
    result.table(
        ["field", "active domains", "effective number"],
        [tuple(field.values()) for field in report["fields"]],
    )
    if "coverage" not in report:
        result.line(
            f"{report['missing']} of {report['trajectories']} trajectories to sample,"
            f" at most {report['candidate_steps_at_most']:,} steps of Algorithm 1"
            f" ({in_words(3600 * report['core_hours_at_most'])} of one core)"
        )
        result.line(_farm_words(report))
        return result
    found = report["coverage"]
    edges = found["share_edges"]
    rows = [
        (f"{low:.2f} to {high:.2f}", min(counts), max(counts), _ranges(counts))
        for low, high, counts in zip(
            edges[:-1], edges[1:], found["trajectories_by_cell_and_step"], strict=True
        )
    ]
    result.table(
        ["target share", "fewest", "most", "steps without data"], rows, title="Trajectories per step"
    )
    result.line(
        f"{report['trajectories']} trajectories in set {report['set']};"
        f" {found['empty_cells']} (share, step) cells are empty"
    )
    result.line(_farm_words(report))
    return result


def _ranges(counts: Sequence[int]) -> str:
    """Steps, from 1, with a count of 0: `1, 12-16`."""
    runs: list[list[int]] = []
    for step, count in enumerate(counts, start=1):
        if count == 0:
            if runs and runs[-1][1] == step - 1:
                runs[-1][1] = step
            else:
                runs.append([step, step])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


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
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Trains a proxy along every trajectory of a set and scores it at each step.

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
        dry_run: Say what it would take, and train nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If set, files or base models do not exist.
        InputError: If they cannot be used.
    """
    check_set(warehouse, set_name)
    check_environment(environment)
    from dmix.mixing.trajectories.store import read_set

    check_kept_out(
        warehouse,
        read_set(warehouse, set_name).dataset,
        environment,
        allow_unscreened=allow_unscreened,
        progress=progress,
    )
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
    from dmix.training.farm.farm import collect as collect_feedback
    from dmix.training.farm.farm import default_proxy, plan_farm
    from dmix.warehouse_schema.catalog.catalog import sync_at_end

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
    progress(
        f"set {set_name}: {farm.done} of {farm.done + len(farm.todo)} trajectories have feedback;"
        f" {farm.tokens:,} tokens to train on at most"
    )
    if farm.variations:
        progress("varied proxies: " + ", ".join(f"{n} {name}" for name, n in farm.variations.items()))
    if farm.warning:
        progress(f"warning: {farm.warning}")
    if dry_run:
        return _farm_plan_result(warehouse, farm)
    if in_process or not farm.todo:
        scored = collect_feedback(warehouse, farm, spark=None, progress=progress, stack=stack)
    else:
        from dmix.etl.spark.session import spark_session

        spark = spark_session(master=master or DEFAULT_MASTER, app="dmix mix collect")
        scored = collect_feedback(
            warehouse, farm, spark=spark, progress=progress, stack=stack, gpus_per_task=gpus_per_task
        )
    sync_at_end(warehouse, warn=progress)
    facts = {"set_name": set_name, "trajectories": farm.done + len(farm.todo), "scales": scored.scales}
    result = Result(facts, scored)
    rows = [(o.name, o.role, scored.scales[o.name]) for o in scored.objectives]
    result.table(["objective", "role", "scale (nats per token)"], rows)
    return result


def _farm_plan_result(warehouse: Warehouse, farm: "FarmPlan") -> Result:
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
    result = Result(plan, farm)
    result.line(
        f"{plan['runs']} proxies of {speed.parameters:,} parameters:"
        f" {in_words(3600 * speed.hours(farm.tokens))} of one core, scoring left out"
    )
    return result


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
    if export_to is not None and scores is not None:
        raise InputError("--export writes probes and --scores reads what became of them; give one of them")
    if export_to is not None:
        return _exported(warehouse, environment, dataset, groups, export_to)
    from dmix.warehouse_schema.catalog.catalog import sync_at_end

    if scores is not None:
        from dmix.cli.workflows.measured_effects import import_scores

        stored = import_scores(
            warehouse, environment=environment, scores=scores, dataset=dataset, name=name, progress=progress
        )
    elif estimator == "counts":
        if model is not None:
            check_model(warehouse, model)
        if dry_run:
            return _counting(warehouse, dataset)
        from dmix.cli.workflows.effects import probe_counts

        stored = probe_counts(
            warehouse,
            environment=environment,
            dataset=dataset,
            model=model,
            name=name,
            master=master,
            progress=progress,
        )
    else:
        if model is None:
            raise InputError(f"--estimator {estimator} measures a model; name it with --model")
        check_model(warehouse, model)
        from dmix.cli.workflows.measured_effects import ProbeRequest, probe_gradients, probe_runs
        from dmix.training.model.settings import load_training
        from dmix.training.run.request import resolve_model, with_rate

        request = ProbeRequest(
            environment=environment,
            model=model,
            training=with_rate(load_training(training), resolve_model(model, warehouse)),
            dataset=dataset,
            groups=groups,
            steps=steps,
            max_hours=max_hours,
            name=name,
        )
        if dry_run:
            return _measuring(warehouse, request, estimator)
        measure = probe_gradients if estimator == "gradient" else probe_runs
        stored = measure(warehouse, request, progress=progress)
    sync_at_end(warehouse, warn=progress)
    return effects_result(stored)


def _exported(
    warehouse: Warehouse,
    environment: Path,
    dataset: str | None,
    groups: int | None,
    out: Path,
) -> Result:
    from dmix.cli.workflows.measured_effects import DESIGN, SCORES, export_probes

    probes = export_probes(
        warehouse, environment=environment, dataset=dataset, samples=None, groups=groups, out=out
    )
    result = Result({"folder": str(out), "probes": [probe.probe_id for probe in probes]}, probes)
    controls = sum(not probe.domains for probe in probes)
    result.line(
        f"{len(probes)} mixtures in {out}, {controls} of them natural: train each, fill its scores into"
        f" {out / SCORES}, keep {DESIGN} beside it, and run 'dmix mix probe --environment {environment}"
        f" --scores {out / SCORES}'"
    )
    return result


def _counting(warehouse: Warehouse, dataset: str | None) -> Result:
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    manifest = read_dataset_manifest(warehouse, dataset)
    tokens = sum(stream.tokens for stream in manifest.streams)
    result = Result({"estimator": "counts", "runs": 0, "tokens_read": tokens, "tokens_trained": 0})
    result.line(f"counts bigrams in {tokens:,} tokens, once; trains nothing")
    return result


def _measuring(warehouse: Warehouse, request: "ProbeRequest", estimator: str) -> Result:
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
            f" {'all' if plan.budget.items is None else plan.budget.items} items per objective:"
            f" {in_words(3600 * plan.hours)} and {plan.memory_bytes / 2**30:.2g} GiB on this machine"
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
            f" runs in all: {in_words(3600 * probes.hours)} on this machine, scoring left out"
        )
    result = Result(facts)
    result.line(line)
    return result


MOVED = 0.1
"""Share that the table of effects moves: a whole mixture of one domain says little about a run."""


def effects_result(stored: "StoredEffects") -> Result:
    """Effects, the most helpful domains first, and how much of each objective is noise."""
    effects = stored.effects
    facts = {
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
    result = Result(facts, stored)
    total_N = effects.effect_ND @ stored.environment.weights_D
    order = sorted((i for i in range(len(total_N)) if effects.natural_N[i]), key=lambda i: -total_N[i])
    rows = [
        (*effects.names[i], float(effects.natural_N[i]), *(MOVED * effects.effect_ND[i]).tolist())
        for i in order
    ]
    result.table(
        ["field", "domain", "natural share", *effects.objectives],
        rows,
        title=f"Gain in nats per token when {MOVED:.0%} of the mixture moves to a domain",
    )
    result.table(
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
    result.line(
        f"effects {stored.name}: for a mixture from them, run 'dmix mix plan --probe {stored.name} --out"
        " mixture.yaml'"
    )
    return result


def unfinished_farm(warehouse: Warehouse, set_name: str) -> str | None:
    """A warning where only some trajectories of a set have feedback; None where all or none have it."""
    total = len(list(warehouse.trajectories(set_name).glob("*.parquet")))
    scored = len(list(warehouse.feedback(set_name).glob("*.parquet")))
    if not 0 < scored < total:
        return None
    return (
        f"warning: the farm of set {set_name} is not finished: {scored:,} of {total:,} trajectories have"
        f" feedback; run 'dmix mix collect --set {set_name}' again first, or train on what is there"
    )


def _warn_of_unfinished(warehouse: Warehouse, set_names: Sequence[str], progress: Progress) -> None:
    for name in set_names:
        if (warning := unfinished_farm(warehouse, name)) is not None:
            progress(warning)


def train_sft_agent(
    warehouse: Warehouse,
    *,
    set_names: Sequence[str],
    agent_name: str,
    settings: "SftSettings",
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Fine-tunes an agent on the trajectories of K = 1.

    Raises:
        NotFoundError: If a set does not exist.
        InputError: If an agent of that name is there and `overwrite` is false, or sets cannot be used.
    """
    check_set(warehouse, *set_names)
    _warn_of_unfinished(warehouse, set_names, progress)
    check_new_agent(warehouse, agent_name, overwrite=overwrite)
    from dmix.mixing.learning.sft import load_sft_datasets, train_sft
    from dmix.warehouse_schema.catalog.catalog import sync_at_end

    report: dict[str, Any] = {"agent": agent_name, "set": ", ".join(set_names)}
    if dry_run:
        datasets = load_sft_datasets(warehouse, set_names=set_names, settings=settings)
        steps = sum(len(example.tokens_TX) for dataset in datasets for example in dataset.examples)
        report |= {
            "preset": datasets[0].preset,
            "trajectories": sum(len(dataset.examples) for dataset in datasets),
            "with_feedback": sum(dataset.with_feedback for dataset in datasets),
            "objectives": list(dict.fromkeys(name for dataset in datasets for name in dataset.objectives)),
            "tokens_at_most": settings.epochs * steps,
        }
    else:
        result = train_sft(
            warehouse,
            set_name=set_names[0],
            more_sets=set_names[1:],
            agent_name=agent_name,
            settings=settings,
            overwrite=overwrite,
            progress=progress,
        )
        sync_at_end(warehouse, warn=progress)
        report |= asdict(result) | {"folder": str(warehouse.agent(agent_name))}
    return _agent_result(report)


def train_clone_agent(
    warehouse: Warehouse,
    *,
    set_name: str,
    agent_name: str,
    settings: "CloneSettings",
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Trains an agent to imitate the best trajectories of a set, or all of them by their outcome.

    Raises:
        NotFoundError: If the set does not exist.
        InputError: If an agent of that name is there and `overwrite` is false, or the set cannot be used.
    """
    check_set(warehouse, set_name)
    _warn_of_unfinished(warehouse, [set_name], progress)
    check_new_agent(warehouse, agent_name, overwrite=overwrite)
    from dmix.mixing.learning.clone import train_clone
    from dmix.mixing.offline.farm import load_farm
    from dmix.warehouse_schema.catalog.catalog import sync_at_end

    report: dict[str, Any] = {"agent": agent_name, "set": set_name}
    if dry_run:
        farm = load_farm(warehouse, set_name, preset=settings.preset)
        taught = farm.episodes.best(settings.best)
        steps = int(taught.valid_mask_ET.sum())
        report |= {
            "preset": farm.preset,
            "trajectories": len(taught),
            "steps": steps,
            "tokens_at_most": settings.epochs * steps,
        }
    else:
        summary = train_clone(
            warehouse,
            set_name=set_name,
            agent_name=agent_name,
            settings=settings,
            overwrite=overwrite,
            progress=progress,
        )
        sync_at_end(warehouse, warn=progress)
        report |= asdict(summary) | {"folder": str(warehouse.agent(agent_name))}
    return _agent_result(report)


def train_rl_agent(
    warehouse: Warehouse,
    *,
    set_name: str,
    agent_name: str,
    start: str | None = None,
    settings: "RlSettings",
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Trains an agent by conservative Q-learning on a set with feedback.

    Raises:
        NotFoundError: If set or first agent does not exist.
        InputError: If an agent of that name is there and `overwrite` is false, or the set cannot be used.
    """
    check_set(warehouse, set_name)
    _warn_of_unfinished(warehouse, [set_name], progress)
    check_new_agent(warehouse, agent_name, overwrite=overwrite)
    check_agent(warehouse, start)
    hush_gym()
    from dmix.mixing.learning.rl import prepare, train_rl
    from dmix.warehouse_schema.catalog.catalog import sync_at_end

    report: dict[str, Any] = {"agent": agent_name, "set": set_name}
    if dry_run:
        farm, first, resolved = prepare(warehouse, set_name=set_name, settings=settings, start=start)
        episodes = farm.episodes
        updates = resolved.steps + resolved.returns_steps
        report |= {
            "preset": resolved.preset,
            "trajectories": len(episodes),
            "steps": int(episodes.valid_mask_ET.sum()),
            "parameters": first.num_parameters(),
            "updates": updates,
            "tokens": updates
            * min(resolved.batch_episodes, len(episodes))
            * int(episodes.tokens_ESX.shape[1]),
        }
    else:
        summary = train_rl(
            warehouse,
            set_name=set_name,
            agent_name=agent_name,
            settings=settings,
            start=start,
            overwrite=overwrite,
            progress=progress,
        )
        sync_at_end(warehouse, warn=progress)
        report |= asdict(summary) | {"folder": str(warehouse.agent(agent_name))}
    return _agent_result(report)


def judge_agent(
    warehouse: Warehouse,
    *,
    set_name: str,
    agent_name: str,
    settings: "EvaluateSettings",
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Judges an agent from a farm alone, before it costs a run.

    Raises:
        NotFoundError: If set or agent does not exist.
        InputError: If they do not belong together.
    """
    check_set(warehouse, set_name)
    _warn_of_unfinished(warehouse, [set_name], progress)
    check_agent(warehouse, agent_name)
    hush_gym()
    from dmix.mixing.learning.evaluate import evaluate_agent, load_subject

    if dry_run:
        farm, agent = load_subject(warehouse.require(), set_name=set_name, agent_name=agent_name)
        report: dict[str, Any] = {
            "agent": agent_name,
            "set": set_name,
            "trajectories": len(farm.episodes),
            "parameters": agent.num_parameters(),
            "trainings": 2 * settings.repeats,
            "updates": settings.repeats * (settings.fqe_steps + settings.simulator_steps),
        }
    else:
        report = evaluate_agent(
            warehouse.require(),
            set_name=set_name,
            agent_name=agent_name,
            settings=settings,
            progress=progress,
        )
    return _agent_result(report)


def hush_gym() -> None:
    """Keeps Gym, which d3rlpy imports, from printing that it is unmaintained; call it before that import."""
    try:
        from gym_notices import notices
    except ImportError:  # a d3rlpy that imports Gymnasium
        return
    notices.notices.clear()


def _agent_result(report: dict[str, Any]) -> Result:
    result = Result(report)
    result.table(["", "value"], list(_flat(report)))
    return result


def _flat(value: dict[str, Any], prefix: str = "") -> Any:
    """Rows of nested values, names joined by a dot."""
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{name}.")
        elif isinstance(inner, list | tuple):
            floats = [x for x in inner if isinstance(x, float)]
            if name.endswith("losses") and floats:
                yield prefix + name, f"{floats[0]:.5f} → {floats[-1]:.5f} ({len(floats)} epochs)"
                continue
            yield prefix + name, ", ".join(f"{x:.4g}" if isinstance(x, float) else str(x) for x in inner)
        else:
            yield prefix + name, inner
