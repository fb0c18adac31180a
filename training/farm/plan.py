"""What a farm has done and what is left, with the checks before it; light, so that a dry run is quick."""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.mixing.delivery.step_plan import check_settings
from dmix.mixing.delivery.streams import StreamSizes
from dmix.mixing.trajectories.feedback import feedback_file
from dmix.mixing.trajectories.objectives import (
    Environment,
    check_items,
    environment_to_json,
    items_digests,
)
from dmix.mixing.trajectories.store import Trajectory, TrajectorySet, read_set, read_trajectories
from dmix.training.farm.task import ProxyTask, plan_of
from dmix.training.farm.variations import starting_model
from dmix.training.model.digests import model_digest
from dmix.training.model.settings import ProxySettings, TrainingSettings
from dmix.training.run.request import base_of_proxies
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.changes import SAMPLES, Change, changes_between, require_accepted
from dmix.warehouse_schema.files.layout import Warehouse, read_json
from dmix.warehouse_schema.files.manifests import read_dataset_manifest, samples_digest
from dmix.warehouse_schema.files.names import refuse_links
from dmix.warehouse_schema.settings import settings_from
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.training.farm.tasks import FarmTasks

# Share of the trajectories with a varied proxy (method §3).
_VARIED = {"default": 0.25, "paper": 0.0}
# |T| / (R * M) of farm and guided run may differ by this much before it is worth a word.
_SAME_SUPPLY = 0.02


@dataclass(frozen=True, kw_only=True)
class FarmPlan:
    """A farm that is ready to run.

    Attributes:
        task: What its proxies share.
        found: The set.
        todo: Trajectories without feedback.
        done: Number of trajectories with feedback.
        tokens: Tokens that the missing ones will be trained on.
        changes: Content that changed since feedback was collected, and was accepted.
    """

    task: ProxyTask
    found: TrajectorySet
    todo: tuple[Trajectory, ...]
    done: int
    tokens: int
    changes: tuple[Change, ...] = ()

    @property
    def variations(self) -> dict[str, int]:
        """How many of the missing proxies depart from the usual one, by departure."""
        space = self.found.domain_space
        names = (self.task.variation(trajectory.trajectory_id, space=space) for trajectory in self.todo)
        return dict(sorted(Counter(name for name in names if name).items()))

    def stacks(self, tasks: "FarmTasks") -> list[tuple[Trajectory, ...]]:
        """The missing ones in stacks whose proxies start from the same model.

        Raises:
            InputError: If a stack of several holds proxies that cannot be trained at once.
        """
        from dmix.training.farm.stacked.proxies import check_stack

        space = self.found.domain_space

        def start(trajectory: Trajectory) -> str:
            return starting_model(self.task.variation(trajectory.trajectory_id, space=space))

        stacks = tasks.stacks(self.todo, alike=start)
        for first in {start(stack[0]): stack[0] for stack in stacks if len(stack) > 1}.values():
            check_stack(self.task, first)
        return stacks

    @property
    def warning(self) -> str:
        """What makes proxies differ from the guided run that the set is for; empty if nothing does."""
        found = self.found
        supply = found.target_supply * found.run_step_samples / found.step_samples  # |T| / (R M) of a proxy
        if abs(supply - found.target_supply) <= _SAME_SUPPLY * found.target_supply:
            return ""
        return (
            f"a proxy draws {num_text(found.step_samples, 'sample')} per step, and the run that the agent "
            f"will control draws {found.run_step_samples:,}. The target text has {supply:.3g} samples for "
            f"each sample of a proxy and {found.target_supply:.3g} for each sample of the run. So it runs "
            "out at different steps, and the agent learns something that does not hold in the run. Make "
            "another set with 'dmix mix sample', either with --samples-per-step "
            f"{found.run_step_samples}, or with --run-samples-per-step {found.step_samples} for runs of this "
            "size"
        )


