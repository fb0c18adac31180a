"""The page of the worlds: what each controller gained, what each step of the ladder added, promised and got.

Everything follows from the stored rows and the setting files; nothing is trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.worlds.rows import Rung, WorldRow, ahead, judged_rows, promised_and_got, rungs
from matplotlib.axes import Axes

from dmix.training.comparison.effects.rungs import CHECKED, PROBED
from dmix.training.comparison.effects.world_plans import (
    AGENT,
    COUNTS_PLAN,
    NATURAL,
    PLAIN,
    PLAN,
    priors_file,
    read_priors,
)
from dmix.training.comparison.pages.drawing import LIGHT, Panel, dots, limits, svg
from dmix.training.comparison.runs.protocol import PROTOCOL_FILE, WorldsProtocol
from dmix.warehouse_schema.settings import load_settings

FIGURE = "promised.svg"
KINDS = ("fitting", "ladder", "held-out")
STEPS = {
    "ladder": (
        (NATURAL, COUNTS_PLAN),
        (COUNTS_PLAN, CHECKED),
        (COUNTS_PLAN, PLAN),
        (COUNTS_PLAN, PROBED),
        (PLAN, AGENT),
    ),
    "held-out": ((NATURAL, COUNTS_PLAN), (COUNTS_PLAN, AGENT)),
}
"""What is compared: what came before, and the step."""

_INTRODUCTION = """# Worlds

A world is a random draw of corpora, amount of text, learning rate, number of steps, base model and objectives
(`benchmarks/quality/worlds.yaml`). Each world has one general and one target objective. U is the mean of
their gains over the base model. Each gain is divided by a standard deviation: the predicted spread of this
gain over random mixtures, by counts of word pairs. The tables use items whose scores no controller read.

- `counts-plan` is the constant mixture that counts predict to be best.
- `plan` also uses gradients, and priors (sizes of effects) from other worlds. In fitting worlds, it uses
  counts alone.
- `effect` is the effect agent: it starts as `plan` and reads the scores of each step.
- `checked-plan` is `counts-plan` after a check by six training runs. They decide how strongly the plan is
  pulled towards natural mixing, or choose natural mixing itself.
- `probed-plan` also uses probes (short training runs) of every domain.
- `fresh-0` and `fresh-1` are random mixtures.

