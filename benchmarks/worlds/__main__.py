"""Real worlds: setting files from the committed split, priors from finished worlds, and the table of all.

    python -m benchmarks.worlds write --data DATA --out WORLDS
    dmix bench quality --data DATA --setting WORLDS/fitting-00.yaml --stage worlds --results RESULTS
    python -m benchmarks.worlds fit --out WORLDS --results RESULTS
    python -m benchmarks.worlds table --out WORLDS --results RESULTS

`write` and `fit` train nothing. Runs of held-out worlds need the priors that `fit` writes beside the setting
files. Each world of the ladder has priors of its own, from fitting worlds that share no target with it.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from benchmarks.worlds.priors import fit_priors
from benchmarks.worlds.rows import WorldRow, ahead, judged_rows, promised_and_got, rungs, world_runs
from benchmarks.worlds.settings import LADDER, load_split, write_worlds

from dmix.training.comparison.effects.world_plans import (
    AGENT,
    COUNTS_PLAN,
    NATURAL,
    PLAIN,
    PLAN,
    PRIORS_FILE,
    priors_file,
    read_priors,
)
from dmix.training.comparison.runs.protocol import PROTOCOL_FILE, WorldsProtocol
from dmix.warehouse_schema.files.layout import publish_json, read_json
from dmix.warehouse_schema.settings import load_settings

STEPS = {"ladder": (NATURAL, COUNTS_PLAN, PLAN, AGENT), "held-out": (NATURAL, COUNTS_PLAN, AGENT)}
"""Each is compared with what came before it."""


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
    for kind in ("fitting", "ladder", "held-out"):
        chosen = [row for row in rows if row.world.startswith(kind)]
        for name in sorted({row.controller for row in chosen} - {NATURAL}):
            won, of = ahead(chosen, name, NATURAL)
            lines.append(f"\n{kind}: {name} is ahead of natural mixing in {won} of {of} worlds.")
        if kind == "held-out":
            lines += _promise(out, chosen)
        steps = () if kind == "fitting" else rungs(chosen, STEPS[kind])
        if steps:
            head = f"| {kind}: step | over | worlds | gain in U [95%] | ahead in |"
            lines += ["", head, "|---|---|---|---|---|"]
        for step in steps:
            low, high = step.gain - step.half_width, step.gain + step.half_width
            gain = f"{step.gain:+.3f} [{low:+.3f}, {high:+.3f}]"
            lines.append(f"| {step.name} | {step.before} | {step.worlds} | {gain} | {step.won} |")
    return "\n".join([*lines, *_calibration(out, results)])


def _promise(out: Path, rows: Sequence[WorldRow]) -> list[str]:
    """What the protocol promised of the held-out worlds, and what came; nothing before it is written."""
    file = out / PROTOCOL_FILE
    if not file.is_file():
        return []
    protocol = load_settings(WorldsProtocol, file)
    won, of = ahead(rows, protocol.agent, NATURAL)
    words = "holds" if won >= protocol.least_ahead else "does not hold"
    if of < len(protocol.settings):
        words = f"is open: {len(protocol.settings) - of} worlds are missing"
    promised = f"{protocol.least_ahead} of {len(protocol.settings)} held-out worlds"
    return [
        "",
        f"The protocol names `{protocol.agent}`, ahead of natural mixing in at least {promised}: it is ahead"
        f" in {won} of {of}, so the promise {words}.",
    ]


def _calibration(out: Path, results: Path) -> list[str]:
    """What the static plan of each world that judges promised over natural mixing, and what it got."""
    lines = ["", "| world | plan | promised, U | got |", "|---|---|---|---|"]
    pairs = []
    for path in sorted(results.glob("*-[0-9][0-9]/setting.json")):
        name = path.parent.name
        kind = name.rpartition("-")[0]
        if kind not in STEPS:
            continue
        for plan in (p for p in STEPS[kind] if p in (COUNTS_PLAN, PLAN)):
            priors = PLAIN if plan == COUNTS_PLAN else read_priors(priors_file(out / f"{name}.yaml", kind))
            promised, got = promised_and_got(path.parent, priors, name=plan)
            pairs.append((plan, promised, got))
            lines.append(f"| {name} | {plan} | {promised:+.3f} | {got:+.3f} |")
    for plan in sorted({plan for plan, _, _ in pairs}):
        promised_W, got_W = np.array([pair[1:] for pair in pairs if pair[0] == plan]).T
        slope = float(promised_W @ got_W / (promised_W @ promised_W))
        lines += [
            "",
            f"Of each unit of U that `{plan}` promised, {slope:.2f} came (least squares through 0).",
        ]
    return lines if pairs else []


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("write", "fit", "table"))
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
    else:
        print(table(given.out, given.results))


if __name__ == "__main__":
    main()
