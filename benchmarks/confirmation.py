"""The confirmation of the third protocol: its verdicts from stored rows; nothing is trained.

    python -m benchmarks.confirmation [--settings FOLDER] [--results FOLDER]

The runs are made by `dmix bench quality --setting SETTING.yaml --stage rivals --stage confirmation --results
RESULTS`. This writes `confirmation.md` and `confirmation.csv` into the results, and prints the page.
"""

import argparse
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from benchmarks.provenance import RESULTS, ROOT

from dmix.training.comparison.analysis.confirmation import (
    NOT_BEHIND,
    Contrast,
    Hypothesis,
    contrasts,
    hypotheses,
    objective_gains,
    power,
    utilities,
)
from dmix.training.comparison.data.settings import load_setting
from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.data.tiers import tier_named
from dmix.training.comparison.effects.judgement import FEEDBACK, JUDGING, Stored, yardstick_scales
from dmix.training.comparison.rivals.cells import ONLINE
from dmix.training.comparison.runs.facts import space_of_facts
from dmix.training.comparison.runs.protocol import THIRD_PROTOCOL_FILE, ThirdProtocol
from dmix.training.comparison.units.store import read_tables
from dmix.training.comparison.yardstick.csv_rows import csv_rows
from dmix.warehouse_schema.files.layout import publish_bytes, read_json
from dmix.warehouse_schema.settings import load_settings
from dmix.warehouse_schema.sizes import num_text

_INTRODUCTION = """# Confirmation of the third protocol

Every cell is a controller on {bases} base models and {seeds} run seeds in each setting. U is the utility:
the weighted mean gain over the base model on the judging items, in standard deviations over the yardstick's
tilts. A difference is the agent's U less the other cell's, mean over base models, with its 95% interval by
Student's t; *p* is one-sided. *Nats* is the same difference without scales. *Outside* counts only objectives
whose corpus is no domain of the run. *Lowest* is the lowest difference when one objective is left out. *TV*
is the mean distance (total variation) between the mixtures of the two cells. `python -m
benchmarks.confirmation` makes this page from the stored rows.
"""


def stored_setting(name: str, settings: Path, results: Path, *, protocol_sha256: str) -> Stored | None:
    """The rows of a setting, without cells of other protocols; None before anything of it is run."""
    loaded = load_setting(str(settings / f"{name}.yaml"))
    paths = StudyPaths.of(name, work=results / "no-work", results=results)
    if not paths.facts.is_file():
        return None
    facts, tables = read_json(paths.facts), read_tables(paths)
    runs = [
        row for row in tables["runs"] if row["part"] != "cell" or row["protocol_sha256"] == protocol_sha256
    ]
    tier = tier_named(facts["tier"])
    return Stored(loaded.settings, tier, space_of_facts(facts), {**tables, "runs": runs}, (), ())


def protocol_of(settings: Path) -> tuple[ThirdProtocol, str]:
    """The protocol beside the setting files, and its SHA-256, by which its runs are known."""
    file = settings / THIRD_PROTOCOL_FILE
    return load_settings(ThirdProtocol, file), hashlib.sha256(file.read_bytes()).hexdigest()


def runs_left(stored: Stored, protocol: ThirdProtocol) -> dict[str, int]:
    """Runs of the confirmation that are not done, by cell; empty once it is finished."""
    done = Counter(
        run["controller"] for base in range(stored.settings.bases) for run in stored.runs("cell", base)
    )
    planned = stored.settings.bases * protocol.seeds
    return {cell: planned - done[cell] for cell in protocol.cells if done[cell] < planned}


def page(found: Mapping[str, Stored], protocol: ThirdProtocol) -> tuple[str, list[Contrast]]:
    """The page, and all contrasts."""
    rows = {name: contrasts(stored, protocol) for name, stored in found.items()}
    verdicts = hypotheses(rows, protocol)
    bases = sorted({stored.settings.bases for stored in found.values()})
    parts = [
        _INTRODUCTION.format(bases=" or ".join(map(str, bases)), seeds=protocol.seeds),
        _verdicts(verdicts, protocol, settings=list(found)),
    ]
    for name, stored in found.items():
        parts += [f"## {name}\n", _progress(stored, protocol), _power(stored, protocol)]
        if (trial := _trial(stored)) is not None:
            parts.append(trial)
        if rows[name]:
            parts += [_levels(stored, protocol), _table(rows[name]), _by_objective(stored, protocol)]
    return "\n".join(parts), [row for of in rows.values() for row in of]


def _verdicts(found: Sequence[Hypothesis], protocol: ThirdProtocol, *, settings: Sequence[str]) -> str:
    missing = [name for name in protocol.settings if name not in {h.setting for h in found}]
    lines = [
        f"Hypothesis (a): `{protocol.agent}` is behind none of {_names(protocol.references)} by"
        f" {protocol.margin:g} standard deviations of U. Hypothesis (b): it is ahead of each of"
        f" {_names(protocol.rivals)}.\n"
    ]
    if found:
        lines += [
            "| setting | hypothesis | weakest against | p | p (Holm) | verdict |",
            "|---|---|---|---:|---:|---|",
        ]
    for h in found:
        claim = f"({'a' if h.claim == NOT_BEHIND else 'b'}) {h.claim}"
        verdict = "**holds**" if h.holds else "not shown"
        lines.append(f"| {h.setting} | {claim} | `{h.weakest}` | {h.p:.3g} | {h.p_holm:.3g} | {verdict} |")
    if missing:
        lines.append(
            f"\nNot finished: {', '.join(missing)}. The correction counts them as settings that show nothing."
        )
    return "\n".join(lines) + "\n"


