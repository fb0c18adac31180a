"""The stored runs of all rounds, as the studies read them; nothing is trained.

Runs that both rounds of the first protocol hold count once. Shapes: T steps, N domains, D objectives with
weight in the utility.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from benchmarks.confirmation import protocol_of, runs_left, stored_setting
from numpy.typing import NDArray

from dmix.mixing.space.domains import Array, DomainSpace, Vector
from dmix.training.comparison.effects.judgement import yardstick_scales
from dmix.training.comparison.runs.facts import space_of_facts
from dmix.warehouse_schema.files.layout import read_json

FEEDBACK, JUDGING = "feedback", "confirmation"
GENERAL = "general"
WORLDS = "worlds"
NATURAL = "natural"
DRAWN = ("draw", "rerun", "fresh", "tilt", "design", "paper")
"""Parts of runs whose mixtures are drawn at random; reruns are the best of them on fresh seeds."""

_FIRST_ROUNDS = ("small", "first-round")
_CELL = "cell"


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyRun:
    """A finished run.

    Attributes:
        setting: Name of its setting.
        controller: What chose its mixtures.
        part: What it was run for.
        seed, base: Run seed, and number of the base model.
        varied: Whether its proxy had another learning rate or less text than its setting.
        mixtures_TN: Mixture of each step.
        scores_TD: Score after each step on the feedback items, the model before the run first, shape
            (T + 1, D); None if it was scored at its end alone.
        feedback_D: Mean gain over the base model on the items that controllers read; None without.
        judged_D: The same on the items that nobody reads; None if it was not scored on them.
    """

    setting: str
    controller: str
    part: str
    seed: int
    base: int
    varied: bool
    mixtures_TN: Array
    scores_TD: Array | None
    feedback_D: Vector | None
    judged_D: Vector | None


@dataclass(frozen=True, kw_only=True, eq=False)
class StudySetting:
    """A setting with its finished runs.

    Attributes:
        name: Its name, such as `origin` or `held-out-03`.
        group: `worlds` for a world; else its name.
        space: Its domains.
        objectives: Names of the D objectives.
        general_D: True for those of the source field.
        weight_D: Lambda, summing to 1.
        scale_D: s_o in nats per token.
        step_samples: Samples of a step.
        max_passes: Passes through a domain at most.
        runs: In order of start.
    """

    name: str
    group: str
    space: DomainSpace
    objectives: tuple[str, ...]
    general_D: NDArray[np.bool_]
    weight_D: Vector
    scale_D: Vector
    step_samples: int
    max_passes: int
    runs: tuple[StudyRun, ...]

    def utility(self, gain_D: Vector) -> float:
        """U of gains over the base model, shape (D,)."""
        return float(gain_D @ (self.weight_D / self.scale_D))

    def general(self, gain_D: Vector) -> float:
        """Mean gain of the general objectives in scales, by their weights."""
        weight_D = np.where(self.general_D, self.weight_D, 0.0)
        return float(gain_D @ (weight_D / self.scale_D) / weight_D.sum())

    @cached_property
    def natural(self) -> tuple[StudyRun, ...]:
        """The runs of natural mixing."""
        return tuple(run for run in self.runs if run.controller == NATURAL)


def first_rounds(results: Path) -> list[StudySetting]:
    """The settings of the first two rounds, each with the runs of both; `results` holds their folders."""
    names = sorted({path.parent.name for round_ in _FIRST_ROUNDS for path in _facts_files(results / round_)})
    found = []
    for name in names:
        folders = [results / round_ / name for round_ in _FIRST_ROUNDS]
        found.append(_setting([f for f in folders if (f / "setting.json").is_file()], group=name))
    return found


def third_round(settings: Path, results: Path) -> list[StudySetting]:
    """The settings of the third round whose yardstick admits objectives, and all worlds.

    Runs of the confirmation count once all of a setting are done: nobody looks at a part of them.

    Args:
        settings: Folder of setting files, for the scales.
        results: Folder of the round.
    """
    found, (protocol, sha256) = [], protocol_of(settings)
    for path in _facts_files(results):
        name = path.parent.name
        stored = stored_setting(name, settings, results, protocol_sha256=sha256)
        admitted = None if stored is None else yardstick_scales(stored, JUDGING)
        if stored is None or admitted is None:  # without admitted objectives, a setting has no utility
            continue
        scales = {o: (float(w), float(s)) for o, w, s in zip(stored.objectives, *admitted, strict=True)}
        without = _CELL if runs_left(stored, protocol) else None
        found.append(_setting([path.parent], group=name, scales=scales, without=without))
    return found + [_setting([path.parent], group=WORLDS) for path in _facts_files(results / WORLDS)]


def _facts_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/setting.json"))


def _setting(
    folders: Sequence[Path],
    *,
    group: str,
    scales: Mapping[str, tuple[float, float]] | None = None,
    without: str | None = None,
) -> StudySetting:
    facts = read_json(folders[0] / "setting.json")
    layer = facts["layers"][FEEDBACK]
    own = {o["name"]: o for o in facts["objectives"]}
    weights = {name: scales[name] if scales else (own[name]["weight"], own[name]["scale"]) for name in layer}
    kept = [name for name in layer if weights[name][0] > 0]
    weight_D, scale_D = np.array([weights[name] for name in kept]).T
    runs: dict[tuple[Any, ...], tuple[str, StudyRun]] = {}
    for folder in folders:
        for key, started, run in _runs(folder, facts["setting"], layer=layer, kept=kept):
            if run.part != without:
                runs.setdefault(key, (started, run))
    ordered = sorted(runs.values(), key=lambda pair: (pair[0], pair[1].controller, pair[1].seed))
    return StudySetting(
        name=facts["setting"],
        group=group,
        space=space_of_facts(facts),
        objectives=tuple(kept),
        general_D=np.array([own[name]["role"] == GENERAL for name in kept]),
        weight_D=weight_D / weight_D.sum(),
        scale_D=scale_D,
        step_samples=facts["step_samples"],
        max_passes=facts["max_passes"],
        runs=tuple(run for _, run in ordered),
    )


def _runs(
    folder: Path, setting: str, *, layer: Sequence[str], kept: Sequence[str]
) -> list[tuple[tuple[Any, ...], str, StudyRun]]:
    """Finished runs of a folder, each with the key that it has in every folder, and its start."""
    places = [layer.index(name) for name in kept]
    gains, steps = _gains(folder), defaultdict(list)
    for row in sorted(_table(folder, "steps"), key=lambda row: row["step"]):
        steps[row["unit_id"]].append(row)
    found = []
    for row in _table(folder, "runs"):
        unit, own = row["unit_id"], steps[row["unit_id"]]
        if row["status"] != "done" or not own:
            continue
        scored = all(len(step["scores"] or ()) for step in own)
        scores_TD = np.array([row["base_scores"], *(step["scores"] for step in own)]) if scored else None
        of = {
            name: np.array([gains[unit, name, objective] for objective in kept])
            if (unit, name, kept[0]) in gains
            else None
            for name in (FEEDBACK, JUDGING)
        }
        run = StudyRun(
            setting=setting,
            controller=row["controller"],
            part=row["part"],
            seed=row["seed"],
            base=row["base"],
            varied=bool(json.loads(row["spec"])["variation"]),
            mixtures_TN=np.array([step["mixture"] for step in own]),
            scores_TD=None if scores_TD is None else scores_TD[:, places],
            feedback_D=of[FEEDBACK],
            judged_D=of[JUDGING],
        )
        found.append(((row["started_at"], row["controller"], row["seed"]), row["started_at"], run))
    return found


def _gains(folder: Path) -> dict[tuple[str, str, str], float]:
    """Mean gain over the base model by unit, layer and objective."""
    table = pq.read_table(folder / "items.parquet", partitioning=None)
    keys = ["unit_id", "layer", "objective"]
    means = table.group_by(keys).aggregate([("score", "mean"), ("base_score", "mean")]).to_pylist()
    return {
        tuple(row[key] for key in keys): row["score_mean"] - row["base_score_mean"]  # type: ignore[misc]
        for row in means
    }


def _table(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / f"{name}.parquet", partitioning=None).to_pylist()
    return rows
