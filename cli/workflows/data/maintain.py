"""A warehouse that is checked and tidied: `dmix etl verify` and `gc`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from dmix.cli.show.result import Result
from dmix.warehouse_schema.errors import VerificationError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text, size_text

if TYPE_CHECKING:
    from dmix.etl.maintenance.problems import Problem

# Characters of a cell: whoever shall remove a file needs its path.
_WHOLE_PATH = 1000
# By the kind of a problem, or else by the folder that it lies in.
_REMEDIES = {
    "orphan": "run 'dmix etl gc' to remove files without a manifest",
    "link": "replace each link with its files, or link the whole first-level folder",
    "catalog": "run 'dmix catalog rebuild' to make the catalog again",
    "labels": "remove these files of labels and rejects, then run 'dmix etl classify' again with the "
    "same inputs",
    "streams": "remove the manifest.json of the dataset, then run 'dmix etl shard' again",
    "effects": "remove this folder of effects, then run 'dmix mix probe' again",
    "start_states": "remove this start state, then run 'dmix etl start-state' again",
    "runs": "restore the events.jsonl of the run from a copy, or train it again under another name",
}
_OTHER_REMEDY = "restore these files from a copy that you trust"


def verify_files(warehouse: Warehouse, *, dataset: str | None = None, progress: Progress) -> Result:
    """Compares every file with the manifests; the result's value is the report.

    Where files differ, the result's `error` says what to do about it.

    Args:
        warehouse: What to check.
        dataset: Id or name of the only dataset to check, with its corpora; all when left out.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If there is no such dataset.
    """
    from dmix.etl.maintenance.verify import verify_warehouse

    report = verify_warehouse(warehouse.require(), dataset=dataset, progress=progress)
    count, error = len(report.problems), None
    if count:
        error = VerificationError(
            f"{num_text(count, 'problem')} in {num_text(report.files, 'file')}:"
            f" {_remedies(warehouse, report.problems)}"
        )
    result = Result(asdict(report), report, error=error)
    if count:
        rows = [(p.kind, p.path, p.detail) for p in report.problems]
        result.table(["problem", "path", "detail"], rows, longest_cell=_WHOLE_PATH)
    else:
        result.line(
            f"{num_text(report.files, 'file')}, {size_text(report.size_bytes)}: all agree with "
            "their manifests"
        )
    return result


def _remedies(warehouse: Warehouse, problems: "Sequence[Problem]") -> str:
    """What to do about these problems, in words, each remedy once."""

    def remedy(problem: "Problem") -> str:
        folder = problem.path.removeprefix(f"{warehouse.data}/").partition("/")[0]
        folder = "labels" if folder == "rejects" else folder
        return _REMEDIES.get(problem.kind) or _REMEDIES.get(folder, _OTHER_REMEDY)

    return "; ".join(dict.fromkeys(map(remedy, problems)))


def remove_unnamed(warehouse: Warehouse, *, dry_run: bool = False, progress: Progress) -> Result:
    """Removes files that no manifest names; the result's value is the report.

    Args:
        warehouse: What to tidy.
        dry_run: Look, and remove nothing.
        progress: Receives lines for people.

    Raises:
        InputError: If a manifest cannot be read, or a folder holds links.
        StorageError: If the folder cannot be written, or a remote store cannot be reached.
    """
    from dmix.etl.maintenance.gc import collect_garbage

    report = collect_garbage(warehouse.require(), dry_run=dry_run)
    for what in report.in_use:
        progress(
            f"dmix did not touch {what}, because a job uses it; run the command again when the job "
            "has finished"
        )
    found = [{"path": str(garbage.path), "size_bytes": garbage.size_bytes} for garbage in report.found]
    total = {"size_bytes": report.size_bytes, "removed": not dry_run}
    result = Result({"found": found, "in_use": report.in_use, **total}, report)
    if report.found:
        result.table(["path", "bytes"], [(warehouse.relative(g.path), g.size_bytes) for g in report.found])
    verb = "would be removed" if dry_run else "removed"
    what = "file or folder" if len(report.found) == 1 else "files or folders"
    result.line(f"{len(report.found):,} {what}, {size_text(report.size_bytes)}, {verb}")
    return result
