"""Tables of the third protocol as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any


def csv_rows(found: Sequence[Any]) -> str:
    """A line for each dataclass instance, all of one class, numbers to five decimals; names first."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(asdict(found[0])), lineterminator="\n")
    writer.writeheader()
    for row in found:
        values = asdict(row).items()
        writer.writerow({k: round(v, 5) if isinstance(v, float) else v for k, v in values})
    return buffer.getvalue()
