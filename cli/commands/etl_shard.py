"""`dmix etl shard`, `verify` and `gc`; `dmix.cli.commands.etl` adds them to its group."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dmix.cli.commands.etl_screening import corpora_option
from dmix.cli.show.options import (
    config_option,
    data_url_option,
    dataset_option,
    dry_run_option,
    executor_options,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.output import say, show_json, show_table
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.etl.shard.settings import ShardSettings
from dmix.warehouse_schema.errors import VerificationError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.sizes import size_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dmix.etl.maintenance.problems import Problem

_WHOLE_PATH = 1000
"""Characters of a cell; whoever shall remove a file needs its path."""

_REMEDIES = {
    "orphan": "'dmix etl gc' removes orphans",
    "link": "replace each link by its files, or link the whole first-level folder",
    "catalog": "'dmix catalog rebuild' rebuilds the catalog",
    "labels": "remove the named files of labels and rejects and run 'dmix etl classify' again with the same"
    " inputs",
    "streams": "remove the manifest.json of the dataset and run 'dmix etl shard' again",
    "effects": "remove the named folder of effects and run 'dmix mix probe' again",
    "start_states": "remove the named start state and run 'dmix etl start-state' again",
    "runs": "restore the events.jsonl of the run from a copy, or train it again under another name",
}
_OTHER_REMEDY = "restore the named files from a copy that you trust"
"""By the kind of a problem, or else by the folder that it lies in."""


@click.command()
@config_option
@warehouse_option
@corpora_option
@settings_options(ShardSettings)
@click.option(
    "--environment",
    type=Path,
    multiple=True,
    metavar="FILE",
    help="Environment file whose evaluation items are kept out of the training text; see --contaminated."
    " Repeat the flag for several.",
)
@executor_options
@data_url_option
@json_option
@dry_run_option
@calls_workflow
def shard() -> Workflow:
    """Tokenise corpora and pack them into one stream of samples per (field, domain).

    The same corpora and settings give the same dataset: a second run changes nothing, and a killed run
    resumes. --drop-duplicates keeps only the first copy of each text. --environment leaves out documents
    that contain one of its evaluation items.

    Example: dmix etl shard --seq-len 512 --name small
    """
    from dmix.cli.workflows.data.shard import shard_corpora

    return shard_corpora


@click.command()
@config_option
@warehouse_option
@dataset_option
@json_option
def verify(*, warehouse: Warehouse, dataset: str | None, as_json: bool, config: str | None) -> None:
    """Compare every file with the manifests; exit code 4 if something differs.

    With --dataset, the command checks only that dataset and its corpora.

    Example: dmix etl verify
    """
    from dmix.etl.maintenance.verify import verify_warehouse

    report = verify_warehouse(warehouse.require(), dataset=dataset, progress=say)
    if as_json:
        show_json(asdict(report))
    elif report.problems:
        rows = [(p.kind, p.path, p.detail) for p in report.problems]
        show_table(["problem", "path", "detail"], rows, longest_cell=_WHOLE_PATH)
    if report.problems:
        count = len(report.problems)
        raise VerificationError(
            f"{count} problem{'s' * (count > 1)} in {report.files:,} files:"
            f" {_remedies(warehouse, report.problems)}"
        )
    say(f"{report.files:,} files, {size_text(report.size_bytes)}: all agree with their manifests")


def _remedies(warehouse: Warehouse, problems: "Sequence[Problem]") -> str:
    """What to do about these problems, in words, each remedy once."""

    def remedy(problem: "Problem") -> str:
        folder = problem.path.removeprefix(f"{warehouse.data}/").partition("/")[0]
        folder = "labels" if folder == "rejects" else folder
        return _REMEDIES.get(problem.kind) or _REMEDIES.get(folder, _OTHER_REMEDY)

    return "; ".join(dict.fromkeys(map(remedy, problems)))


@click.command()
@config_option
@warehouse_option
@json_option
@dry_run_option
def gc(*, warehouse: Warehouse, as_json: bool, dry_run: bool, config: str | None) -> None:
    """Remove files that no manifest names, such as the remains of killed jobs.

    First run every killed job that should resume; otherwise it starts from its beginning. The command
    leaves running jobs alone.

    Example: dmix etl gc --dry-run
    """
    from dmix.etl.maintenance.gc import collect_garbage

    report = collect_garbage(warehouse.require(), dry_run=dry_run)
    for what in report.in_use:
        say(f"left {what} alone, because a job uses it; run this again when the job has finished")
    if as_json:
        found = [{"path": str(garbage.path), "size_bytes": garbage.size_bytes} for garbage in report.found]
        total = {"size_bytes": report.size_bytes, "removed": not dry_run}
        show_json({"found": found, "in_use": report.in_use, **total})
    else:
        rows = [(warehouse.relative(g.path), g.size_bytes) for g in report.found]
        if rows:
            show_table(["path", "bytes"], rows)
        verb = "would be removed" if dry_run else "removed"
        say(f"{len(report.found)} files and folders, {size_text(report.size_bytes)}, {verb}")
