"""Effects from the catalog: which domain helps which objective."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.training.report.queries.reader import Pair, Reader, records


@dataclass(frozen=True, kw_only=True, eq=False)
class EffectFacts:
    """One estimate. Shapes: P domains with samples, D objectives.

    Attributes:
        effect_PD, stderr_PD: Nats per token per unit of share.
        reliability: Of each objective: role, signal, noise, reliability and whether it is beyond noise.
    """

    name: str
    estimator: str
    dataset: str
    model: str
    pairs: tuple[Pair, ...]
    objectives: tuple[str, ...]
    effect_PD: NDArray[np.float64]
    stderr_PD: NDArray[np.float64]
    reliability: tuple[tuple[str, float, float, float, bool], ...]


def read_effects(catalog: Reader, *, datasets: Collection[str | None] | None = None) -> list[EffectFacts]:
    """All estimates, the newest first.

    Args:
        catalog: The catalog.
        datasets: Only those of these datasets; None for all.
    """
    names = records(
        catalog,
        "SELECT name, any_value(estimator) AS estimator, any_value(dataset) AS dataset,"
        " any_value(model) AS model FROM effects GROUP BY name ORDER BY max(created_at) DESC, name",
    )
    return [_facts(catalog, **found) for found in names if datasets is None or found["dataset"] in datasets]


def _facts(catalog: Reader, *, name: str, estimator: str, dataset: str, model: str) -> EffectFacts:
    _, rows = catalog.query(
        "SELECT objective, role, signal, noise, reliability, telling FROM effect_objectives WHERE name = ?"
        " ORDER BY role, objective",
        [name],
    )
    objectives = tuple(str(row[0]) for row in rows)
    _, cells = catalog.query(
        "SELECT field, domain, objective, effect, stderr FROM effects WHERE name = ?", [name]
    )
    pairs = tuple(dict.fromkeys((str(field), str(domain)) for field, domain, *_ in cells))
    effect_PD = np.zeros((len(pairs), len(objectives)))
    stderr_PD = np.zeros_like(effect_PD)
    row_of, column_of = ({key: i for i, key in enumerate(keys)} for keys in (pairs, objectives))
    for field, domain, objective, effect, stderr in cells:
        place = row_of[field, domain], column_of[objective]
        effect_PD[place], stderr_PD[place] = effect, stderr
    # domains without samples have neither effect nor error
    there = (effect_PD != 0).any(1) | (stderr_PD != 0).any(1)
    return EffectFacts(
        name=name,
        estimator=estimator,
        dataset=dataset,
        model=model,
        pairs=tuple(pair for pair, kept in zip(pairs, there, strict=True) if kept),
        objectives=objectives,
        effect_PD=effect_PD[there],
        stderr_PD=stderr_PD[there],
        reliability=tuple((str(r[1]), float(r[2]), float(r[3]), float(r[4]), bool(r[5])) for r in rows),
    )
