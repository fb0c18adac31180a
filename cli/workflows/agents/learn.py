"""Agents from sets of trajectories: `dmix agent sft`, `clone`, `rl` and `evaluate`."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dmix.cli.show.result import Result
from dmix.cli.workflows.preflight import check_agent, check_new_agent, check_set
from dmix.mixing.learning.settings.clone import CloneSettings
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.locks import held_lock, refuse_while_working
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.mixing.learning.settings.evaluate import EvaluateSettings


def unfinished_farm(warehouse: Warehouse, set_name: str) -> str | None:
    """A warning where only some trajectories of a set have feedback; None where all or none have it."""
    total = len(list(warehouse.trajectories(set_name).glob("*.parquet")))
    scored = len(list(warehouse.feedback(set_name).glob("*.parquet")))
    if not 0 < scored < total:
        return None
    return (
        f"warning: only {scored:,} of {num_text(total, 'trajectory')} of set {set_name} have feedback. "
        "dmix uses "
        f"these. To get feedback for all, run 'dmix mix collect --set {set_name}' first"
    )


def _warn_of_unfinished(warehouse: Warehouse, set_names: Sequence[str], progress: Progress) -> None:
    for name in set_names:
        if (warning := unfinished_farm(warehouse, name)) is not None:
            progress(warning)


def without_feedback(warehouse: Warehouse, set_name: str) -> str | None:
    """A warning where no trajectory of a set has feedback, so that `sft` learns from mixtures alone."""
    if any(warehouse.feedback(set_name).glob("*.parquet")):
        return None
    return (
        f"warning: set {set_name} has no feedback, so the agent does not learn to read scores. To get "
        f"feedback, run 'dmix mix collect --set {set_name}' first"
    )


@dataclass(frozen=True)
class Method:
    """A way to train an agent.

    Attributes:
        settings: Its settings class.
        plan: What it would take, from warehouse, sets, settings and first agent.
        train: Trains and stores the agent; takes the same and keywords, gives a summary.
        hidden: Settings that its command has no flag for.
    """

    settings: type[Any]
    plan: Callable[[Warehouse, Sequence[str], Any, str | None], dict[str, Any]]
    train: Callable[..., Any]
    hidden: frozenset[str] = frozenset()


def _plan_sft(
    warehouse: Warehouse, set_names: Sequence[str], settings: SftSettings, start: str | None
) -> dict[str, Any]:
    from dmix.mixing.learning.outline import outline_of_sft

    return outline_of_sft(warehouse, set_names=set_names, settings=settings)


def _train_sft(warehouse: Warehouse, set_names: Sequence[str], start: str | None, **values: Any) -> Any:
    from dmix.mixing.learning.sft import train_sft

    return train_sft(warehouse, set_name=set_names[0], more_sets=set_names[1:], **values)


def _plan_clone(
    warehouse: Warehouse, set_names: Sequence[str], settings: CloneSettings, start: str | None
) -> dict[str, Any]:
    from dmix.mixing.learning.outline import outline_of_clone

    return outline_of_clone(warehouse, set_name=set_names[0], settings=settings)


def _train_clone(warehouse: Warehouse, set_names: Sequence[str], start: str | None, **values: Any) -> Any:
    from dmix.mixing.learning.clone import train_clone

    return train_clone(warehouse, set_name=set_names[0], **values)


def _plan_rl(
    warehouse: Warehouse, set_names: Sequence[str], settings: RlSettings, start: str | None
) -> dict[str, Any]:
    from dmix.mixing.learning.outline import outline_of_rl

    return outline_of_rl(warehouse, set_name=set_names[0], settings=settings, start=start)


def _train_rl(warehouse: Warehouse, set_names: Sequence[str], start: str | None, **values: Any) -> Any:
    hush_gym()
    from dmix.mixing.learning.rl import train_rl

    return train_rl(warehouse, set_name=set_names[0], start=start, **values)


METHODS = {
    "sft": Method(SftSettings, _plan_sft, _train_sft),
    "clone": Method(CloneSettings, _plan_clone, _train_clone, frozenset({"architecture", "domain_width"})),
    "rl": Method(RlSettings, _plan_rl, _train_rl),
}


def train_agent(
    warehouse: Warehouse,
    *,
    method: str,
    set_names: str | Sequence[str],
    agent_name: str,
    settings: Any,
    start: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Trains an agent on stored trajectories.

    Args:
        warehouse: Where the sets are and the agent goes.
        method: One of `METHODS`.
        set_names: Set to learn from; `sft` takes several.
        agent_name: Name of the agent.
        settings: Settings of the method.
        start: Agent that the actor of `rl` starts from.
        overwrite: Replace an agent of that name.
        dry_run: Say what it would take, and train nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If set or first agent does not exist.
        InputError: If an agent of that name is there and `overwrite` is false, or the sets cannot be used.
        LockHeldError: If another process trains an agent of that name.
    """
    names = (set_names,) if isinstance(set_names, str) else tuple(set_names)
    if method != "sft" and len(names) != 1:
        raise InputError(
            f"method {method!r} learns from one set, but {len(names)} were given: {', '.join(names)}"
        )
    if method != "rl" and start is not None:
        raise InputError(
            f"only method 'rl' starts from an agent; leave {start!r} out, or use method 'rl' instead "
            f"of {method!r}"
        )
    check_set(warehouse, *names)
    lock, what = warehouse.lock_of("agent", agent_name), f"agent {agent_name}"
    if not dry_run:
        refuse_while_working(lock, what=what)
    _warn_of_unfinished(warehouse, names, progress)
    for name in names if method == "sft" else ():  # the other methods refuse such a set
        if (warning := without_feedback(warehouse, name)) is not None:
            progress(warning)
    check_new_agent(warehouse, agent_name, overwrite=overwrite)
    check_agent(warehouse, start)
    report: dict[str, Any] = {"agent": agent_name, "set": ", ".join(names)}
    if dry_run:
        return _agent_result(report | METHODS[method].plan(warehouse, names, settings, start))
    # two trainings of one name would end with the loss of one
    with held_lock(lock, what=what, of_job=True):
        summary = METHODS[method].train(
            warehouse,
            names,
            start,
            agent_name=agent_name,
            settings=settings,
            overwrite=overwrite,
            progress=progress,
        )
    from dmix.warehouse_schema.catalog.sync import sync_at_end

    sync_at_end(warehouse, warn=progress)
    return _agent_result(report | asdict(summary) | {"folder": str(warehouse.agent(agent_name))})


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

    Args:
        warehouse: Where set and agent are.
        set_name: Set of trajectories with feedback.
        agent_name: Agent to judge.
        settings: Size of the estimates.
        dry_run: Say what it would take, and judge nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If set or agent does not exist.
        InputError: If they do not belong together.
    """
    check_set(warehouse, set_name)
    _warn_of_unfinished(warehouse, [set_name], progress)
    check_agent(warehouse, agent_name)
    if dry_run:
        from dmix.mixing.learning.outline import outline_of_evaluation

        return _agent_result(
            outline_of_evaluation(
                warehouse.require(), set_name=set_name, agent_name=agent_name, settings=settings
            )
        )
    hush_gym()
    from dmix.mixing.learning.evaluate import evaluate_agent

    report = evaluate_agent(
        warehouse.require(), set_name=set_name, agent_name=agent_name, settings=settings, progress=progress
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
            if not inner:
                continue
            floats = [x for x in inner if isinstance(x, float)]
            if name.endswith("losses") and floats:
                yield prefix + name, f"{floats[0]:.5f} → {floats[-1]:.5f} ({num_text(len(floats), 'epoch')})"
                continue
            yield prefix + name, ", ".join(f"{x:.4g}" if isinstance(x, float) else str(x) for x in inner)
        else:
            yield prefix + name, inner
