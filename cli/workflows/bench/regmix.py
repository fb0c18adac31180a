"""Regressors on the published runs of RegMix: `dmix bench regmix`."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dmix import __version__
from dmix.cli.show.result import Result
from dmix.mixing.regression.regressors import REGRESSORS
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.progress import Progress


def judge_regressors(
    *,
    data: Path,
    regressors: Sequence[str] = (),
    out: Path | None = None,
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Judges regressors on the published runs of RegMix, from mixtures to losses of larger models.

    Args:
        data: Folder with the tables of training runs and test runs.
        regressors: Regressors to judge; all when left out.
        out: File for the figures, or a folder, which gets `regmix-<machine>-<date>.json`.
        dry_run: Read the tables, and fit nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If the folder or one of its tables does not exist.
        InputError: If a table is damaged, or there is no such regressor.
    """
    from dmix.mixing.regression.judge import judge
    from dmix.mixing.regression.tables import load_tables
    from dmix.warehouse_schema.files.layout import publish_json

    train, tests = load_tables(data)
    chosen = list(dict.fromkeys(regressors or REGRESSORS))
    if unknown := set(chosen) - set(REGRESSORS):
        raise InputError(f"regressor is {min(unknown)!r}, expected one of {', '.join(REGRESSORS)}")
    report: dict[str, Any] = {
        "data": str(data),
        "domains": len(train.domains),
        "losses": len(train.losses),
        "runs": {"train": len(train.values_RV), **{test.size: len(test.values_RV) for test in tests}},
    }
    if dry_run:
        report["regressors"] = chosen
        result = Result(report)
        result.table(["", "value"], [(name, str(value)) for name, value in report.items()])
        return result
    report["regressors"] = {name: judge(name, train=train, tests=tests, progress=progress) for name in chosen}
    if out is not None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        machine = f"{platform.machine()}-{os.cpu_count()}cores"
        file = out / f"regmix-{machine}-{now[:10]}.json" if out.is_dir() else out
        publish_json(file, {"at": now, "machine": machine, "dmix": __version__, **report})
        progress(f"wrote {file}")
    result = Result(report)
    _add_table(result, report["regressors"], losses=train.losses)
    return result


def _add_table(result: Result, judged: dict[str, Any], *, losses: tuple[str, ...]) -> None:
    """One column a regressor and test table: the mean first, then every loss."""
    columns = [(name, size) for name, report in judged.items() for size in report["tests"]]
    tests = [judged[name]["tests"][size] for name, size in columns]
    rows: list[list[Any]] = [["mean", *(round(test["mean_spearman"], 2) for test in tests)]]
    rows += [[loss, *(round(test["spearman"][loss], 2) for test in tests)] for loss in losses]
    result.table(["Spearman x 100", *(f"{name} {size}" for name, size in columns)], rows)
