"""Units on disk: a Parquet file each in the work folder, three tables in the results.

A unit's file is written when it starts and replaced when it ends. One that did not end well is kept
under another name when the unit is started again, so every run that was started is on record, as a
row of its own. `compact` brings all of them into the results. Utility is computed there,
because its scales s_i come from the whole farm.
"""

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dmix.mixing.trajectories.objectives import utility
from dmix.training.comparison.data.settings import LAYERS
from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.units.units import Unit
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_bytes, read_json

Row = dict[str, Any]

RUNS = pa.schema(
    [
        ("unit_id", pa.string()),
        ("setting", pa.string()),
        ("stage", pa.string()),
        ("part", pa.string()),
        ("kind", pa.string()),
        ("controller", pa.string()),
        ("seed", pa.int64()),
        ("base", pa.int64()),
        ("agent_seed", pa.int64()),
        ("steps", pa.int64()),
        ("step_samples", pa.int64()),
        ("seq_len", pa.int64()),
        ("source_samples", pa.int64()),
        ("target_samples", pa.int64()),
        ("source_tokens", pa.int64()),
        ("target_tokens", pa.int64()),
        *((f"utility_{layer}", pa.float64()) for layer in LAYERS),
        ("base_scores", pa.list_(pa.float64())),
        ("seconds", pa.float64()),
        ("proxy_tokens", pa.int64()),
        ("protocol_sha256", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("commit", pa.string()),
        ("started_at", pa.string()),
        ("finished_at", pa.string()),
        ("spec", pa.string()),
        ("provenance", pa.string()),
    ]
)
STEPS = pa.schema(
    [
        ("unit_id", pa.string()),
        ("step", pa.int64()),
        ("mixture", pa.list_(pa.float64())),
        ("target_share", pa.float64()),
        ("utility", pa.float64()),
        ("scores", pa.list_(pa.float64())),
    ]
)
ITEMS = pa.schema(
    [
        ("unit_id", pa.string()),
        ("layer", pa.string()),
        ("objective", pa.string()),
        ("item_id", pa.string()),
        ("near_duplicate", pa.bool_()),
        ("score", pa.float64()),
        ("base_score", pa.float64()),
    ]
)
SCHEMAS = {"runs": RUNS, "steps": STEPS, "items": ITEMS}
# Columns of a unit's file that hold its rows of the other two tables.
_NESTED = {"steps": "step_rows", "items": "item_rows"}
_UNIT = pa.schema(
    [
        *RUNS,
        *(
            (column, pa.list_(pa.struct([f for f in SCHEMAS[name] if f.name != "unit_id"])))
            for name, column in _NESTED.items()
        ),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Scales:
    """What turns scores into utility.

    Attributes:
        scale: s_i in nats per token, by objective.
        weight: Lambda, by objective, up to a common factor.
        published: True once s_i come from the whole farm and stay as they are.
    """

    scale: Mapping[str, float]
    weight: Mapping[str, float]
    published: bool

    def utility(self, scores: Mapping[str, float], base: Mapping[str, float]) -> float:
        """U of the objectives that have a weight above 0."""
        names = [name for name in scores if self.weight[name] > 0]
        weights_D = np.array([self.weight[name] for name in names])
        return float(
            utility(
                np.array([scores[name] for name in names]),
                np.array([base[name] for name in names]),
                np.array([self.scale[name] for name in names]),
                weights_D / weights_D.sum(),
            )
        )


def run_row(unit: Unit, **columns: Any) -> Row:
    """The row of a unit in `runs`; columns that are not given are empty."""
    columns_of_unit = {name: value for name, value in unit.to_json().items() if name in RUNS.names}
    given = {**columns_of_unit, "unit_id": unit.unit_id}
    given["spec"] = json.dumps(unit.to_json(), sort_keys=True)
    return {**dict.fromkeys(RUNS.names), "error": "", **given, **columns}


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write_unit(paths: StudyPaths, row: Row, *, steps: Iterable[Row] = (), items: Iterable[Row] = ()) -> None:
    """Publishes the file of a unit."""
    table = pa.Table.from_pylist([{**row, "step_rows": list(steps), "item_rows": list(items)}], schema=_UNIT)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    publish_bytes(paths.unit(row["unit_id"]), buffer.getvalue())


def keep_attempt(paths: StudyPaths, unit: Unit) -> None:
    """Puts the file of an earlier attempt aside, where there is one."""
    path = paths.unit(unit.unit_id)
    if path.is_file():
        number = len(list(paths.units.glob(f"{unit.unit_id}.*.parquet"))) + 1
        path.rename(paths.unit(f"{unit.unit_id}.{number}"))


def read_units(paths: StudyPaths, columns: list[str] | None = None) -> list[Row]:
    """The units of the work folder, in order of start.

    Raises:
        InputError: If a file is damaged.
    """
    rows: list[Row] = []
    for path in sorted(paths.units.glob("*.parquet")):
        try:
            known = set(pq.read_schema(path).names)
            found = [name for name in columns or _UNIT.names if name in known]
            rows += pq.read_table(path, columns=found, partitioning=None).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is damaged ({error}); delete it, then run the unit again") from None
    return sorted(rows, key=lambda row: str(row.get("started_at")))


def read_runs(paths: StudyPaths) -> list[Row]:
    """Rows of `runs`, of results and work folder together, a row per attempt, in order of start."""
    return _merged_runs(_read_results(paths, "runs"), read_units(paths, columns=RUNS.names))


def finished_units(paths: StudyPaths) -> set[str]:
    """Ids of the units that are done, here or in the results."""
    return {row["unit_id"] for row in read_runs(paths) if row["status"] == "done"}


def read_tables(paths: StudyPaths) -> dict[str, list[Row]]:
    """All three tables, of results and work folder together; utilities as they were stored."""
    units = read_units(paths)
    own = {row["unit_id"] for row in units if row["status"] == "done"}
    tables: dict[str, list[Row]] = {}
    for name, column in _NESTED.items():
        tables[name] = [row for row in _read_results(paths, name) if row["unit_id"] not in own]
        for row in units:
            tables[name] += [{"unit_id": row["unit_id"], **part} for part in row.pop(column)]
    tables["runs"] = _merged_runs(_read_results(paths, "runs"), units)
    order = {row["unit_id"]: index for index, row in enumerate(tables["runs"])}
    for name in _NESTED:
        tables[name].sort(key=lambda row: order[row["unit_id"]])
    return tables


def _merged_runs(stored: Iterable[Row], own: Iterable[Row]) -> list[Row]:
    """Attempts of both, the own ones as they are now."""
    rows = {(row["unit_id"], row["started_at"]): row for row in (*stored, *own)}
    return sorted(rows.values(), key=lambda row: (row["started_at"], row["unit_id"]))


def compact(paths: StudyPaths, scales: Scales, *, objectives: tuple[str, ...]) -> dict[str, list[Row]]:
    """Writes the three tables of the results, with utilities, and returns them.

    Args:
        paths: Where units and results are.
        scales: s_i and lambda_i.
        objectives: Names of the D objectives of the feedback layer, in the order of `scores`.
    """
    tables = read_tables(paths)
    base = {row["unit_id"]: row["base_scores"] for row in tables["runs"] if row["status"] == "done"}
    for row in tables["steps"]:
        if not row["scores"]:  # a run that is scored at its end alone
            continue
        scores, before = (
            dict(zip(objectives, s, strict=True)) for s in (row["scores"], base[row["unit_id"]])
        )
        row["utility"] = scales.utility(scores, before)
    finals = final_utilities(tables["items"], scales)
    for row in tables["runs"]:
        for layer in LAYERS:
            done = row["status"] == "done"
            row[f"utility_{layer}"] = finals.get((row["unit_id"], layer)) if done else None
    for name, schema in SCHEMAS.items():
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(tables[name], schema=schema), buffer, compression="zstd")
        publish_bytes(paths.table(name), buffer.getvalue())
    return tables


def final_utilities(items: Iterable[Row], scales: Scales) -> dict[tuple[str, str], float]:
    """U of each unit on each layer, from item scores; an objective counts by its mean over items."""
    sums: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for row in items:
        by_objective = sums.setdefault((row["unit_id"], row["layer"]), {})
        by_objective.setdefault(row["objective"], []).append((row["score"], row["base_score"]))
    found = {}
    for key, by_objective in sums.items():
        means = {name: np.mean(pairs, axis=0) for name, pairs in by_objective.items()}
        scores, base = ({name: float(mean[i]) for name, mean in means.items()} for i in (0, 1))
        found[key] = scales.utility(scores, base)
    return found


def _read_results(paths: StudyPaths, name: str) -> list[Row]:
    """Rows of a table of the results, under the names that their units have today."""
    path: Path = paths.table(name)
    rows: list[Row] = pq.read_table(path, partitioning=None).to_pylist() if path.is_file() else []
    renamed = read_json(paths.recipes)["units"] if paths.recipes.is_file() else {}
    return [{**row, "unit_id": renamed.get(row["unit_id"], row["unit_id"])} for row in rows]