`python -m benchmarks.worlds table` makes this page again.
"""


@dataclass(frozen=True)
class Promise:
    """What a static plan of a world promised over natural mixing, and what it got; both in U."""

    world: str
    plan: str
    promised: float
    got: float


def all_rows(results: Path) -> list[WorldRow]:
    """The finished runs of all worlds on the items that judge."""
    files = sorted(results.glob("*-[0-9][0-9]/setting.json"))
    return [row for path in files for row in judged_rows(path.parent)]


def promises(out: Path, results: Path) -> list[Promise]:
    """Promised and got, for each static plan of each world that judges."""
    found = []
    for path in sorted(results.glob("*-[0-9][0-9]/setting.json")):
        name = path.parent.name
        kind = name.rpartition("-")[0]
        for plan in (step for _, step in STEPS.get(kind, ()) if step in (COUNTS_PLAN, PLAN)):
            priors = PLAIN if plan == COUNTS_PLAN else read_priors(priors_file(out / f"{name}.yaml", kind))
            found.append(Promise(name, plan, *promised_and_got(path.parent, priors, name=plan)))
    return found


def page(out: Path, results: Path) -> str:
    """The whole page as Markdown."""
    rows = all_rows(results)
    parts = [_INTRODUCTION]
    for kind in KINDS:
        chosen = [row for row in rows if row.world.startswith(kind)]
        if chosen:
            parts += [f"## {kind.capitalize()} worlds", *_kind(kind, chosen, out)]
    found = promises(out, results)
    if found:
        parts += [
            "## Predicted and measured gain over natural mixing",
            _promise_table(found),
            *_slopes(found),
            f"![]({FIGURE})",
        ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def figure(found: Sequence[Promise]) -> str:
    """Promised against got, a dot for each plan and world; the line is a promise that is kept."""

    def draw(axes: Axes) -> None:
        values = [value for p in found for value in (p.promised, p.got)]
        low, high = limits([0.0, *values])
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.plot([low, high], [low, high], "--", color=LIGHT["muted"], linewidth=1.5)
        for p in found:
            colour = "agent" if p.plan == COUNTS_PLAN else "rival"
            dots(axes, [p.promised], [p.got], colour=colour, hollow=p.world.startswith("ladder"))
        axes.set_xlabel("promised over natural mixing, U")
        axes.set_ylabel("got, U")

    title = "Orange: counts alone; blue: with what other worlds taught; filled: held-out worlds"
    panel = Panel(title, 420, 70, 250, draw)
    said = f"What {len(found)} plans promised over natural mixing, and what they got."
    return svg([panel], heading="Promised and got", title="Promised and got", description=said)


def _kind(kind: str, rows: Sequence[WorldRow], out: Path) -> list[str]:
    parts = ["\n".join(["| world | controller | runs | U | nats |", "|---|---|---|---|---|", *_lines(rows)])]
    for name in sorted({row.controller for row in rows} - {NATURAL}):
        won, of = ahead(rows, name, NATURAL)
        parts.append(f"`{name}` is ahead of natural mixing in {won} of {of} worlds.")
    if kind == "held-out":
        parts += _verdict(out, rows)
    steps = rungs(rows, STEPS.get(kind, ()))
    if steps:
        head = ["| step | over | worlds | gain in U [95%] | ahead in |", "|---|---|---|---|---|"]
        parts.append("\n".join(head + [_step(step) for step in steps]))
    return parts


def _lines(rows: Sequence[WorldRow]) -> list[str]:
    lines = []
    for world, controller in sorted({(row.world, row.controller) for row in rows}):
        own = [row for row in rows if (row.world, row.controller) == (world, controller)]
        utility, nats = np.mean([(row.utility, row.nats) for row in own], axis=0)
        lines.append(f"| {world} | {controller} | {len(own)} | {utility:+.3f} | {nats:+.4f} |")
    return lines


def _step(step: Rung) -> str:
    low, high = step.gain - step.half_width, step.gain + step.half_width
    gain = f"{step.gain:+.3f} [{low:+.3f}, {high:+.3f}]" if step.worlds > 1 else f"{step.gain:+.3f}"
    return f"| {step.name} | {step.before} | {step.worlds} | {gain} | {step.won} |"


def _verdict(out: Path, rows: Sequence[WorldRow]) -> list[str]:
    """What the protocol promised of the held-out worlds, and what came; nothing before it is written."""
    file = out / PROTOCOL_FILE
    if not file.is_file():
        return []
    protocol = load_settings(WorldsProtocol, file)
    won, of = ahead(rows, protocol.agent, NATURAL)
    words = "is right" if won >= protocol.least_ahead else "is wrong"
    if of < len(protocol.settings):
        words = f"is open: {len(protocol.settings) - of} worlds are missing"
    promised = f"{protocol.least_ahead} of {len(protocol.settings)} worlds"
    return [
        f"The protocol predicts that `{protocol.agent}` is ahead of natural mixing in at least {promised}."
        f" It is ahead in {won} of {of}, so the prediction {words}."
    ]


def _promise_table(found: Sequence[Promise]) -> str:
    lines = [f"| {p.world} | {p.plan} | {p.promised:+.3f} | {p.got:+.3f} |" for p in found]
    return "\n".join(["| world | plan | predicted, U | measured, U |", "|---|---|---|---|", *lines])


def _slopes(found: Sequence[Promise]) -> list[str]:
    """Of each unit promised, how much came: least squares through 0, by kind of world and plan."""
    sentences = []
    groups = sorted({(p.world.rpartition("-")[0], p.plan) for p in found}, reverse=True)
    for kind, plan in groups:
        own = [p for p in found if (p.world.rpartition("-")[0], p.plan) == (kind, plan)]
        promised_W, got_W = np.array([(p.promised, p.got) for p in own]).T
        slope = float(promised_W @ got_W / (promised_W @ promised_W))
        sentences.append(
            f"In {len(own)} {kind} worlds, the measured gain of `{plan}` over natural mixing is"
            f" {slope:.2f} times the predicted gain (least squares through 0)."
        )
    return sentences
