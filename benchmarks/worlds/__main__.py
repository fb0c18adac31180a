"""Real worlds: setting files from the committed split, priors from finished worlds, and the table of all.

    python -m benchmarks.worlds write --data DATA --out WORLDS
    dmix bench quality --data DATA --setting WORLDS/fitting-00.yaml --stage worlds --results RESULTS
    python -m benchmarks.worlds fit --out WORLDS --results RESULTS
    python -m benchmarks.worlds table --results RESULTS

`write` and `fit` train nothing; the runs of held-out worlds need the priors that `fit` writes beside the
setting files.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.worlds.priors import fit_priors
from benchmarks.worlds.rows import ahead, judged_rows, world_runs
from benchmarks.worlds.settings import load_split, write_worlds

from dmix.training.comparison.effects.world_plans import PRIORS_FILE
from dmix.warehouse_schema.files.layout import publish_json


def write(data: Path, out: Path) -> list[Path]:
    """Writes the setting file of every world; corpora are found by their stems below the data folder."""
    files = {
        path.name.partition(".")[0]: str(path.relative_to(data))
        for path in sorted((data / "corpora").rglob("*.jsonl*"))
    }
    return write_worlds(load_split(), out, files=files)


def fit(out: Path, results: Path) -> Path:
    """Fits priors to the fitting worlds that are done."""
    found = [world_runs(path.parent) for path in sorted(results.glob("fitting-*/setting.json"))]
    priors = fit_priors([world for world in found if world is not None])
    publish_json(out / PRIORS_FILE, asdict(priors))
    return out / PRIORS_FILE


def table(results: Path) -> str:
    """Mean utility and nats of each controller in each world, and in how many it is ahead."""
    rows = [
        row for path in sorted(results.glob("*-[0-9][0-9]/setting.json")) for row in judged_rows(path.parent)
    ]
    lines = ["| world | controller | runs | U | nats |", "|---|---|---|---|---|"]
    for world, controller in sorted({(row.world, row.controller) for row in rows}):
        own = [row for row in rows if (row.world, row.controller) == (world, controller)]
        utility, nats = (
            sum(values) / len(own) for values in ([r.utility for r in own], [r.nats for r in own])
        )
        lines.append(f"| {world} | {controller} | {len(own)} | {utility:+.3f} | {nats:+.4f} |")
    for kind in ("fitting", "held-out"):
        chosen = [row for row in rows if row.world.startswith(kind)]
        for name in sorted({row.controller for row in chosen} - {"natural"}):
            won, of = ahead(chosen, name, "natural")
            lines.append(f"\n{kind}: {name} is ahead of natural mixing in {won} of {of} worlds.")
    return "\n".join(lines)


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("write", "fit", "table"))
    parser.add_argument("--data", type=Path, help="folder of corpora")
    parser.add_argument("--out", type=Path, default=Path("worlds"), help="folder of the setting files")
    parser.add_argument(
        "--results", type=Path, default=Path("benchmarks/results/quality/round-3"), help="stored runs"
    )
    given = parser.parse_args()
    if given.command == "write":
        if given.data is None:
            parser.error("write needs --data")
        for path in write(given.data, given.out):
            print(path)
    elif given.command == "fit":
        path = fit(given.out, given.results)
        print(f"{path}: {json.dumps(json.loads(path.read_text()), indent=1)}")
    else:
        print(table(given.results))


if __name__ == "__main__":
    main()
