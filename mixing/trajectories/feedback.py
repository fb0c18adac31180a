"""Feedback on disk: `feedback/<set>/`, one Parquet file a trajectory whose proxy has finished.

Columns: trajectory_id, step (0 is the model before any training), objective, score in nats a
token (Eq. 1; NaN where it could not be computed), variation (how the proxy departed from the
default one; empty if it did not), weights (the planned mixture that the step trained on, which is not the
trajectory's where domains ran out or were withheld; NULL if it was not recorded).
Shapes: T = trajectory entries, D objectives, N (field, domain) pairs.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dmix.mixing.space.domains import Vector
from dmix.mixing.space.plain_values import mixtures_of
from dmix.mixing.trajectories.store import Trajectory, read_trajectories
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes
from dmix.warehouse_schema.files.names import refuse_links
from dmix.warehouse_schema.files.weights import readable
from dmix.warehouse_schema.sizes import num_text

_SCHEMA = pa.schema(
    [
        ("trajectory_id", pa.string()),
        ("step", pa.int32()),
        ("objective", pa.string()),
        ("score", pa.float64()),
        ("variation", pa.string()),
        ("weights", pa.list_(pa.float64())),
    ]
)


def feedback_file(warehouse: Warehouse, set_name: str, trajectory_id: str) -> Path:
    """Path of the feedback on one trajectory, once its proxy has finished."""
    return warehouse.feedback(set_name) / f"{trajectory_id}.parquet"


def write_feedback(
    warehouse: Warehouse,
    *,
    set_name: str,
    trajectory_id: str,
    objectives: Sequence[str],
    scores_TD: NDArray[np.float64],
    variation: str = "",
    planned_TN: NDArray[np.float64] | None = None,
) -> Path:
    """Publishes the scores along one trajectory.

    Args:
        warehouse: Where to.
        set_name: The set of the trajectory.
        trajectory_id: The trajectory.
        objectives: Names of the D objectives, in the order of the environment.
        scores_TD: Shape (T, D); row 0 belongs to the model before any step.
        variation: How the proxy departed from the default one.
        planned_TN: Mixtures that it was trained on, row 0 its start state; None if they were the
            trajectory's.

    Raises:
        InputError: If the shape does not fit the objectives.
    """
    if scores_TD.ndim != 2 or scores_TD.shape[1] != len(objectives):
        raise InputError(f"scores have shape {scores_TD.shape}, expected (steps + 1, {len(objectives)})")
    steps, count = scores_TD.shape
    table = pa.table(
        {
            "trajectory_id": [trajectory_id] * (steps * count),
            "step": pa.array(np.repeat(np.arange(steps), count), pa.int32()),
            "objective": list(objectives) * steps,
            "score": np.asarray(scores_TD, np.float64).ravel(),
            "variation": [variation] * (steps * count),
            "weights": [None] * (steps * count)
            if planned_TN is None
            else list(np.repeat(planned_TN, count, axis=0)),
        },
        schema=_SCHEMA,
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    path = feedback_file(warehouse, set_name, trajectory_id)
    publish_bytes(path, buffer.getvalue())
    return path


@dataclass(frozen=True, kw_only=True, eq=False)
class Feedback:
    """All feedback on a set, by trajectory.

    Attributes:
        objectives: Names of the D objectives, in the order of the set's environment.
        scores: Raw scores, shape (T, D) each.
        variations: How the proxy departed from the default one; empty if it did not.
        planned: Mixtures that the proxy was trained on, shape (T, N); None if they were not recorded.
    """

    objectives: tuple[str, ...]
    scores: Mapping[str, NDArray[np.float64]]
    variations: Mapping[str, str]
    planned: Mapping[str, NDArray[np.float64] | None]


def load_feedback(warehouse: Warehouse, set_name: str) -> Feedback:
    """The feedback on a set, each file read once; empty if there is none.

    Raises:
        InputError: If a file is damaged or a link, or names other objectives than the first one.
    """
    refuse_links(warehouse.feedback(set_name))
    names: tuple[str, ...] = ()
    scores, variations = dict[str, NDArray[np.float64]](), dict[str, str]()
    planned = dict[str, NDArray[np.float64] | None]()
    for path in sorted(warehouse.feedback(set_name).glob("*.parquet")):
        table = _table(path)
        found = _objectives(table)
        names = names or found
        if found != names:
            raise InputError(
                f"{path} has scores on {', '.join(found)}, but the first file of the set has "
                f"{', '.join(names)}; run 'dmix mix collect' again with one environment file"
            )
        with readable(path, what="scores", fix="delete it and run 'dmix mix collect' again"):
            order = np.argsort(table["step"].to_numpy(), kind="stable")
            scores[path.stem] = table["score"].to_numpy()[order].reshape(-1, len(names))
            variations[path.stem] = next(iter(table["variation"].to_pylist()), None) or ""
            planned[path.stem] = _planned(table)
    return Feedback(objectives=names, scores=scores, variations=variations, planned=planned)


def read_feedback(warehouse: Warehouse, set_name: str) -> Mapping[str, NDArray[np.float64]]:
    """The scores of `load_feedback`."""
    return load_feedback(warehouse, set_name).scores


def read_trained(warehouse: Warehouse, set_name: str, feedback: Feedback) -> list[Trajectory]:
    """The trajectories of a set with the mixtures that their proxies were trained on.

    They are the planned ones: what is left of the asked ones when domains ran out or were withheld.
    Trajectories without feedback come as they were sampled.

    Raises:
        NotFoundError: If there is no such set, or none of its trajectories is finished.
        InputError: If a file is damaged.
    """
    found = []
    for trajectory in read_trajectories(warehouse, set_name):
        planned_TN = feedback.planned.get(trajectory.trajectory_id)
        if planned_TN is not None and planned_TN.shape[1] != trajectory.mixtures_TN.shape[1]:
            path = feedback_file(warehouse, set_name, trajectory.trajectory_id)
            raise InputError(
                f"{path} has mixtures of {num_text(planned_TN.shape[1], 'domain')}, but the set has "
                f"{trajectory.mixtures_TN.shape[1]}; delete it and run 'dmix mix collect' again"
            )
        if planned_TN is not None and len(planned_TN) == len(trajectory.mixtures_TN):
            trajectory = replace(trajectory, mixtures_TN=planned_TN)
        found.append(trajectory)
    return found


def farm_scales(scores: Iterable[NDArray[np.float64]], *, objectives: Sequence[str]) -> Vector:
    """s_i: standard deviation of each objective's scores over all steps of all trajectories.

    Args:
        scores: One array of shape (T, D) a trajectory; NaN entries are left out.
        objectives: Names, for messages.

    Returns:
        Nats a token, shape (D,), all above 0.

    Raises:
        InputError: If an objective has no two different scores.
    """
    rows = list(scores)
    stacked_RD = np.concatenate(rows) if rows else np.empty((0, len(objectives)))
    scales_D = np.zeros(len(objectives))
    for index, name in enumerate(objectives):
        finite = stacked_RD[np.isfinite(stacked_RD[:, index]), index]
        scales_D[index] = finite.std() if len(finite) else 0.0
        if scales_D[index] == 0:
            raise InputError(
                f"objective {name!r} has {num_text(len(finite), 'score')} in the farm, and all are equal; "
                f"add more trajectories, or give a scale for {name!r} in the environment file"
            )
    return scales_D


def _table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, schema=_SCHEMA, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); delete it and run 'dmix mix collect' again") from None


def _planned(table: pa.Table) -> NDArray[np.float64] | None:
    """Mixtures by step, shape (T, N); None if the file has none."""
    names = _objectives(table)
    rows = table.filter(pc.equal(table["objective"], names[0])).sort_by("step") if names else table
    weights = rows["weights"].to_pylist()
    if not weights or weights[0] is None:
        return None
    return mixtures_of(weights, domains=None, what="weights")


def _objectives(table: pa.Table) -> tuple[str, ...]:
    return tuple(table["objective"].unique().to_pylist())
