"""The model card of the shipped default, from the stored rows of the held-out worlds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from benchmarks.worlds.page import all_rows, promises
from benchmarks.worlds.rows import WorldRow, ahead, rungs

from dmix.training.comparison.effects.world_plans import AGENT, COUNTS_PLAN, HELD_OUT, NATURAL
from dmix.warehouse_schema.files.layout import read_json

_CARD = Path(__file__).with_name("card.md")


def card(out: Path, results: Path) -> str:
    """The whole card as Markdown."""
    rows = [row for row in all_rows(results) if row.world.startswith(HELD_OUT)]
    targets = {world["name"]: world["targets"] for world in read_json(out / "worlds.json")}
    worlds = sorted({row.world for row in rows})
    means_WCM = np.array([[_means(rows, world, name) for name in (NATURAL, COUNTS_PLAN)] for world in worlds])
    gains_WM = means_WCM[:, 1] - means_WCM[:, 0]
    lines = [
        f"| `{world}` | {', '.join(f'`{name}`' for name in targets[world])} | {natural:+.2f} | {own:+.2f}"
        f" | {gain:+.2f} | {nats:+.3f} |"
        for world, (natural, own), (gain, nats) in zip(worlds, means_WCM[..., 0], gains_WM, strict=True)
    ]
    over_natural, listening = rungs(rows, ((NATURAL, COUNTS_PLAN), (COUNTS_PLAN, AGENT)))
    kept = [p for p in promises(out, results) if p.world.startswith(HELD_OUT) and p.plan == COUNTS_PLAN]
    promised_W, got_W = np.array([(p.promised, p.got) for p in kept]).T
    won, of = ahead(rows, COUNTS_PLAN, NATURAL)
    return _CARD.read_text(encoding="utf-8").format(
        rows="\n".join(lines).replace("| -", "| −"),
        won=won,
        of=of,
        nats_won=int((gains_WM[:, 1] > 0).sum()),
        gain=_interval(over_natural.gain, over_natural.half_width),
        slope=float(promised_W @ got_W / (promised_W @ promised_W)),
        listening=_interval(listening.gain, listening.half_width),
        worst=worlds[int(gains_WM[:, 0].argmin())],
    )


def _means(rows: Sequence[WorldRow], world: str, controller: str) -> tuple[float, float]:
    """Mean U and nats over the seeds."""
    own = [(r.utility, r.nats) for r in rows if (r.world, r.controller) == (world, controller)]
    utility, nats = np.mean(own, axis=0)
    return float(utility), float(nats)


def _interval(gain: float, half_width: float) -> str:
    return f"{gain:+.3f} [{gain - half_width:+.3f}, {gain + half_width:+.3f}]".replace("-", "−")
