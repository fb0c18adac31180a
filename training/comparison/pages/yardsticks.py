"""`yardsticks.md`: which objectives the settings of the third protocol are judged by."""

import csv
from collections.abc import Sequence
from pathlib import Path

from dmix.warehouse_schema.files.layout import publish_bytes

_JUDGING = "confirmation"


def write_yardsticks(folders: Sequence[Path], out: Path) -> None:
    """Writes the overview of the settings in these folders, from their `yardstick.csv`."""
    lines = [
        "# Yardsticks",
        "",
        "Each page shows the results so far. An objective is admitted if the mixture explains at least "
        "80% of its variance within base models.",
        "",
        "| setting | mixtures | objectives | admitted | refused |",
        "|---|---|---|---|---|",
    ]
    for folder in folders:
        table = folder / "yardstick.csv"
        if not table.is_file():
            lines.append(f"| `{folder.name}` | 0 | – | – | – |")
            continue
        with table.open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["layer"] == _JUDGING]
        refused = [row["objective"] for row in rows if row["admitted"] != "True"]
        lines.append(
            f"| [`{folder.name}`]({folder.name}/yardstick.md) | {rows[0]['mixtures']} | {len(rows)} |"
            f" {len(rows) - len(refused)} | {', '.join(f'`{name}`' for name in refused) or 'none'} |"
        )
    publish_bytes(out / "yardsticks.md", ("\n".join(lines) + "\n").encode())
