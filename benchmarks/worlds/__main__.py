"""Real worlds: setting files from the committed split, priors from finished worlds, and the table of all.

    python -m benchmarks.worlds write --data DATA --out WORLDS
    dmix bench quality --data DATA --setting WORLDS/fitting-00.yaml --stage worlds --results RESULTS
    python -m benchmarks.worlds fit --out WORLDS --results RESULTS
    python -m benchmarks.worlds table --out WORLDS --results RESULTS
    python -m benchmarks.worlds card --out WORLDS --results RESULTS

These four train nothing. `card` writes the model card of the shipped default. Runs of held-out worlds
need the priors that `fit` writes beside the setting files. Each world of the ladder has priors of its own,
from fitting worlds that share no target with it.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.provenance import ROOT
from benchmarks.worlds.card import card
from benchmarks.worlds.page import FIGURE, figure, page, promises
from benchmarks.worlds.priors import fit_priors
from benchmarks.worlds.rows import world_runs
from benchmarks.worlds.settings import LADDER, load_split, write_worlds

from dmix.training.comparison.effects.world_plans import PRIORS_FILE, priors_file
from dmix.warehouse_schema.files.layout import publish_bytes, publish_json, read_json

CARD_FILE = ROOT / "mixing" / "assets" / "dmix-base" / "README.md"


def write(data: Path, out: Path) -> list[Path]:
    """Writes the setting file of every world; corpora are found by their stems below the data folder."""
    files = {
        path.name.partition(".")[0]: str(path.relative_to(data))
        for path in sorted((data / "corpora").rglob("*.jsonl*"))
    }
    return write_worlds(load_split(), out, files=files)


def fit(out: Path, results: Path) -> list[Path]:
    """Fits priors to the fitting worlds that are done: for held-out worlds, and for each of the ladder."""
    done = {path.parent.name: world_runs(path.parent) for path in results.glob("fitting-*/setting.json")}
    found = {name: runs for name, runs in sorted(done.items()) if runs is not None}
    targets = {world["name"]: set(world["targets"]) for world in read_json(out / "worlds.json")}
    files = {out / PRIORS_FILE: list(found.values())}
    for number in range(LADDER):
        own = targets[f"fitting-{number:02d}"]
        setting_file = out / f"ladder-{number:02d}.yaml"
        files[priors_file(setting_file, "ladder")] = [
            runs for name, runs in found.items() if not targets[name] & own
        ]
    for path, worlds in files.items():
        publish_json(path, asdict(fit_priors(worlds)))
    return list(files)


def table(out: Path, results: Path) -> str:
    """Writes the page of the worlds and its figure into the results; returns the page."""
    content, found = page(out, results), promises(out, results)
    publish_bytes(results / "README.md", content.encode())
    if found:
        publish_bytes(results / FIGURE, figure(found).encode())
    return content


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("write", "fit", "table", "card"))
    parser.add_argument("--data", type=Path, help="folder of corpora")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/quality/worlds"), help="folder of the setting files"
    )
    parser.add_argument(
        "--results", type=Path, default=Path("benchmarks/results/quality/round-3/worlds"), help="stored runs"
    )
    given = parser.parse_args()
    if given.command == "write":
        if given.data is None:
            parser.error("write needs --data")
        for path in write(given.data, given.out):
            print(path)
    elif given.command == "fit":
        for path in fit(given.out, given.results):
            print(f"{path}: {json.dumps(json.loads(path.read_text()), indent=1)}")
    elif given.command == "card":
        publish_bytes(CARD_FILE, card(given.out, given.results).encode())
    else:
        print(table(given.out, given.results))


if __name__ == "__main__":
    main()
