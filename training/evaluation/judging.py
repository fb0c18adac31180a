"""What training did to items that no controller saw, from the scores that `dmix eval` keeps with a run.

Reads the files of `dmix.training.evaluation.benchmark`, without torch. The words are those of
`dmix.training.evaluation.verdicts`: they follow from the change and from the noise between seeds. The error
over items says how far the change may differ on other items. It stands beside the word and never changes it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dmix.mixing.space.noise import beyond_noise
from dmix.mixing.trajectories.objectives import Environment
from dmix.training.evaluation.verdicts import WORDS, Verdict, noise_between_seeds, verdict
from dmix.training.run.resuming.differences import recorded_content
from dmix.warehouse_schema.files.layout import Warehouse, read_json
from dmix.warehouse_schema.sizes import num_text


@dataclass(frozen=True)
class Change:
    """What training did to one objective.

    Attributes:
        before: Score at the first of the steps, nats per token.
        after: Score at the last of them.
        change: `after` - `before`.
        stderr: Standard error of `change` over items, each compared with itself; None for one item.
    """

    before: float
    after: float
    change: float
    stderr: float | None

    @property
    def beyond_noise(self) -> bool:
        """Whether the change is larger than what chance does to the items."""
        return beyond_noise(self.change, stderr=self.stderr)


class Items(NamedTuple):
    """The items of an objective: equal ones can be compared one by one.

    Attributes:
        task: Names of the environment file and of the objective, such as `judging/maths`.
        sha256: Digest of the items and of their form.
        limit: Most items that were scored; None for all.
    """

    task: str
    sha256: str
    limit: int | None

    @property
    def name(self) -> str:
        """Name of the objective, without that of its environment file."""
        return self.task.partition("/")[2]


@dataclass(frozen=True)
class StoredItems:
    """Scores of one model on the items of an objective.

    Attributes:
        scores: Of each item in nats per token, in the order of the file.
        role: `general` or `target`; None in files of earlier versions.
        scale: s_o in nats per token of the environment file; None where it gives none.
    """

    scores: tuple[float, ...]
    role: str | None
    scale: float | None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The change of an objective between two steps of a run, on stored items.

    Attributes:
        items: The items.
        role: `general` or `target`.
        step: The later step.
        change: The change.
        scale: s_o in nats per token.
        noise: Standard deviation of the change between seeds; None where nothing ran twice.
    """

    items: Items
    role: str
    step: int
    change: Change
    scale: float = 1.0
    noise: float | None = None

    @property
    def name(self) -> str:
        """Name of the objective, without that of its environment file."""
        return self.items.name

    @property
    def text(self) -> str:
        """Objective and change, with the paired standard error."""
        error = "(one item)" if self.change.stderr is None else f"± {self.change.stderr:.3f}"
        return f"{self.name} {self.change.change:+.3f} {error}"

    @property
    def verdict(self) -> Verdict:
        """The judgement on the change, the same as that of a run with this change."""
        return verdict(self.change.change, role=self.role, scale=self.scale, noise=self.noise)

    @property
    def word(self) -> str:
        """The verdict, with a caution where the items are too few for it."""
        found = self.verdict
        if not found.grade or self.change.beyond_noise:
            return found.word
        if self.change.stderr is None:
            return f"{found.word}, but by one item alone"
        return f"{found.word}, but within the noise of the items"


def change_of(before: Sequence[float], after: Sequence[float]) -> Change:
    """The change of a score on the same items.

    Raises:
        ValueError: If the items differ in number.
    """
    if len(before) != len(after):
        raise ValueError(
            f"got {num_text(len(before), 'item')} before and {len(after)} after, expected the same items"
        )
    changes = np.subtract(after, before)
    error = float(changes.std(ddof=1) / np.sqrt(len(changes))) if len(changes) > 1 else None
    return Change(float(np.mean(before)), float(np.mean(after)), float(changes.mean()), error)


def items_sha256(digest: str, kind: str) -> str:
    """Digest of the items of an objective and of their form."""
    return hashlib.sha256(json.dumps([digest, kind]).encode()).hexdigest()


