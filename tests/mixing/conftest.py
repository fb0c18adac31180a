"""Small MDS streams, written by MDSWriter, whose tokens tell which sample they belong to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tests.manifests import dataset_manifest, mds_writer, trajectory_set, written_files
from tests.mixing.testbed.simulated import random_schedules, simulated_context, simulated_trajectories
from tests.mixing.testbed.simulator import Simulator

from dmix.mixing.delivery.dataset import MixedDataset
from dmix.mixing.trajectories.feedback import write_feedback
from dmix.mixing.trajectories.store import publish_set, write_trajectory
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest, TokenizerFile
from dmix.warehouse_schema.taxonomy import FIELDS, Taxonomy

SEQ_LEN = 8


@dataclass(frozen=True)
class StoredStreams:
    """A dataset on disk.

    Attributes:
        rows: Tokens of all samples by global id, shape (samples, SEQ_LEN).
    """

    manifest: DatasetManifest
    folder: Path
    rows: np.ndarray


WriteStreams = Callable[..., StoredStreams]
WriteFarm = Callable[..., Warehouse]


def write_stored(
    folder: Path, sizes: list[int], *, shard_bytes: int = 600, column: str = f"ndarray:uint16:{SEQ_LEN}"
) -> StoredStreams:
    """Writes one stream a size (source domains first); a size of 0 makes an empty domain."""
    taxonomy = Taxonomy("letters", tuple("ABCDEFGHIJ"[: len(sizes) // 2]))
    rows = np.random.default_rng(1).integers(0, 60_000, (sum(sizes), SEQ_LEN)).astype(np.uint16)
    rows[:, 0] = np.arange(len(rows))
    ends = np.cumsum([0, *sizes])
    for (field, label), start, end in zip(product(FIELDS, taxonomy.labels), ends, ends[1:], strict=False):
        _write_stream(folder / field / label, rows[start:end], shard_bytes, column)
    manifest = dataset_manifest(
        sizes,
        taxonomy=taxonomy,
        seq_len=SEQ_LEN,
        files=[written_files(folder / field / label) for field, label in product(FIELDS, taxonomy.labels)],
        dataset="letters",
        tokenizer=TokenizerFile(name="none", sha256="", vocab_size=60_000, eot_id=0),
    )
    return StoredStreams(manifest, folder, rows.astype(np.int64))


def _write_stream(folder: Path, rows: np.ndarray, shard_bytes: int, column: str) -> None:
    if not len(rows):
        return
    with mds_writer(folder, columns={"tokens": column}, size_limit=shard_bytes) as writer:
        for row in rows:
            writer.write({"tokens": row})


@pytest.fixture(scope="session")
def write_streams() -> WriteStreams:
    """Writes streams where a test wants them."""
    return write_stored


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredStreams:
    """Six domains, one of them empty, with one to several shards each."""
    return write_stored(tmp_path_factory.mktemp("streams"), [130, 0, 50, 90, 7, 64])


@pytest.fixture(scope="session")
def two_domains(tmp_path_factory: pytest.TempPathFactory) -> StoredStreams:
    """Twenty samples of the source and thirty of the target; copy it before breaking it."""
    return write_stored(tmp_path_factory.mktemp("two"), [20, 30])


@pytest.fixture(scope="session")
def dataset(stored: StoredStreams) -> Iterator[MixedDataset]:
    """`stored`, opened."""
    with MixedDataset(stored.manifest, stored.folder) as opened:
        yield opened


@pytest.fixture
def simulated_farm(tmp_path: Path) -> WriteFarm:
    """Makes a warehouse whose set `farm` holds random schedules with the feedback of a simulator."""

    def make(simulator: Simulator, *, number: int = 24) -> Warehouse:
        warehouse = Warehouse.at(tmp_path / "simulated")
        space = simulated_context(simulator).space
        publish_set(
            warehouse,
            trajectory_set(
                space.names,
                space.samples_N,
                steps=simulator.steps,
                set_name="farm",
                dataset="none",
                step_samples=1000,
            ),
        )
        schedules = random_schedules(simulator, number=number, seed=0)
        scores = simulator.feedback(schedules, np.random.default_rng(0))
        for trajectory, scores_TD in zip(simulated_trajectories(simulator, schedules), scores, strict=True):
            write_trajectory(warehouse.trajectories("farm"), trajectory)
            write_feedback(
                warehouse,
                set_name="farm",
                trajectory_id=trajectory.trajectory_id,
                objectives=("general", "target"),
                scores_TD=scores_TD,
            )
        return warehouse

    return make
