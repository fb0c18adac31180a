"""The headroom study: what the best fixed mixtures are worth, as found and as run again.

The best of many noisy numbers is too good. So the best mixtures of the first pass are run again on
fresh seeds; the difference between the two is shown as what selection added. All of it is judged on
development items: confirmation items are not looked at before the one confirmation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import Vector
from dmix.training.comparison.analysis.evidence import Evidence
from dmix.training.comparison.analysis.panel import Panel
from dmix.training.comparison.analysis.statistics import Estimate, pair_noise

KINDS = ("static", "open_loop")
NATURAL = "natural"
LAYER = "development"


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best mixture of one kind.

    Attributes:
        kind: `static` or `open_loop`.
        started: Mixtures of the first pass that were started.
        found: Names and first-pass utilities of the finished ones, best first.
        again: Mean utility on fresh seeds of those that were run again, by name.
        fresh: Utility of the best of the first pass on its fresh seeds; None before they are run.
        over_natural: The same less natural mixing, paired where both have the fresh seeds; None
            without runs of natural mixing.
    """

    kind: str
    started: int
    found: tuple[tuple[str, float], ...]
    again: dict[str, float]
    fresh: Estimate | None
    over_natural: Estimate | None

    @property
    def name(self) -> str:
        """The mixture that the first pass found best."""
        return self.found[0][0]

    @property
    def selected(self) -> float:
        """Its utility in the first pass."""
        return self.found[0][1]

    @property
    def curse(self) -> float:
        """What selection added: first pass less fresh seeds; NaN before they are run."""
        return self.selected - self.fresh.value if self.fresh else float("nan")


@dataclass(frozen=True, kw_only=True)
class Headroom:
    """The study of one setting.

    Attributes:
        best: One entry per kind that has finished runs.
        natural_S: Utility of every run of natural mixing, shape (S,), of any length.
        noise: Seed-to-seed standard deviation of the difference of two runs. On shared seeds, where
            mixtures were run again on them; or else √2 times the deviation of natural mixing; NaN
            without either.
        paired: Whether it comes from shared seeds.
    """

    best: tuple[Best, ...]
    natural_S: Vector
    noise: float
    paired: bool


def headroom(evidence: Evidence) -> Headroom | None:
    """The headroom study as far as its runs are done; None before the first one is."""
    panel = evidence.panel("headroom", LAYER)
    if panel is None:
        return None
    stage = evidence.stage("headroom")
    rerun_S = _pairs_of(evidence, panel, part="rerun")
    best = []
    for kind in KINDS:
        drawn = stage[(stage.kind == kind) & (stage.part == "draw")]
        names = list(dict.fromkeys(drawn.controller))
        found = _best(panel, kind=kind, names=names, rerun_S=rerun_S)
        if found:
            best.append(found)
    natural_S = _utilities(panel, NATURAL)
    natural_S = natural_S[np.isfinite(natural_S)]
    noise = pair_noise(panel.at_pairs(rerun_S).utility_CS)
    paired = bool(np.isfinite(noise))
    if not paired and len(natural_S) > 1:
        noise = float(np.sqrt(2) * natural_S.std(ddof=1))
    return Headroom(best=tuple(best), natural_S=natural_S, noise=noise, paired=paired)


def _best(panel: Panel, *, kind: str, names: list[str], rerun_S: NDArray[np.bool_]) -> Best | None:
    utilities = {name: _utilities(panel, name) for name in names}
    first, again = (
        {
            name: float(np.nanmean(values_S[pass_S]))
            for name, values_S in utilities.items()
            if np.isfinite(values_S[pass_S]).any()
        }
        for pass_S in (~rerun_S, rerun_S)
    )
    if not first:
        return None
    found = sorted(first.items(), key=lambda entry: -entry[1])
    winner = found[0][0]
    natural_there_S = np.isfinite(_utilities(panel, NATURAL))
    # without the run that selected it
    fresh = panel.at_pairs(rerun_S | natural_there_S)
    over_natural = None
    if winner in again and natural_there_S.any():
        shared = np.isfinite(_utilities(fresh, winner) + _utilities(fresh, NATURAL)).any()
        over_natural = (fresh.difference if shared else fresh.contrast)(winner, NATURAL)
    return Best(
        kind=kind,
        started=len(names),
        found=tuple(found),
        again=again,
        fresh=fresh.utility(winner) if winner in again else None,
        over_natural=over_natural,
    )


def _pairs_of(evidence: Evidence, panel: Panel, *, part: str) -> NDArray[np.bool_]:
    """True for the (seed, base) pairs that runs of a part of the study have, shape (S,)."""
    stage = evidence.stage("headroom")
    runs = stage[stage.part == part]
    pairs = set(zip(runs.seed.astype(int), runs.base.astype(int), strict=True))
    return np.array([pair in pairs for pair in panel.pairs])


def _utilities(panel: Panel, name: str) -> Vector:
    """Utility by pair, shape (S,), NaN where there is no run."""
    if name not in panel.controllers:
        return np.full(len(panel.pairs), np.nan)
    return panel.utility_CS[panel.controllers.index(name)]
