"""What training did to items that no controller saw, from the scores that `dmix eval` keeps with a run.

Reads the files of `dmix.training.evaluation.benchmark`, without torch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmix.mixing.space.noise import beyond_noise
from dmix.training.run.resuming.differences import recorded_content
from dmix.warehouse_schema.files.layout import Warehouse, read_json
from dmix.warehouse_schema.sizes import num_text

# Words for a change beyond noise, a gain and a loss.
_WORDS = {"target": ("learned", "worse"), "general": ("not forgotten", "forgotten")}


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


@dataclass(frozen=True)
class Judged:
    """The change of an objective between step 0 and the last step that has scores.

    Attributes:
        name: Name of the objective, without that of its environment file.
        role: `general` or `target`.
        step: The last step that has scores.
        change: The change.
    """

    name: str
    role: str
    step: int
    change: Change

    @property
    def text(self) -> str:
        """Objective and change, with the paired standard error."""
        error = "(one item)" if self.change.stderr is None else f"± {self.change.stderr:.3f}"
        return f"{self.name} {self.change.change:+.3f} {error}"

    @property
    def word(self) -> str:
        """The change in words."""
        better, worse = _WORDS[self.role]
        if not self.change.beyond_noise:
            return "unchanged"
        return better if self.change.change > 0 else worse


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


def judged_changes(
    warehouse: Warehouse, run_id: str, *, objectives: Sequence[Mapping[str, Any]] = ()
) -> list[Judged]:
    """Changes of a run on stored items, targets first; empty where step 0 or a later step has no scores.

    Args:
        warehouse: Where the run is.
        run_id: The run.
        objectives: Name, role and kind of those of the run. Their items are left out, because the
            controller sees them. An older file that names no role takes the role of the same name.
    """
    content = recorded_content(warehouse.run(run_id) / "events.jsonl")
    seen = {
        items_sha256(content.get(f"the items of objective {o['name']}", ""), o["kind"]) for o in objectives
    }
    roles = {o["name"]: o["role"] for o in objectives}
    by_items: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = {}
    for path in sorted((warehouse.run(run_id) / "evaluations").glob("step*.json")):
        found = read_json(path)
        if found.get("item_scores") and found["items_sha256"] not in seen:
            key = (found["task"], found["items_sha256"], found["limit"])
            by_items.setdefault(key, {})[found["step"]] = found
    judged = []
    for (task, *_), steps in by_items.items():
        name, last = task.partition("/")[2], max(steps)
        role = steps[last].get("role") or roles.get(name)
        if 0 in steps and last > 0 and role in _WORDS:
            change = change_of(steps[0]["item_scores"], steps[last]["item_scores"])
            judged.append(Judged(name, role, last, change))
    return sorted(judged, key=lambda one: one.role, reverse=True)


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
