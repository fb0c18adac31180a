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
from scipy import stats

from dmix.mixing.space.domains import Array
from dmix.mixing.space.simplex import clipped, kl
from dmix.training.comparison.data.settings import SHIPPED
from dmix.training.comparison.effects.promises import PROMISES, read_table
from dmix.training.comparison.effects.world_plans import COUNTS, PLAN, WorldPriors
from dmix.training.comparison.units.store import Row
from dmix.training.model.settings import load_training, rate_shares
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import read_json
from dmix.warehouse_schema.taxonomy import FIELDS

JUDGING = "confirmation"
JUDGED = ("world", "fresh", "rung")
"""Parts of runs that judge a controller; checks and probes are what some of them learn from."""


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
    # worlds differ in the peak of the learning rate alone
    training = load_training(SHIPPED / "training.yaml")
    batches = len(own) * facts["step_samples"] // training.batch_size

    def table(kind: str) -> Array:
        return np.array(
            [[promises.get((kind, _spec(run)), {}).get(name, 0.0) for name in names] for run in others]
        )

    final_PD = np.array([[scores[run["unit_id"], name] for name in names] for run in others])
    natural_D = np.array([[scores[run["unit_id"], name] for name in names] for run in natural]).mean(0)
    return WorldRuns(
        specs=tuple(_spec(run) for run in others),
        roles=tuple(objective["role"] for objective in facts["objectives"]),
        scales_D=np.array([objective["scale"] for objective in facts["objectives"]]),
        mixtures_PN=np.array([mixture[run["unit_id"]] for run in others]),
        natural_N=samples_N / samples_N.sum(),
        target_N=np.array([field == FIELDS[1] for field, _ in facts["space"]]),
        promised_PD=table(COUNTS),
        linear_PD=table("gradient"),
        gains_PD=final_PD - natural_D,
        natural_TD=np.array([natural[0]["base_scores"], *(row["scores"] for row in own)]),
        rate_shares_M=np.array(rate_shares(len(own), total=batches, settings=training)),
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
    (found,) = rungs(rows, [(rival, controller)]) or [None]
    return (found.won, found.worlds) if found is not None else (0, 0)


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What a controller adds to the one before it, over worlds.

    Attributes:
        name, before: The two controllers.
        worlds: Worlds in which both ran.
        gain: Mean over worlds of the difference of their mean utilities.
        half_width: Half of the 95% interval by Student's t over worlds; NaN for a single world.
        won: Worlds in which it is ahead.
    """

    name: str
    before: str
    worlds: int
    gain: float
    half_width: float
    won: int


def rungs(rows: Sequence[WorldRow], steps: Sequence[tuple[str, str]]) -> list[Rung]:
    """Each of the steps, (what came before, controller), in the worlds in which both ran."""
    means = _means(rows)
    found = []
    for before, name in steps:
        worlds = sorted({w for w, c in means if c == name} & {w for w, c in means if c == before})
        if not worlds:
            continue
        gains = np.array([means[w, name] - means[w, before] for w in worlds])
        half = float("nan")
        if len(worlds) > 1:
            half = float(stats.t.ppf(0.975, len(worlds) - 1) * gains.std(ddof=1) / np.sqrt(len(worlds)))
        found.append(
            Rung(
                name=name,
                before=before,
                worlds=len(worlds),
                gain=float(gains.mean()),
                half_width=half,
                won=int((gains > 0).sum()),
            )
        )
    return found


def promised_and_got(folder: Path, priors: WorldPriors, *, name: str = PLAN) -> tuple[float, float]:
    """What a static plan of a world promises over natural mixing, and what it got: both in utility.

    Args:
        folder: Results of the world.
        priors: What the plan follows.
        name: `PLAN` or `COUNTS_PLAN`.

    Raises:
        InputError: If the plan or natural mixing has not run there.
    """
    runs = world_runs(folder)
    plans = [number for number, spec in enumerate(runs.specs if runs else ()) if spec == f"world:{name}"]
    if runs is None or not plans:
        raise InputError(
            f"{folder} has no runs of the plan and of natural mixing; run its stage worlds first"
        )
    weights_D = np.array([1 / (2 * runs.roles.count(role)) for role in runs.roles]) / runs.scales_D
    mixture_N = runs.mixtures_PN[plans[0]]
    bend = priors.q * float(kl(mixture_N, clipped(runs.natural_N)))
    promised_D = priors.beta * runs.promised_PD[plans[0]] + priors.gamma * runs.linear_PD[plans[0]]
    promised_D = promised_D - bend * runs.scales_D
    return float(weights_D @ promised_D), float(weights_D @ runs.gains_PD[plans].mean(0))


def _means(rows: Sequence[WorldRow]) -> dict[tuple[str, str], float]:
    """Mean utility by world and controller."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        found[row.world, row.controller].append(row.utility)
    return {key: float(np.mean(values)) for key, values in found.items()}


def _done(folder: Path) -> list[Row]:
    """Finished runs; the newest of a controller and seed, where what steers it has changed since."""
    rows = [row for row in _table(folder, "runs") if row["part"] in JUDGED and row["status"] == "done"]
    rows.sort(key=lambda row: row["finished_at"])
    return list({(_spec(row), row["seed"]): row for row in rows}.values())


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
