"""The tables of docs/guide/scale.md from a stored result: `python -m benchmarks.scale_page RESULT.json`."""

import json
import sys
from pathlib import Path
from typing import Any


def table(row: dict[str, Any]) -> str:
    """Figures by size in Markdown; the last column is the slope of the straight line through them."""
    sizes = list(row["sizes"])
    heads = ["", *(f"{int(size):,}" for size in sizes), f"line: per {row['line_per']:,} more"]
    lines = [heads, ["---", *(["---:"] * (len(sizes) + 1))]]
    lines += [
        [name.replace("_", " "), *(f"{row['sizes'][size][name]:,g}" for size in sizes), f"{slope:,g}"]
        for name, slope in row["line"].items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    found = json.loads(Path(sys.argv[1]).read_text())
    text = "\n\n".join(f"### {name}\n\n{table(row)}" for name, row in found["rows"].items())
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