def _progress(stored: Stored, protocol: ThirdProtocol) -> str:
    left, planned = runs_left(stored, protocol), stored.settings.bases * protocol.seeds
    if not left:
        return f"All {num_text(planned * len(protocol.cells), 'run')} are done.\n"
    told = ", ".join(f"`{cell}` {planned - missing}" for cell, missing in left.items())
    return f"Runs done of {planned} each, where some are missing: {told}.\n"


def _power(stored: Stored, protocol: ThirdProtocol) -> str:
    if yardstick_scales(stored, JUDGING) is None:
        return "The yardstick is not run yet.\n"
    reached, least = power(stored, protocol)
    return (
        f"From the yardstick's noise, one comparison of (a) has a power of {reached:.2f} where nothing"
        f" differs, and one of (b) finds a difference of {least:.2f} in U with a power of 0.8.\n"
    )


def _trial(stored: Stored) -> str | None:
    """Mean U of the online rivals on the feedback items, which chose the one in the protocol."""
    scales = yardstick_scales(stored, FEEDBACK)
    runs = [run for base in range(stored.tier.tilt_bases) for run in stored.runs("online", base)]
    if scales is None or not runs:
        return None
    value_D = scales[0] / scales[1]
    worth = {
        name: stored.gains([run for run in runs if run["controller"] == name], FEEDBACK) @ value_D
        for name in ONLINE
    }
    found = ", ".join(f"`{name}` {of.mean():+.2f}" for name, of in worth.items() if len(of))
    return (
        f"Trial of the online rivals on {num_text(stored.tier.tilt_bases, 'base model')}, mean U on the"
        f" feedback items: {found}.\n"
    )


def _levels(stored: Stored, protocol: ThirdProtocol) -> str:
    weight_D, scale_D = yardstick_scales(stored, JUDGING) or (np.zeros(0), np.ones(0))
    lines = ["| cell | mean U | standard deviation over base models |", "|---|---:|---:|"]
    for cell in protocol.cells:
        values_BS = utilities(stored, cell, protocol, weight_D / scale_D)
        if values_BS is not None:
            of_B = values_BS.mean(1)
            lines.append(f"| `{cell}` | {of_B.mean():+.3f} | {of_B.std(ddof=1):.3f} |")
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Contrast]) -> str:
    lines = [
        "| agent − | role | U [95%] | p | nats [95%] | outside | lowest (without) | TV | source tokens | |",
        "|---|---|---|---:|---|---:|---|---:|---:|---|",
    ]
    for r in rows:
        interval = f"{r.difference:+.3f} [{r.low:+.3f}, {r.high:+.3f}]"
        nats = f"{r.nats:+.4f} [{r.nats_low:+.4f}, {r.nats_high:+.4f}]"
        lowest = f"{r.weakest:+.3f} (`{r.weakest_without}`)"
        lines.append(
            f"| `{r.cell}` | {r.role} | {interval} | {r.p:.3g} | {nats} | {r.outside:+.3f} |"
            f" {lowest} | {r.total_variation:.2f} | {r.source_tokens:+.1%} | {r.word} |"
        )
    return "\n".join(lines) + "\n"


def _by_objective(stored: Stored, protocol: ThirdProtocol) -> str:
    """The differences by objective, and their mean without the objective that costs most."""
    weight_D, scale_D = yardstick_scales(stored, JUDGING) or (np.zeros(0), np.ones(0))
    found = objective_gains(stored, protocol)
    gains_CD = np.array(list(found.values()))
    least = int(np.argmin((gains_CD * weight_D).sum(0)))
    kept_D = np.where(np.arange(len(weight_D)) == least, 0.0, weight_D)
    lines = [
        "Differences by objective, nats per token, agent less the other cell. The weight is the share in U. U"
        " divides a gain by the scale.\n",
        f"| objective | weight | scale | {' | '.join(f'`{cell}`' for cell in found)} |",
        f"|---|---:|---:|{'---:|' * len(found)}",
    ]
    for o in np.flatnonzero(weight_D):
        told = " | ".join(f"{value:+.3f}" for value in gains_CD[:, o])
        lines.append(f"| `{stored.objectives[o]}` | {weight_D[o]:.3f} | {scale_D[o]:.3f} | {told} |")
    for name, part_D in (("mean", weight_D), (f"mean without `{stored.objectives[least]}`", kept_D)):
        told = " | ".join(f"{value:+.4f}" for value in gains_CD @ (part_D / part_D.sum()))
        lines.append(f"| {name} | | | {told} |")
    return "\n".join(lines) + "\n"


def _names(cells: Sequence[str]) -> str:
    return ", ".join(f"`{cell}`" for cell in cells)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    settings = ROOT / "benchmarks" / "quality"
    parser.add_argument("--settings", type=Path, default=settings, help="folder of setting files")
    results = RESULTS / "quality" / "round-3"
    parser.add_argument("--results", type=Path, default=results, help="folder of the stored rows")
    arguments = parser.parse_args()
    protocol, sha256 = protocol_of(arguments.settings)
    found = {
        name: stored_setting(name, arguments.settings, arguments.results, protocol_sha256=sha256)
        for name in protocol.settings
    }
    stored = {name: rows for name, rows in found.items() if rows is not None}
    text, rows = page(stored, protocol)
    publish_bytes(arguments.results / "confirmation.md", text.encode())
    if rows:
        publish_bytes(arguments.results / "confirmation.csv", csv_rows(rows).encode())
    print(text)


if __name__ == "__main__":
    main()
