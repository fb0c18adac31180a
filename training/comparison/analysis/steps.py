"""Utility over the steps of runs, on feedback items, and the comparison at the earliest stop."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dmix.training.comparison.analysis.evidence import Evidence
from dmix.training.comparison.analysis.panel import BOOTSTRAP_SEED
from dmix.training.comparison.analysis.statistics import Bootstrap, Estimate


@dataclass(frozen=True, kw_only=True)
class EarlyRow:
    """A controller at the earliest stop.

    Attributes:
        controller: Its name.
        utility: Over its runs; the interval is over seeds alone, since steps store no items.
        rival: The best other controller there.
        difference: Utility less the rival's over the seeds that both have; None if they share none.
    """

    controller: str
    utility: Estimate
    rival: str
    difference: Estimate | None


@dataclass(frozen=True)
class EarliestStop:
    """All controllers at the last step that every finished run has.

    Attributes:
        step: That step.
        rows: Best first.
    """

    step: int
    rows: tuple[EarlyRow, ...]


def mean_steps(evidence: Evidence, stage: str) -> dict[str, tuple[list[int], list[float]]]:
    """Steps and mean utility by controller, over the finished runs that reached the step."""
    steps = _scored_steps(evidence, stage)
    means = steps.groupby(["controller", "step"]).utility.mean()
    return {
        str(name): (line.index.get_level_values("step").tolist(), line.tolist())
        for name, line in means.groupby(level="controller")
    }


def earliest_stop(evidence: Evidence, stage: str) -> EarliestStop | None:
    """The comparison at the step where the first run stopped; None if all stop at the same one.

    A run that was not scored at that very step counts with the last score before it.
    """
    steps = _scored_steps(evidence, stage)
    last = steps.groupby("unit_id").step.max()
    if last.nunique() < 2:
        return None
    common = steps[steps.step <= last.min()].sort_values("step").drop_duplicates("unit_id", keep="last")
    values = common.pivot_table(
        index="controller", columns=["seed", "base"], values="utility", aggfunc="mean"
    )
    ordered = values.loc[values.mean(axis=1).sort_values(ascending=False, kind="stable").index]
    bootstrap = Bootstrap(np.zeros(1, dtype=np.int64), weight_D=np.ones(1), seed=BOOTSTRAP_SEED)

    def estimate(row: pd.Series) -> Estimate | None:
        values_S1 = row.dropna().to_numpy(float)[:, None]
        return bootstrap.estimate(values_S1) if len(values_S1) else None

    rows = []
    for name in ordered.index:
        rival = next((other for other in ordered.index if other != name), "")
        utility = estimate(ordered.loc[name])
        difference = estimate(ordered.loc[name] - ordered.loc[rival]) if rival else None
        if utility:
            rows.append(EarlyRow(controller=name, utility=utility, rival=rival, difference=difference))
    return EarliestStop(int(last.min()), tuple(rows))


def _scored_steps(evidence: Evidence, stage: str) -> pd.DataFrame:
    """Steps of finished runs with a finite utility, and the run's controller, seed and base beside."""
    done = evidence.done(stage)[["unit_id", "controller", "seed", "base"]]
    steps = evidence.steps[["unit_id", "step", "utility"]]
    steps = steps[np.isfinite(steps.utility.astype(float))]
    return steps.merge(done, on="unit_id")
