"""Fidelity: do effects of domains agree between estimators and between sizes of the model?

From stored effects: counts (no model), counts beside the model, gradients and probes (short runs) of the
0.37M model on three settings; counts, counts beside the model and gradients of the 135M model. Each
correlation is over the domains that both have, objective by objective. Shapes: N domains, D objectives.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.confirmation import stored_setting
from benchmarks.studies.statistics import NONE, pearson_interval, spearman_interval

from dmix.training.comparison.effects.judgement import ProbeRows
from dmix.training.comparison.effects.promises import EFFECTS, read_table

COUNTS, MODEL_COUNTS, GRADIENT, PROBE = "counts", "counts beside the model", "gradient", "probe"
SMALL, LARGE = "0.37M", "135M"
REAL = "real model"
SAME_TEXT = {"books": "books", "reference": "reference", "gsm8k": "word_problems", "textbooks": "textbooks"}
"""Objectives of `math` and those of the real model whose items come from some of the same corpora."""

_STAGES = {COUNTS: "counts", MODEL_COUNTS: "model-counts", GRADIENT: "gradient"}
Domain = tuple[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Effects:
    """Effects of one estimator on one model.

    Attributes:
        text: The setting.
        size: Of the model; counts depend on none.
        estimator: Its name.
        effects: Effect by objective and (field, domain), nats per unit of share.
        price: In runs of the setting; NaN where it was not measured in runs.
    """

    text: str
    size: str
    estimator: str
    effects: Mapping[str, Mapping[Domain, float]]
    price: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One correlation.

    Attributes:
        first, second: Estimators with their sizes.
        text: Setting, or both.
        objective: Objective of the first.
        domains: How many both have.
        spearman, spearman_low, spearman_high: Rank correlation.
        pearson, pearson_low, pearson_high: Linear correlation; one strong domain can carry it.
    """

    first: str
    second: str
    text: str
    objective: str
    domains: int
    spearman: float
    spearman_low: float
    spearman_high: float
    pearson: float
    pearson_low: float
    pearson_high: float

    @property
    def agrees(self) -> bool:
        """Whether the interval of the rank correlation is above 0."""
        return self.spearman_low > 0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One pair of estimators over its objectives.

    Attributes:
        first, second, text: Which.
        objectives: How many.
        undefined: Of these, those where an estimator is the same for all domains.
        median, least, most: Of the rank correlations.
        pearson: Median of the linear correlations.
        agree: Objectives whose interval is above 0.
        against: Objectives whose interval is below 0.
        linear: Objectives whose interval of the linear correlation is above 0.
    """

    first: str
    second: str
    text: str
    objectives: int
    undefined: int
    median: float
    least: float
    most: float
    pearson: float
    agree: int
    against: int
    linear: int


def stored_effects(name: str, settings: Path, results: Path) -> list[Effects]:
    """All estimators of a setting of the third round on its first base model, probes from their runs."""
    found: dict[str, dict[str, dict[Domain, float]]] = {}
    prices: dict[str, float] = {}
    for row in read_table(results / name, EFFECTS):
        if row["base"] == 0:
            of = found.setdefault(row["estimator"], {}).setdefault(row["objective"], {})
            of[row["field"], row["domain"]] = row["effect"]
            prices[row["estimator"]] = row["run_equivalents"]
    stored = stored_setting(name, settings, results, protocol_sha256="")
    probes = None if stored is None else ProbeRows.of(stored, 0)
    if stored is not None and probes is not None:
        names = stored.space.names
        found[PROBE] = {
            objective: {
                names[n]: float(probes.effect_ND[n, o]) for n in np.flatnonzero(stored.space.active_N)
            }
            for o, objective in enumerate(stored.objectives)
        }
        prices[PROBE] = probes.run_equivalents
    return [
        Effects(text=name, size=SMALL, estimator=estimator, effects=effects, price=prices[estimator])
        for estimator, effects in found.items()
    ]


def real_model_effects(file: Path) -> list[Effects]:
    """The estimators of the real model on mathematics."""
    rows = {row["stage"]: row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
    found = []
    for estimator, stage in _STAGES.items():
        row = rows.get(f"effects/math/{stage}")
        if row is None:
            continue
        objectives = [o["objective"] for o in row["effects"]["objectives"]]
        effects = {
            name: {(d["field"], d["domain"]): float(d[name]) for d in row["effects"]["effects"]}
            for name in objectives
        }
        found.append(Effects(text=REAL, size=LARGE, estimator=estimator, effects=effects, price=float("nan")))
    return found


def agreements(
    first: Effects, second: Effects, *, objectives: Mapping[str, str] | None = None
) -> list[Agreement]:
    """Correlations over the domains that both have, for each objective that both have.

    Args:
        first, second: Two estimators.
        objectives: Objectives of the second by those of the first; by default, of the same name.
    """
    pairs = objectives if objectives is not None else {name: name for name in first.effects}
    rows = []
    for own, other in pairs.items():
        if own not in first.effects or other not in second.effects:
            continue
        domains = sorted(set(first.effects[own]) & set(second.effects[other]))
        sides = np.array([[first.effects[own][d], second.effects[other][d]] for d in domains]).reshape(-1, 2)
        rank, line = spearman_interval(*sides.T), pearson_interval(*sides.T)
        rows.append(
            Agreement(
                first=label(first),
                second=label(second),
                text=first.text if first.text == second.text else f"{first.text}, {second.text}",
                objective=own,
                domains=len(domains),
                spearman=rank.value,
                spearman_low=rank.low,
                spearman_high=rank.high,
                pearson=line.value,
                pearson_low=line.low,
                pearson_high=line.high,
            )
        )
    return rows


def label(effects: Effects) -> str:
    """Estimator and size; counts without a model have no size."""
    return effects.estimator if effects.estimator == COUNTS else f"{effects.estimator} {effects.size}"


def all_agreements(small: Sequence[Effects], large: Sequence[Effects]) -> list[Agreement]:
    """Estimators against probes (else gradients) of one text, then the two sizes against each other."""
    rows = []
    for text in dict.fromkeys(effects.text for effects in (*small, *large)):
        own = {e.estimator: e for e in (*small, *large) if e.text == text}
        against = own.get(PROBE, own.get(GRADIENT))
        if against is not None:
            for effects in own.values():
                if effects is not against:
                    rows += agreements(effects, against)
    for first in small:
        for second in large:
            if (first.text, first.estimator) in _CROSSED and second.estimator in _CROSSED[
                first.text, first.estimator
            ]:
                rows += agreements(first, second, objectives=SAME_TEXT)
    return rows


_CROSSED = {
    ("math", COUNTS): (COUNTS, MODEL_COUNTS, GRADIENT),
    ("math", MODEL_COUNTS): (MODEL_COUNTS,),
    ("math", GRADIENT): (GRADIENT,),
    ("math", PROBE): (GRADIENT,),
}


def summaries(rows: Sequence[Agreement]) -> list[Summary]:
    """Each pair of estimators of a text over its objectives."""
    found = []
    for key in dict.fromkeys((row.first, row.second, row.text) for row in rows):
        own = [row for row in rows if (row.first, row.second, row.text) == key]
        known = [row for row in own if np.isfinite(row.spearman)]
        ranks = np.array([row.spearman for row in known]) if known else np.array([NONE.value])
        lines = np.array([row.pearson for row in known]) if known else np.array([NONE.value])
        found.append(
            Summary(
                first=key[0],
                second=key[1],
                text=key[2],
                objectives=len(own),
                undefined=len(own) - len(known),
                median=float(np.median(ranks)),
                least=float(ranks.min()),
                most=float(ranks.max()),
                pearson=float(np.median(lines)),
                agree=sum(row.agrees for row in known),
                against=sum(row.spearman_high < 0 for row in known),
                linear=sum(row.pearson_low > 0 for row in known),
            )
        )
    return found
