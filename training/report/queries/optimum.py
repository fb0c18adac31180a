"""RegMix's optimum, which drawings of mixtures show beside what a run did.

It is taken from a run under `regmix`, which asked for nothing else, or from the fit that is kept
beside a set of trajectories since such a run was planned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dmix.mixing.regression.fits import newest_fit
from dmix.mixing.trajectories.store import read_set
from dmix.training.report.queries.reader import Pair, Reader, records
from dmix.warehouse_schema.files.layout import Warehouse


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The one mixture that a regression over static runs found best.

    Attributes:
        name: The controller, for example `regmix:farm`.
        origin: Where it was found, for readers.
        weights: By (field, domain); they sum to 1.
    """

    name: str
    origin: str
    weights: Mapping[Pair, float]


def regmix_optima(catalog: Reader, warehouse: Warehouse, *, datasets: Sequence[str]) -> dict[str, Optimum]:
    """RegMix's optimum of each dataset that has one; the newest one where there are several."""
    found = {}
    for dataset in datasets:
        optimum = _of_a_run(catalog, dataset) or _of_a_set(catalog, warehouse, dataset)
        if optimum is not None:
            found[dataset] = optimum
    return found


def _of_a_run(catalog: Reader, dataset: str) -> Optimum | None:
    rows = records(
        catalog,
        "SELECT run_id, controller, field, domain, asked_weight FROM mixture JOIN runs USING (run_id)"
        " WHERE dataset = ? AND (controller = 'regmix' OR controller LIKE 'regmix:%')"
        " QUALIFY dense_rank() OVER (ORDER BY started_at DESC, run_id, step) = 1",
        [dataset],
    )
    if not rows:
        return None
    weights = {(row["field"], row["domain"]): float(row["asked_weight"]) for row in rows}
    return Optimum(name=rows[0]["controller"], origin=f"run {rows[0]['run_id']}", weights=weights)


def _of_a_set(catalog: Reader, warehouse: Warehouse, dataset: str) -> Optimum | None:
    _, rows = catalog.query(
        "SELECT DISTINCT set_name FROM trajectories WHERE dataset = ? ORDER BY set_name", [dataset]
    )
    for (set_name,) in rows:
        mixture = newest_fit(warehouse, set_name, kind="regmix")
        if mixture is not None:
            pairs = read_set(warehouse, set_name).space
            weights = dict(zip(pairs, mixture, strict=True))
            return Optimum(name=f"regmix:{set_name}", origin=f"fit of set {set_name}", weights=weights)
    return None
