"""`dmix bench regmix`; `dmix.cli.commands.bench` adds it to its group."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from dmix import __version__
from dmix.cli.show.options import config_option, dry_run_option, json_option
from dmix.cli.show.output import say, show_json, show_table
from dmix.mixing.regression import REGRESSORS


@click.command()
@config_option
@click.option(
    "--data",
    required=True,
    metavar="DIR",
    help="Folder with train_mixture_1m.csv, train_pile_loss_1m.csv, and their test_ counterparts for"
    " each size.",
)
@click.option(
    "--regressor",
    "names",
    multiple=True,
    type=click.Choice(list(REGRESSORS)),
    help="Regressor to judge. Repeat the flag for several. Default: all.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="File for the figures, or a folder, which gets regmix-<machine>-<date>.json.",
)
@json_option
@dry_run_option
def regmix(
    *,
    data: str,
    names: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Judge regressors on the published runs of RegMix, from mixtures to losses of larger models.

    Each regressor is fitted on the training runs alone. Its score is Spearman's rank correlation
    (times 100) over each table of test runs.

    Example: dmix bench regmix --data regmix --regressor lightgbm --json
    """
    from dmix.mixing.regression.judge import judge
    from dmix.mixing.regression.tables import load_tables
    from dmix.warehouse_schema.files.layout import publish_json

    train, tests = load_tables(data)
    chosen = list(dict.fromkeys(names or REGRESSORS))
    report: dict[str, Any] = {
        "data": str(data),
        "domains": len(train.domains),
        "losses": len(train.losses),
        "runs": {"train": len(train.values_RV), **{test.size: len(test.values_RV) for test in tests}},
    }
    if dry_run:
        report["regressors"] = chosen
        if as_json:
            show_json(report)
        else:
            show_table(["", "value"], [(name, str(value)) for name, value in report.items()])
        return
    report["regressors"] = {name: judge(name, train=train, tests=tests, progress=say) for name in chosen}
    if out is not None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        machine = f"{platform.machine()}-{os.cpu_count()}cores"
        file = out / f"regmix-{machine}-{now[:10]}.json" if out.is_dir() else out
        publish_json(file, {"at": now, "machine": machine, "dmix": __version__, **report})
        say(f"wrote {file}")
    if as_json:
        show_json(report)
    else:
        _show(report["regressors"], losses=train.losses)


def _show(judged: dict[str, Any], *, losses: tuple[str, ...]) -> None:
    """One column a regressor and test table: the mean first, then every loss."""
    columns = [(name, size) for name, report in judged.items() for size in report["tests"]]
    tests = [judged[name]["tests"][size] for name, size in columns]
    rows: list[list[Any]] = [["mean", *(round(test["mean_spearman"], 2) for test in tests)]]
    rows += [[loss, *(round(test["spearman"][loss], 2) for test in tests)] for loss in losses]
    show_table(["Spearman x 100", *(f"{name} {size}" for name, size in columns)], rows)
