"""Are the bytes and counts of a warehouse what its manifests say?

Everything is read again: label and reject files, and what models wrote for start states, against
hashes and row counts, shards against hashes, MDS headers against indexes, indexes and counts
against the dataset's manifest, weights of models against their checksums, and the catalog against
all manifests.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dmix.etl.maintenance.datasets import dataset_problems, origin_problems
from dmix.etl.maintenance.expected_files import (
    ExpectedFile,
    checked_versions,
    corpus_files,
    dataset_files,
    effects_files,
    file_problems,
    readable_manifests,
    start_state_files,
)
from dmix.etl.maintenance.folders import (
    catalog_problems,
    edited_manifests,
    ghost_problems,
    half_written,
    link_problems,
    model_problems,
    run_problems,
)
from dmix.etl.maintenance.gc import unnamed_parts
from dmix.etl.maintenance.problems import Problem, orphan_at
from dmix.warehouse_schema.files.changes import accepted_changes
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.names import top_links
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text, size_text


@dataclass(frozen=True, kw_only=True)
class VerificationReport:
    """What was read, and every problem that was met."""

    files: int
    size_bytes: int
    problems: tuple[Problem, ...]


def verify_warehouse(
    warehouse: Warehouse, *, dataset: str | None, progress: Progress, threads: int = 2
) -> VerificationReport:
    """Checks every corpus, dataset, start state and set of effects, or one dataset and its corpora.

    Args:
        dataset: Id or name; `None` checks all.
        threads: Files that are hashed at once.

    Raises:
        NotFoundError: If there is no such dataset.
    """
    problems: list[Problem] = []
    manifests = readable_manifests(warehouse, dataset, problems)
    versions = checked_versions(warehouse, None if dataset is None else manifests, problems)
    files: list[ExpectedFile] = []
    for version in versions:
        files += corpus_files(warehouse, version)
        problems += [orphan_at(warehouse, path) for path in unnamed_parts(warehouse, version)]
    if dataset is None:
        files += start_state_files(warehouse, problems)
        files += effects_files(warehouse, problems)
    for manifest in manifests:
        files += dataset_files(warehouse, manifest)
        problems += dataset_problems(warehouse, manifest)
    files = list({file.path: file for file in files}.values())
    size_bytes = sum(file.size_bytes for file in files)
    progress(f"reading {num_text(len(files), 'file')}, {size_text(size_bytes)}")
    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(lambda file: list(file_problems(warehouse, file)), files):
            problems += found
    for manifest in manifests:
        problems += origin_problems(warehouse, manifest)
    problems += edited_manifests(warehouse, versions, manifests, whole=dataset is None)
    if dataset is None:
        problems += run_problems(warehouse)
        problems += model_problems(warehouse)
        problems += link_problems(warehouse)
        problems += ghost_problems(warehouse)
        problems += half_written(warehouse)
        for link, target in top_links(warehouse.root):
            progress(f"{link} is a link to {target}")
        for place, change in accepted_changes(warehouse):
            progress(f"{place}: {change.digests}; the user accepted this change at {change.time[:19]}")
    problems += catalog_problems(warehouse, versions, manifests, whole=dataset is None)
    unique = tuple(dict.fromkeys(problems))
    return VerificationReport(files=len(files), size_bytes=size_bytes, problems=unique)