def stored_items(warehouse: Warehouse, run_id: str) -> dict[Items, dict[int, StoredItems]]:
    """Scores of single items that `dmix eval` keeps with a run, by items and step; benchmarks have none."""
    found: dict[Items, dict[int, StoredItems]] = {}
    for path in sorted((warehouse.run(run_id) / "evaluations").glob("step*.json")):
        content: dict[str, Any] = read_json(path)
        if content.get("item_scores"):
            items = Items(content["task"], content["items_sha256"], content["limit"])
            found.setdefault(items, {})[content["step"]] = StoredItems(
                tuple(content["item_scores"]), content.get("role"), content.get("scale")
            )
    return found


def seen_items(warehouse: Warehouse, run_id: str, environment: Environment | None) -> dict[str, str]:
    """Objectives of a run, whose items its controller sees, by the digest that stored scores have."""
    content = recorded_content(warehouse.run(run_id) / "events.jsonl")
    return {
        items_sha256(content.get(f"the items of objective {o.name}", ""), o.kind): o.name
        for o in (environment.objectives if environment else ())
    }


def scale_of(name: str, environment: Environment | None, *, given: float | None = None) -> float:
    """s_o of an objective in nats per token: that of the run, else that of the judging file, else 1.

    The run's comes first, so that a run and its evaluation are judged in the same unit.

    Args:
        name: Of the objective.
        environment: Of the run.
        given: What the environment file of the evaluation says.
    """
    own = {} if environment is None else dict(zip(environment.names, environment.scales_D, strict=True))
    return float(own.get(name, 1.0 if given is None else given))


def judged_changes(
    warehouse: Warehouse, run_id: str, *, environment: Environment | None = None
) -> list[Judged]:
    """Changes of a run on stored items, targets first; empty where step 0 or a later step has no scores.

    Args:
        warehouse: Where the run is.
        run_id: The run.
        environment: Of the run. The items of its objectives are left out, because the controller sees them.
            An older file that names no role takes the role of the objective of the same name.
    """
    stored = stored_items(warehouse, run_id)
    seen = seen_items(warehouse, run_id, environment) if stored else {}  # reads the whole event log
    roles = {} if environment is None else dict(zip(environment.names, environment.roles, strict=True))
    judged = []
    for items, steps in stored.items():
        if items.sha256 in seen:
            continue
        last = max(steps)
        role = steps[last].role or roles.get(items.name)
        if 0 in steps and last > 0 and role in WORDS:
            judged.append(
                Judged(
                    items=items,
                    role=role,
                    step=last,
                    change=change_of(steps[0].scores, steps[last].scores),
                    scale=scale_of(items.name, environment, given=steps[last].scale),
                )
            )
    return sorted(judged, key=lambda one: one.role, reverse=True)


def with_noise(
    judged: Mapping[str, Sequence[Judged]], configurations: Sequence[Sequence[str]]
) -> dict[str, list[Judged]]:
    """The same changes with the noise between seeds, pooled over configurations.

    Args:
        judged: Changes by run.
        configurations: Runs that differ in nothing but their seeds, a sequence for each configuration.
    """
    return {
        run_id: [
            dataclasses.replace(
                one,
                noise=noise_between_seeds(
                    [
                        [
                            other.change.change
                            for run in of
                            for other in judged.get(run, ())
                            if (other.items, other.step) == (one.items, one.step)
                        ]
                        for of in configurations
                    ]
                ),
            )
            for one in found
        ]
        for run_id, found in judged.items()
    }


def judged_sentence(runs: Mapping[str, Sequence[Judged]]) -> str:
    """The answer to whether models learned and forgot; empty without judged changes.

    Args:
        runs: Judged changes by run; an only run goes without its name.
    """
    told = {
        run_id: ", ".join(f"{o.text} ({o.word})" for o in found) for run_id, found in runs.items() if found
    }
    if not told:
        return ""
    named = [f"{f'run {run_id}: ' if len(runs) > 1 else ''}{text}" for run_id, text in told.items()]
    return f"On items that no controller saw: {'; '.join(named)}."
