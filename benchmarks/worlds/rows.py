"""Stored rows of worlds: what priors are fitted to, and whether the agent is ahead where nothing was fitted.

Everything follows from the results of each world: `setting.json`, `runs`, `steps`, `items` and
`promises.parquet`. Shapes: N domains, D objectives, P runs.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from benchmarks.worlds.priors import WorldRuns

from dmix.mixing.space.domains import Array
from dmix.training.comparison.effects.promises import PROMISES, read_table
from dmix.training.comparison.effects.world_plans import COUNTS
from dmix.training.comparison.runs.store import Row
from dmix.warehouse_schema.files.layout import read_json
from dmix.warehouse_schema.taxonomy import FIELDS

JUDGING = "confirmation"


@dataclass(frozen=True, kw_only=True)
class WorldRow:
    """One run of a world.

    Attributes:
        world, controller, seed: Which.
        utility: U on the items that judge, in the scales of the world.
        nats: The same without scales: mean over general and target objectives.
    """

    world: str
    controller: str
    seed: int
    utility: float
    nats: float


def world_runs(folder: Path) -> WorldRuns | None:
    """The runs of a fitting world's results; None while natural mixing or all others are missing."""
    facts, done = read_json(folder / "setting.json"), _done(folder)
    natural = [run for run in done if run["controller"] == "natural"]
    others = [run for run in done if run["controller"] != "natural"]
    promises = _promised(folder)
    others = [run for run in others if (COUNTS, _spec(run)) in promises]
    if not natural or not others:
        return None
    names = [objective["name"] for objective in facts["objectives"]]
    scores, steps = _scores(folder), _table(folder, "steps")
    samples_N = np.array(facts["samples"], np.float64)
    mixture = {row["unit_id"]: row["mixture"] for row in steps if row["step"] == 1}
    own = [row for row in steps if row["unit_id"] == natural[0]["unit_id"]]

    def table(kind: str) -> Array:
        return np.array(
            [[promises.get((kind, _spec(run)), {}).get(name, 0.0) for name in names] for run in others]
        )

    final_PD = np.array([[scores[run["unit_id"], name] for name in names] for run in others])
    natural_D = np.array([scores[natural[0]["unit_id"], name] for name in names])
    return WorldRuns(
        roles=tuple(objective["role"] for objective in facts["objectives"]),
        scales_D=np.array([objective["scale"] for objective in facts["objectives"]]),
        mixtures_PN=np.array([mixture[run["unit_id"]] for run in others]),
        natural_N=samples_N / samples_N.sum(),
        target_N=np.array([field == FIELDS[1] for field, _ in facts["space"]]),
        promised_PD=table(COUNTS),
        linear_PD=table("gradient"),
        gains_PD=final_PD - natural_D,
        natural_TD=np.array([natural[0]["base_scores"], *(row["scores"] for row in own)]),
    )


def judged_rows(folder: Path) -> list[WorldRow]:
    """Utility of every finished run of a world on the items that judge."""
    facts, scores = read_json(folder / "setting.json"), _scores(folder, gain=True)
    found = []
    for run in _done(folder):
        gained = {o["name"]: scores[run["unit_id"], o["name"]] for o in facts["objectives"]}
        by_role = defaultdict(list)
        for objective in facts["objectives"]:
            by_role[objective["role"]].append((gained[objective["name"]], objective["scale"]))
        found.append(
            WorldRow(
                world=facts["setting"],
                controller=run["controller"],
                seed=run["seed"],
                utility=float(np.mean([np.mean([g / s for g, s in own]) for own in by_role.values()])),
                nats=float(np.mean([np.mean([g for g, _ in own]) for own in by_role.values()])),
            )
        )
    return found


def ahead(rows: Sequence[WorldRow], controller: str, rival: str) -> tuple[int, int]:
    """In how many worlds a controller's mean utility is above a rival's, and in how many both ran."""
    means: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        means[row.world, row.controller].append(row.utility)
    worlds = sorted({row.world for row in rows})
    both = [w for w in worlds if (w, controller) in means and (w, rival) in means]
    won = sum(np.mean(means[w, controller]) > np.mean(means[w, rival]) for w in both)
    return int(won), len(both)


def _done(folder: Path) -> list[Row]:
    rows = [row for row in _table(folder, "runs") if row["stage"] == "worlds" and row["status"] == "done"]
    return list({row["unit_id"]: row for row in rows}.values())


def _spec(run: Row) -> str:
    return str(json.loads(run["spec"])["spec"])


def _promised(folder: Path) -> dict[tuple[str, str], dict[str, float]]:
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in read_table(folder, PROMISES):
        found[row["estimator"], row["spec"]][row["objective"]] = row["promised"]
    return found


def _scores(folder: Path, *, gain: bool = False) -> dict[tuple[str, str], float]:
    """Mean item score by run and objective on the items that judge; its gain over the base if asked for."""
    sums: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in _table(folder, "items"):
        if row["layer"] == JUDGING:
            sums[row["unit_id"], row["objective"]].append(row["score"] - gain * row["base_score"])
    return {key: float(np.mean(values)) for key, values in sums.items()}


def _table(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / f"{name}.parquet", partitioning=None).to_pylist()
    return rows
