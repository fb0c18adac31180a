"""Sets of trajectories on disk: `trajectories/<set>/`, one Parquet file a finished trajectory.

`set.json` is written first and never changed; a trajectory is finished when its file is there.
Columns: trajectory_id, kind, top_k (NULL unless inductive), step (0 is rho_s), weights
(list of N doubles in the order of the set's space).
"""

import dataclasses
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.plain_values import mixtures_of
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes, publish_json, read_json
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.names import refuse_links
from dmix.warehouse_schema.files.weights import readable
from dmix.warehouse_schema.sizes import num_text

FORMAT = 1
KINDS = ("inductive", "segments", "static")

_SCHEMA = pa.schema(
    [
        ("trajectory_id", pa.string()),
        ("kind", pa.string()),
        ("top_k", pa.int32()),
        ("step", pa.int32()),
        ("weights", pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True, kw_only=True)
class TrajectorySet:
    """What `set.json` says: what the trajectories of a set were made from.

    Attributes:
        set_name: Name in the warehouse.
        dataset: Id of the dataset whose space and shares were used.
        preset: `paper` or `default`.
        settings: The resolved settings of the sampling.
        space: (field, domain) of every index of a mixture.
        samples: Samples of each pair, in the same order.
        step_samples: R of the farm.
        run_step_samples: R of the guided run that the set is for.
        steps: M.
        created_at: ISO 8601, UTC.
    """

    set_name: str
    dataset: str
    preset: str
    settings: Mapping[str, Any]
    space: tuple[tuple[str, str], ...]
    samples: tuple[int, ...]
    step_samples: int
    run_step_samples: int
    steps: int
    created_at: str = ""

    @property
    def domain_space(self) -> DomainSpace:
        """The space that mixtures of this set live in."""
        labels = tuple(domain for field, domain in self.space if field == "source")
        return DomainSpace(labels, np.asarray(self.samples, dtype=np.int64))

    @property
    def target_supply(self) -> float:
        """|T| / (R * M) of the guided run: how much of it the target field could fill."""
        return self._target_samples / (self.run_step_samples * self.steps)

    @property
    def target_steps(self) -> float:
        """|T| / R: steps of target data alone after which a path stops; infinite where data repeats."""
        return self._target_samples / self.run_step_samples if self.max_passes == 1 else math.inf

    @property
    def max_passes(self) -> int:
        """Passes through each domain that the guided run may make."""
        return int(self.settings.get("max_passes", 1))

    @property
    def _target_samples(self) -> float:
        space = self.domain_space
        return float(space.samples_N[space.target_N].sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """The mixtures of one path.

    Attributes:
        trajectory_id: Unique in its set, for example `inductive-100-0007`.
        kind: `inductive` (Algorithm 1), `segments` or `static`.
        top_k: K of Algorithm 1; None for other kinds.
        mixtures_TN: Shape (T, N), T <= M + 1; row 0 is rho_s.
    """

    trajectory_id: str
    kind: str
    top_k: int | None
    mixtures_TN: NDArray[np.float64]


def trajectory_id(kind: str, number: int, *, top_k: int | None = None) -> str:
    """Name of a trajectory and of its file; sorts by number within its kind."""
    return f"{kind}-{number:04d}" if top_k is None else f"{kind}-{top_k}-{number:04d}"


def trajectory_file(folder: Path, name: str) -> Path:
    """Path of the trajectory `name` in the folder of its set."""
    return folder / f"{name}.parquet"


def publish_set(warehouse: Warehouse, wanted: TrajectorySet) -> TrajectorySet:
    """Writes `set.json`, or checks that the one there says the same; returns what is on disk.

    Raises:
        InputError: If a set of this name was made from something else.
    """
    path = warehouse.trajectories(wanted.set_name) / "set.json"
    if path.is_file():
        return _same_set(warehouse, wanted)
    with held_lock(warehouse.lock_of("set", wanted.set_name), what=f"set {wanted.set_name}"):
        if path.is_file():  # another process was faster
            return _same_set(warehouse, wanted)
        stamped = dataclasses.replace(wanted, created_at=datetime.now(UTC).isoformat(timespec="seconds"))
        publish_json(path, {"format": FORMAT, **dataclasses.asdict(stamped)})
        return stamped


def _same_set(warehouse: Warehouse, wanted: TrajectorySet) -> TrajectorySet:
    """The set of that name on disk, if it says the same."""
    found = read_set(warehouse, wanted.set_name)
    differing = _differences(found, wanted)
    if differing:
        raise InputError(
            f"set {wanted.set_name!r} already exists with other settings: {'; '.join(differing)};"
            " choose another --set, or give the settings of this set"
        )
    return found


def read_set(warehouse: Warehouse, set_name: str) -> TrajectorySet:
    """What a set was made from.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If `set.json` is damaged or from a newer dmix, or the folder holds links.
    """
    path = warehouse.trajectories(set_name) / "set.json"
    if not path.is_file():
        known = ", ".join(sets(warehouse)) or "none yet"
        raise NotFoundError(
            f"set {set_name!r} is not in {warehouse.root} (available: {known}); run 'dmix mix sample'"
        )
    refuse_links(path.parent)
    value = dict(read_json(path))
    found = value.pop("format", None)
    if found != FORMAT:
        raise InputError(f"{path} has format {found!r}, but this dmix reads {FORMAT}; update dmix")
    try:
        value["space"] = tuple((field, domain) for field, domain in value["space"])
        value["samples"] = tuple(value["samples"])
        read = TrajectorySet(**value)
        _ = read.domain_space
        for number in (read.step_samples, read.run_step_samples, read.steps):
            if not isinstance(number, int):
                raise TypeError(f"{number!r} is not a whole number")
        return read
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error!r}); run 'dmix mix sample' again") from None


def read_fitting_set(warehouse: Warehouse, set_name: str, *, space: DomainSpace) -> TrajectorySet:
    """What a set was made from, if it has the (field, domain) pairs of a run.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If it has other pairs, or `set.json` is damaged.
    """
    found = read_set(warehouse, set_name)
    if found.space != space.names:
        raise InputError(
            f"set {set_name!r} has other domains than the dataset of the run; choose a set with the same "
            "taxonomy"
        )
    return found


def sets(warehouse: Warehouse) -> list[str]:
    """Names of all sets, sorted."""
    return warehouse.names("trajectories", "set.json")


def write_trajectory(folder: Path, trajectory: Trajectory) -> Path:
    """Publishes one finished trajectory; equal trajectories give equal bytes."""
    rows = len(trajectory.mixtures_TN)
    table = pa.table(
        {
            "trajectory_id": [trajectory.trajectory_id] * rows,
            "kind": [trajectory.kind] * rows,
            "top_k": pa.array([trajectory.top_k] * rows, pa.int32()),
            "step": pa.array(range(rows), pa.int32()),
            "weights": list(trajectory.mixtures_TN),
        },
        schema=_SCHEMA,
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    path = trajectory_file(folder, trajectory.trajectory_id)
    publish_bytes(path, buffer.getvalue())
    return path


def read_trajectory(path: Path) -> Trajectory:
    """The trajectory of one file.

    Raises:
        NotFoundError: If the file does not exist.
        InputError: If it is damaged.
    """
    if not path.is_file():
        raise NotFoundError(f"trajectory file {path} does not exist; run 'dmix mix sample' again")
    with readable(path, what="a trajectory", fix="delete it and run 'dmix mix sample' again"):
        table = pq.read_table(path, schema=_SCHEMA, partitioning=None).sort_by("step")
        first = table.slice(0, 1).to_pylist()[0]
        KINDS.index(first["kind"])
        return Trajectory(
            trajectory_id=first["trajectory_id"],
            kind=first["kind"],
            top_k=first["top_k"],
            mixtures_TN=mixtures_of(np.stack(table["weights"].to_numpy()), domains=None, what="weights"),
        )


def read_trajectories(warehouse: Warehouse, set_name: str) -> list[Trajectory]:
    """The finished trajectories of a set, by kind, K and number.

    Raises:
        NotFoundError: If there is no such set, or none of its trajectories is finished.
        InputError: If a file is damaged.
    """
    domains = len(read_set(warehouse, set_name).domain_space)
    found = []
    for path in warehouse.trajectories(set_name).glob("*.parquet"):
        found.append(read_trajectory(path))
        if found[-1].mixtures_TN.shape[1] != domains or found[-1].trajectory_id != path.stem:
            raise InputError(
                f"{path} is no trajectory of this name in the {num_text(domains, 'domain')} of set "
                f"{set_name!r}; delete it and run 'dmix mix sample' again"
            )
    if not found:
        raise NotFoundError(
            f"set {set_name!r} has no finished trajectories; run 'dmix mix sample' to resume it"
        )
    return sorted(found, key=lambda t: (KINDS.index(t.kind), t.top_k or 0, t.trajectory_id))


def _differences(found: TrajectorySet, wanted: TrajectorySet) -> list[str]:
    """What differs, in words; the time of creation does not count."""
    names = [f.name for f in dataclasses.fields(TrajectorySet) if f.name not in ("created_at", "settings")]
    pairs = [(name, getattr(found, name), getattr(wanted, name)) for name in names]
    for name in sorted({*found.settings, *wanted.settings}):
        pairs.append((name, found.settings.get(name), wanted.settings.get(name)))
    return [
        f"{name} is {old} in the set, and {new} in this command"
        if len(f"{old}{new}") < 100
        else f"{name} differs"
        for name, old, new in pairs
        if old != new
    ]
