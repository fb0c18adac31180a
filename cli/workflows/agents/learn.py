"""Agents from sets of trajectories: `dmix agent sft`, `clone`, `rl` and `evaluate`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dmix.cli.show.result import Result
from dmix.cli.workflows.preflight import check_agent, check_new_agent, check_set
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress

if TYPE_CHECKING:
    from dmix.mixing.learning.settings.clone import CloneSettings
    from dmix.mixing.learning.settings.evaluate import EvaluateSettings
    from dmix.mixing.learning.settings.rl import RlSettings
    from dmix.mixing.learning.settings.sft import SftSettings


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