def plan_farm(
    warehouse: Warehouse,
    set_name: str,
    *,
    environment: Environment,
    proxy: ProxySettings,
    base: str | None = None,
    other_bases: Sequence[str] = (),
    accept_changes: bool = False,
) -> FarmPlan:
    """What is left to do for a set; nothing is written.

    Args:
        warehouse: Where set, dataset and base model are.
        set_name: The set of trajectories.
        environment: What proxies are scored on.
        proxy: The model and its training.
        base: Name of a base model of the warehouse; wanted under `init: base` alone.
        other_bases: Names of further ones, such as one of another width or with less pre-training;
            some of the varied proxies start from them.
        accept_changes: Go on although items or weights of base models are not those of the feedback so far.

    Raises:
        NotFoundError: If the set or the base model does not exist.
        InputError: If bases and init disagree, a base is named twice, R is no multiple of the proxies'
            batch, or the set has feedback of another environment or proxy.
    """
    check_items(environment)
    found = read_set(warehouse, set_name)
    manifest = read_dataset_manifest(warehouse, found.dataset)
    if proxy.vary is None:
        proxy = dataclasses.replace(proxy, vary=_VARIED[found.preset])
    if len({base, *other_bases}) <= len(other_bases):
        raise InputError(f"--base contains a model twice: {', '.join([str(base), *other_bases])}; remove one")
    folders = [base_of_proxies(warehouse, name, init=proxy.init) for name in (base, *other_bases)]
    task = ProxyTask(
        root=warehouse.root,
        set_name=set_name,
        dataset=found.dataset,
        step_samples=found.step_samples,
        environment=environment,
        proxy=proxy,
        base=folders[0],
        other_bases=tuple(folder for folder in folders[1:] if folder is not None),
        max_passes=found.max_passes,
    )
    trajectories = read_trajectories(warehouse, set_name)
    if not trajectories:
        raise NotFoundError(
            f"set {set_name!r} has no trajectories yet; run 'dmix mix sample --set {set_name}'"
        )
    check_settings(
        plan_of(task, trajectories[0], training=proxy.training), streams=StreamSizes.of_manifest(manifest)
    )
    changes = check_same_farm(warehouse, task, accept_changes=accept_changes)
    todo = without_feedback(warehouse, set_name, trajectories)
    steps = sum(len(trajectory.mixtures_TN) - 1 for trajectory in todo)
    return FarmPlan(
        task=task,
        found=found,
        todo=todo,
        done=len(trajectories) - len(todo),
        tokens=steps * found.step_samples * manifest.seq_len,
        changes=changes,
    )


def default_proxy(found: TrajectorySet, *, base: str | None) -> ProxySettings:
    """The proxy of a set when the user gives no file: its batch fits the set's R."""
    batch_size = int(found.settings.get("batch_size", TrainingSettings().batch_size))
    return ProxySettings(
        init="scratch" if base is None else "base", training=TrainingSettings(batch_size=batch_size)
    )


def without_feedback(
    warehouse: Warehouse, set_name: str, trajectories: Sequence[Trajectory]
) -> tuple[Trajectory, ...]:
    """Those that no proxy has scored yet."""
    return tuple(
        trajectory
        for trajectory in trajectories
        if not feedback_file(warehouse, set_name, trajectory.trajectory_id).is_file()
    )


def farm_file(warehouse: Warehouse, set_name: str) -> Path:
    """The record of a farm."""
    return warehouse.feedback(set_name) / "farm.json"


def farm_record(task: ProxyTask) -> dict[str, Any]:
    """What decides the scores of a farm, as plain values; scales and the warehouse's place do not."""
    bases = [folder for folder in (task.base, *task.other_bases) if folder is not None]
    record = {
        "environment": environment_to_json(dataclasses.replace(task.environment, scales={})),
        "proxy": dataclasses.asdict(task.proxy),
        "base": None if task.base is None else task.base.name,
        "other_bases": [folder.name for folder in task.other_bases],
        "max_passes": task.max_passes,
        "items": items_digests(task.environment),
        "models": {folder.name: model_digest(str(folder)) for folder in bases},
        "samples": samples_digest(read_dataset_manifest(Warehouse.at(task.root), task.dataset)),
    }
    plain: dict[str, Any] = json.loads(json.dumps(record))  # tuples become lists, as in the file
    return plain


def _content(record: dict[str, Any]) -> dict[str, str]:
    """Digests of a farm's record by names for people; earlier versions kept fewer."""
    samples = {SAMPLES: record["samples"]} if "samples" in record else {}
    items = {f"the items of objective {name}": value for name, value in record.get("items", {}).items()}
    return samples | items | {f"base model {name}": value for name, value in record.get("models", {}).items()}


def check_same_farm(warehouse: Warehouse, task: ProxyTask, *, accept_changes: bool) -> tuple[Change, ...]:
    """Content that changed since the feedback of a farm was collected, and was accepted."""
    path = farm_file(warehouse, task.set_name)
    refuse_links(path.parent)
    if not path.is_file() or not any(path.parent.glob("*.parquet")):
        return ()
    before, now = read_json(path), farm_record(task)
    for record in (before, now):
        record["environment"].pop("folder", None)  # where the items are does not matter, their digests do
    # settings that are newer than the farm had the values that they have by default
    known = settings_from(ProxySettings, before["proxy"], where=f"proxy of {path}")
    before["proxy"] = json.loads(json.dumps(dataclasses.asdict(known)))
    for name in now:
        if name not in ("items", "models", "samples") and before.get(name) != now[name]:
            raise InputError(
                f"the feedback of set {task.set_name!r} has another {name}; give the same {name}, sample "
                f"another set, or delete {path.parent}"
            )
    changes = changes_between(_content(before), _content(now))
    require_accepted(changes, of=f"set {task.set_name!r} has feedback", accepted=accept_changes)
    return changes
