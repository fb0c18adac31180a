"""What effects promise of each mixture: two tables beside the results of a setting.

    effects.parquet    each effect by base model, estimator, domain and objective, with its price
    promises.parquet   the promised gain over natural mixing of every mixture that is run

Both are enough to judge the estimators again without a model. Probes are not in them: their promises
follow from their runs. Shapes: N domains, D objectives.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dmix.mixing.effects.effects import Effects
from dmix.mixing.space.domains import Vector
from dmix.warehouse_schema.files.layout import publish_bytes

Row = dict[str, Any]

EFFECTS, PROMISES = "effects.parquet", "promises.parquet"
_KEY = [("inputs", pa.string()), ("base", pa.int64()), ("estimator", pa.string())]
_SCHEMAS = {
    EFFECTS: pa.schema(
        [
            *_KEY,
            ("field", pa.string()),
            ("domain", pa.string()),
            ("objective", pa.string()),
            ("effect", pa.float64()),
            ("stderr", pa.float64()),
            ("run_equivalents", pa.float64()),
            ("processor_seconds", pa.float64()),
        ]
    ),
    PROMISES: pa.schema(
        [*_KEY, ("spec", pa.string()), ("objective", pa.string()), ("promised", pa.float64())]
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
    """What one estimator found on one base model.

    Attributes:
        inputs: Hash of the recipe of the setting.
        base: Number of the base model.
        estimator: Name in tables.
        effects: The effects.
        gains: Promised gain over natural mixing of a mixture, nats per token, shape (D,).
        run_equivalents: Its price, in runs.
        processor_seconds: The same as measured.
    """

    inputs: str
    base: int
    estimator: str
    effects: Effects
    gains: Callable[[Vector], Vector]
    run_equivalents: float
    processor_seconds: float


def store_measurement(results: Path, found: Measurement, mixtures: Mapping[str, Vector]) -> None:
    """Adds a measurement to both tables, in place of an older one of the same base and estimator.

    Args:
        results: Folder of the setting's results.
        found: The measurement.
        mixtures: Mixtures that are promised for, by the spec of their units.
    """
    key = {"inputs": found.inputs, "base": found.base, "estimator": found.estimator}
    effects = found.effects
    price = {"run_equivalents": found.run_equivalents, "processor_seconds": found.processor_seconds}
    rows: dict[str, list[Row]] = {
        EFFECTS: [
            {
                **key,
                "field": field,
                "domain": domain,
                "objective": objective,
                "effect": float(effects.effect_ND[n, o]),
                "stderr": float(effects.stderr_ND[n, o]),
                **price,
            }
            for n, (field, domain) in enumerate(effects.names)
            for o, objective in enumerate(effects.objectives)
            if effects.natural_N[n] > 0
        ],
        PROMISES: [
            {**key, "spec": spec, "objective": objective, "promised": float(gain)}
            for spec, mixture_N in mixtures.items()
            for objective, gain in zip(effects.objectives, found.gains(mixture_N), strict=True)
        ],
    }
    for name, new in rows.items():
        kept = [row for row in read_table(results, name) if not _same(row, key)]
        table = pa.Table.from_pylist(sorted([*kept, *new], key=_order), schema=_SCHEMAS[name])
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        publish_bytes(results / name, buffer.getvalue())


def read_table(results: Path, name: str) -> list[Row]:
    """Rows of one of the tables; none if nothing is measured yet."""
    path = results / name
    rows: list[Row] = pq.read_table(path, partitioning=None).to_pylist() if path.is_file() else []
    return rows


def missing_specs(rows: Sequence[Row], *, inputs: str, base: int, estimator: str, specs: set[str]) -> bool:
    """Whether an estimator has no promise for some of these mixtures."""
    key = {"inputs": inputs, "base": base, "estimator": estimator}
    return not specs <= {row["spec"] for row in rows if _same(row, key, inputs=True)}


def _same(row: Row, key: Row, *, inputs: bool = False) -> bool:
    names = [name for name in key if inputs or name != "inputs"]
    return all(row[name] == key[name] for name in names)


def _order(row: Row) -> tuple[Any, ...]:
    return row["base"], row["estimator"]
