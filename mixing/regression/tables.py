"""Tables of runs, such as RegMix publishes: mixtures and losses, one CSV file each.

`train_mixture_<size>.csv` and `train_pile_loss_<size>.csv`, and the same with `test_` for every
size that is judged. The first column, `index`, joins the two; the other columns are the domains
and the losses. Shapes: R runs, N domains, V losses.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmix.mixing.space.domains import Array
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.names import from_home
from dmix.warehouse_schema.sizes import num_text

_MIXTURES, _LOSSES, _INDEX = "mixture", "pile_loss", "index"
# Shares are printed with three decimals, so that 17 of them sum to 1 within this.
_SUM_TOLERANCE = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class RunTable:
    """Mixtures and losses of the runs of one model size.

    Attributes:
        size: As the files name it, for example `1m`.
        domains: Names of the N domains.
        losses: Names of the V losses.
        mixtures_RN: Shares.
        values_RV: Losses in nats per token.
    """

    size: str
    domains: tuple[str, ...]
    losses: tuple[str, ...]
    mixtures_RN: Array
    values_RV: Array


def load_tables(folder: str | Path) -> tuple[RunTable, tuple[RunTable, ...]]:
    """The training runs of a folder, and its test runs by growing size.

    Raises:
        NotFoundError: If the folder or one of a pair of files does not exist.
        InputError: If there are no or several training tables, a table is damaged, or a test
            table has other columns than the training table.
    """
    folder = from_home(folder)
    if not folder.is_dir():
        raise NotFoundError(f"folder {folder} does not exist; give --data the folder of the RegMix tables")
    training = _sizes(folder, "train")
    if len(training) != 1:
        raise InputError(
            f"{folder} has {len(training)} training tables ({', '.join(training) or 'none'}), expected one:"
            f" train_{_MIXTURES}_1m.csv with train_{_LOSSES}_1m.csv"
        )
    train = _table(folder, "train", training[0])
    sizes = _sizes(folder, "test")
    if not sizes:
        raise NotFoundError(f"{folder} has no test table; add test_{_MIXTURES}_1m.csv with its losses")
    tests = tuple(_aligned(_table(folder, "test", size), train) for size in sizes)
    return train, tests


def _sizes(folder: Path, kind: str) -> list[str]:
    """Sizes of which there is a mixture or a loss table, small ones first."""
    found = {
        path.stem.removeprefix(f"{kind}_{part}_")
        for part in (_MIXTURES, _LOSSES)
        for path in folder.glob(f"{kind}_{part}_*.csv")
    }
    return sorted(found, key=lambda size: (_parameters(size), size))


def _parameters(size: str) -> float:
    """Model parameters that a size stands for: 60m is 6e7; infinite if it is no such number."""
    number, unit = size[:-1], size[-1:].lower()
    try:
        return float(number) * {"k": 1e3, "m": 1e6, "b": 1e9}[unit]
    except (KeyError, ValueError):
        return float("inf")


def _table(folder: Path, kind: str, size: str) -> RunTable:
    mixture_file, loss_file = (folder / f"{kind}_{part}_{size}.csv" for part in (_MIXTURES, _LOSSES))
    domains, mixtures = _rows(mixture_file)
    losses, values = _rows(loss_file)
    if mixtures.keys() != values.keys():
        alone = sorted(mixtures.keys() ^ values.keys())
        raise InputError(
            f"{mixture_file.name} and {loss_file.name} contain different runs (only in one file: "
            f"{', '.join(alone[:3])}); take both files from one release of the tables"
        )
    mixtures_RN = np.array(list(mixtures.values()))
    values_RV = np.array([values[index] for index in mixtures])
    sums_R = mixtures_RN.sum(1)
    if (mixtures_RN < 0).any() or np.abs(sums_R - 1).max() > _SUM_TOLERANCE:
        row = list(mixtures)[int(np.abs(sums_R - 1).argmax())]
        raise InputError(
            f"{mixture_file}: run {row} is not a mixture (sum "
            f"{sums_R[np.abs(sums_R - 1).argmax()]:.3f}), expected shares of 0 or more that sum to 1"
        )
    return RunTable(size=size, domains=domains, losses=losses, mixtures_RN=mixtures_RN, values_RV=values_RV)


def _rows(path: Path) -> tuple[tuple[str, ...], dict[str, list[float]]]:
    """(names of the columns, numbers by index) of a file."""
    if not path.is_file():
        raise NotFoundError(f"table {path} does not exist; put it beside the others")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns = tuple(name for name in reader.fieldnames or () if name != _INDEX)
        if not columns or _INDEX not in (reader.fieldnames or ()):
            raise InputError(
                f"{path} has the columns {', '.join(reader.fieldnames or ()) or 'none'}, expected {_INDEX!r}"
                " and one per domain or loss"
            )
        rows = {}
        for number, row in enumerate(reader, start=2):
            rows[str(row[_INDEX])] = [_number(row[name], f"{path} line {number}: {name}") for name in columns]
    if not rows:
        raise InputError(f"{path} has no runs; download it again")
    return columns, rows


def _number(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise InputError(f"{where} is {text!r}, expected a finite number; download the table again")
    return value


def _aligned(test: RunTable, train: RunTable) -> RunTable:
    """The test table with its columns in the order of the training table."""
    for what, found, wanted in (
        ("mixture", test.domains, train.domains),
        ("loss", test.losses, train.losses),
    ):
        differing = sorted(set(found) ^ set(wanted))
        if differing:
            raise InputError(
                f"the test table of {test.size} and the training table have other {what} columns"
                f" ({', '.join(differing[:3])}); take all tables from one release"
            )
    return RunTable(
        size=test.size,
        domains=train.domains,
        losses=train.losses,
        mixtures_RN=test.mixtures_RN[:, [test.domains.index(name) for name in train.domains]],
        values_RV=test.values_RV[:, [test.losses.index(name) for name in train.losses]],
    )


def checked_runs(mixtures_RN: Array, values_RV: Array) -> tuple[Array, Array]:
    """Both as float64, if they describe the same runs.

    Raises:
        InputError: If the shapes disagree, there are fewer than two runs, or a number is not finite.
    """
    mixtures_RN, values_RV = (np.asarray(a, dtype=np.float64) for a in (mixtures_RN, values_RV))
    if mixtures_RN.ndim != 2 or values_RV.ndim != 2 or len(mixtures_RN) != len(values_RV):
        raise InputError(
            f"mixtures have shape {mixtures_RN.shape} and values have {values_RV.shape}, expected (runs, "
            "domains) and (runs, values) of the same runs"
        )
    if len(mixtures_RN) < 2:
        raise InputError(
            f"{num_text(len(mixtures_RN), 'run', 'are')} too few to fit a regressor; give at least 2"
        )
    if not (np.isfinite(mixtures_RN).all() and np.isfinite(values_RV).all()):
        raise InputError("a mixture or a value is not finite; leave this run out")
    return mixtures_RN, values_RV
