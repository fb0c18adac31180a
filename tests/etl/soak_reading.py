"""Fuzz of reading for `make soak`: 5,000 mutated files of each kind."""

from pathlib import Path
from typing import Any

from tests.etl.reading import fuzzing
from tests.soak import Unit

COUNT = 5000


def json_lines(folder: Path) -> dict[str, Any]:
    return fuzzing.run(fuzzing.check_lines, ".jsonl", folder, first=1000, count=COUNT)


def parquet(folder: Path) -> dict[str, Any]:
    return fuzzing.run(fuzzing.check_parquet, ".parquet", folder, first=1000, count=COUNT)


UNITS = [Unit("reading/fuzz JSON Lines", json_lines), Unit("reading/fuzz Parquet", parquet)]
