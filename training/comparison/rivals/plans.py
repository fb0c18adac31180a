"""Mixtures of the constant cells, base model by base model: `cells.json` of the results.

What a cell is chosen by never includes a run of the base model that judges it, apart from probes and counts,
which a user would make for this very model. All of it sees feedback items alone, under the weights and scales
that the yardstick found on them. Shapes: B base models, R runs, N domains, D objectives.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dmix.mixing.controllers.mixmin import item_weights, mixmin, probe_chances
from dmix.mixing.controllers.regmix_kl import best_near_natural
from dmix.mixing.effects.plan import make_plan
from dmix.mixing.effects.store import StoredEffects
from dmix.mixing.space.domains import Vector
from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.effects.design import mixture_of, probe_of
from dmix.training.comparison.effects.judgement import FEEDBACK, Row, Stored, spec_of, yardstick_scales
from dmix.training.comparison.effects.world_plans import PLAIN, run_supply, world_prediction
from dmix.training.comparison.rivals.cells import (
    COUNTS_PLAN,
    GRID,
    MIXMIN,
    NATURAL,
    REGMIX,
    TARGETS,
)
from dmix.training.comparison.yardstick.designs import target_mixture
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_json, read_json

CELLS_FILE = "cells.json"


@dataclass(frozen=True, kw_only=True)
class CellPlans:
    """What the runs of the confirmation follow.

    Attributes:
        inputs: Hash of the recipe of the setting.
        protocol_sha256: Hash of the protocol that was in force.
        weights: lambda of each objective with feedback items, summing to 1; 0 for a refused one.
        scales: s of each objective, nats per token.
        mixtures: By constant cell, one mixture for each base model.
        facts: What each fit chose, and what the plan from counts promises.
    """

    inputs: str
    protocol_sha256: str
    weights: dict[str, float]
    scales: dict[str, float]
    mixtures: dict[str, list[list[float]]]
    facts: dict[str, Any]

    def mixture_N(self, cell: str, base: int) -> Vector | None:
        """Mixture of a constant cell on a base model; None for a cell that listens."""
        found = self.mixtures.get(cell)
        return None if found is None else np.array(found[base])


def write_plans(paths: StudyPaths, plans: CellPlans) -> None:
    """Publishes the plans with the results."""
    publish_json(paths.results / CELLS_FILE, asdict(plans))


def read_plans(paths: StudyPaths) -> CellPlans | None:
    """The plans of the results; None before they are made."""
    path = paths.results / CELLS_FILE
    return CellPlans(**read_json(path)) if path.is_file() else None


def plan_cells(
    stored: Stored,
    *,
    inputs: str,
    protocol_sha256: str,
    counts: StoredEffects,
    tokens: Mapping[tuple[str, str], int],
    progress: Callable[[str], None],
) -> CellPlans:
    """Every constant cell on every base model.

    Args:
        stored: Rows of the yardstick, of the design, of the grid and of the probes.
        inputs: Hash of the recipe of the setting.
        protocol_sha256: Hash of the protocol.
        counts: Effects by counts.
        tokens: Scored tokens of each feedback item, by (objective, id).
        progress: Receives lines for people.

    Raises:
        InputError: If the yardstick admits no objective, or runs to learn from are missing.
    """
    found = yardstick_scales(stored, FEEDBACK)
    if found is None:
        raise InputError("the yardstick admits no objective; run --stage yardstick first")
    weight_D, scale_D = found
    value_D = weight_D / scale_D
    space, bases = stored.space, range(stored.settings.bases)
    promise = make_plan(
        world_prediction(counts, None, PLAIN),
        weights_D=weight_D,
        scales_D=scale_D,
        supply=run_supply(stored.settings, space),
    )
    shares = [best_share(stored, base, value_D=value_D) for base in bases]
    fits = []
    for base in bases:
        progress(f"base model {base}: RegMix is fitted to the runs of the other base models")
        fits.append(regmix_mixture(stored, base, value_D=value_D))
    by_base: dict[str, list[Vector]] = {
        NATURAL: [space.natural_N for _ in bases],
        **{name: [target_mixture(share, space) for _ in bases] for name, share in TARGETS.items()},
        GRID: [target_mixture(share, space) for share in shares],
        REGMIX: [mixture_N for mixture_N, _ in fits],
        MIXMIN: [mixmin_mixture(stored, base, value_D=value_D, tokens=tokens) for base in bases],
        COUNTS_PLAN: [promise.mixture_N for _ in bases],
    }
    names = stored.objectives
    return CellPlans(
        inputs=inputs,
        protocol_sha256=protocol_sha256,
        weights=dict(zip(names, weight_D.tolist(), strict=True)),
        scales=dict(zip(names, scale_D.tolist(), strict=True)),
        mixtures={name: [mixture_N.tolist() for mixture_N in of] for name, of in by_base.items()},
        facts={
            GRID: shares,
            REGMIX: [facts for _, facts in fits],
            COUNTS_PLAN: {
                "utility": promise.utility,
                "gains": dict(zip(names, promise.gain_D.tolist(), strict=True)),
            },
        },
    )


def best_share(stored: Stored, base: int, *, value_D: Vector) -> float:
    """The target share of the grid with the highest mean U on other base models.

    Raises:
        InputError: If no other base model has runs of the grid.
    """
    worth: dict[float, list[float]] = {}
    for run in _elsewhere(stored, "grid", base):
        gain = float(stored.gains([run], FEEDBACK)[0] @ value_D)
        worth.setdefault(float(spec_of(run).partition(":")[2]), []).append(gain)
    if not worth:
        raise InputError("no base model has runs of the grid; run --stage rivals first")
    return max(worth, key=lambda share: float(np.mean(worth[share])))


def regmix_mixture(stored: Stored, base: int, *, value_D: Vector) -> tuple[Vector, dict[str, Any]]:
    """The mixture of RegMix by the runs of other base models, shape (N,), and what the fit chose.

    The yardstick's tilts are part of the design; the first run of each on one base model counts.

    Raises:
        InputError: If there are too few runs.
    """
    tilts = {run["controller"]: run for run in reversed(_elsewhere(stored, "tilt", base))}
    runs = [*tilts.values(), *_elsewhere(stored, "design", base)]
    if len(runs) < 2:
        raise InputError("no base model has runs of the design; run --stage rivals first")
    mixtures_RN = np.array([mixture_of(spec_of(run), stored.settings, stored.space) for run in runs])
    found = best_near_natural(
        mixtures_RN,
        stored.gains(runs, FEEDBACK),
        value=lambda scores_CD: scores_CD @ value_D,
        space=stored.space,
    )
    facts = {"runs": len(runs), "regressor": found.regressor, "radius": found.radius}
    return found.mixture_N, facts


def mixmin_mixture(
    stored: Stored, base: int, *, value_D: Vector, tokens: Mapping[tuple[str, str], int]
) -> Vector:
    """The mixture of MixMin by the probes of a base model, shape (N,).

    Raises:
        InputError: If the base model has no probes.
    """
    probes, controls = stored.runs("probe", base), stored.runs("control", base)
    if not probes or not controls:
        raise InputError(f"base model {base} has no probes; run --stage rivals first")
    name_of = {run["unit_id"]: run["controller"] for run in [*probes, *controls]}
    heard = {name for name, value in zip(stored.objectives, value_D, strict=True) if value > 0}
    rows = [
        {
            "probe": name_of[row["unit_id"]],
            "objective": row["objective"],
            "item": row["item_id"],
            "score": row["score"],
        }
        for row in stored.tables["items"]
        if row["unit_id"] in name_of and row["layer"] == FEEDBACK and row["objective"] in heard
    ]
    wanted = {key: count for key, count in tokens.items() if key[0] in heard}
    chance_IK, items = probe_chances(rows, wanted, [run["controller"] for run in probes])
    mixture_KN = np.stack(
        [stored.space.natural_N, *(probe_of(spec_of(run), stored.space).mixture_N for run in probes)]
    )
    value = dict(zip(stored.objectives, value_D, strict=True))
    weight_K, _ = mixmin(chance_IK, item_weights(items, wanted, value))
    mixture_N: Vector = weight_K @ mixture_KN
    return mixture_N


def _elsewhere(stored: Stored, part: str, base: int) -> list[Row]:
    """Finished runs of a part on other base models."""
    others = [other for other in range(stored.settings.bases) if other != base]
    return [run for other in others for run in stored.runs(part, other)]
