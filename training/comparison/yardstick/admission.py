"""Which objectives a setting may be judged by, from its yardstick: `yardstick.csv` and `yardstick.md`.

Both layers of items are analysed; an objective is admitted if it passes on the items that judge. Weights
give each field a half, and within a field a half to objectives whose corpus is no domain of the run.
Shapes: M mixtures, B base models, S seeds.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.training.comparison.data.settings import ComparisonObjective, ComparisonSettings
from dmix.training.comparison.data.tiers import Tier
from dmix.training.comparison.yardstick.variance import (
    THRESHOLD,
    components,
    reliability_bound,
    scale,
)
from dmix.warehouse_schema.sizes import num_text

Row = dict[str, Any]

JUDGING = "confirmation"


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What the yardstick says about an objective on a layer of items.

    Attributes:
        objective: Its name.
        layer: The layer.
        role: `general` or `target`.
        kind: Form of its items.
        origin: `out` if no training text comes from where its items come from.
        items: Items.
        mixtures: Mixtures whose runs are all done.
        base: Standard deviation of base models, in nats.
        mixture: Of mixtures.
        interaction: Of base x mixture.
        seed: Of seeds.
        scale: s_o, in nats.
        reliability: mixture / (mixture + interaction + seed), of variances.
        bound: Its 5% quantile over bootstrap draws of mixtures.
        admitted: Whether it reaches the threshold on the items that judge.
        weight: Lambda among the admitted.
    """

    objective: str
    layer: str
    role: str
    kind: str
    origin: str
    items: int
    mixtures: int
    base: float
    mixture: float
    interaction: float
    seed: float
    scale: float
    reliability: float
    bound: float
    admitted: bool
    weight: float


def admissions(
    settings: ComparisonSettings, tier: Tier, tables: Mapping[str, Sequence[Row]]
) -> list[Admission]:
    """Every objective on every layer, in the order of the setting; empty before two mixtures are complete.

    Args:
        settings: Names objectives and layers.
        tier: Says how many seeds and base models a mixture has.
        tables: `runs` and `items` of the results.
    """
    grids, rows = _grids(tier, tables), []
    for objective in settings.objectives:
        for layer in settings.layers_of(objective):
            grid = grids.get((layer, objective.name))
            if grid is not None:
                rows.append((objective, layer, grid))
    passed = {
        objective.name
        for objective, layer, grid in rows
        if layer == JUDGING and components(grid).reliability >= THRESHOLD
    }
    weights = field_weights([o for o in settings.objectives if o.name in passed])
    return [
        _admission(o, layer, grid, items=settings.items_of(o), passed=passed, weights=weights)
        for o, layer, grid in rows
    ]


def _admission(
    objective: ComparisonObjective,
    layer: str,
    grid_MBS: NDArray[np.float64],
    *,
    items: int,
    passed: set[str],
    weights: Mapping[str, float],
) -> Admission:
    parts = components(grid_MBS)
    return Admission(
        objective=objective.name,
        layer=layer,
        role=objective.role,
        kind=objective.kind,
        origin=objective.origin,
        items=items,
        mixtures=len(grid_MBS),
        **{name: float(np.sqrt(value)) for name, value in asdict(parts).items()},
        scale=scale(grid_MBS),
        reliability=parts.reliability,
        bound=reliability_bound(grid_MBS, rng=np.random.default_rng(0)),
        admitted=objective.name in passed,
        weight=weights.get(objective.name, 0.0),
    )


def field_weights(objectives: Sequence[ComparisonObjective]) -> dict[str, float]:
    """Lambda: a half for each field; within it a half for external objectives, equal among each other.

    Where a field has objectives of one sort alone, they have its whole weight.
    """
    roles = {objective.role for objective in objectives}
    found: dict[str, float] = {}
    for role in roles:
        own = [objective for objective in objectives if objective.role == role]
        sorts = {o.origin for o in own}
        for objective in own:
            alike = sum(o.origin == objective.origin for o in own)
            found[objective.name] = 1.0 / (len(roles) * len(sorts) * alike)
    return found


def _grids(tier: Tier, tables: Mapping[str, Sequence[Row]]) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Mean item scores by (layer, objective), shape (M, B, S), of the mixtures that are complete."""
    cells = {
        row["unit_id"]: (row["controller"], row["base"], row["seed"])
        for row in tables["runs"]
        if row["part"] == "tilt" and row["status"] == "done"
    }
    sums: dict[tuple[str, str, tuple[str, int, int]], list[float]] = defaultdict(list)
    for row in tables["items"]:
        if row["unit_id"] in cells:
            sums[row["layer"], row["objective"], cells[row["unit_id"]]].append(row["score"])
    names = sorted({name for name, _, _ in cells.values()})
    seeds = sorted({seed for _, _, seed in cells.values()})
    bases = range(tier.tilt_bases)
    there = set(cells.values())
    if len(seeds) < tier.tilt_seeds:
        return {}
    whole = [name for name in names if all((name, b, s) in there for b in bases for s in seeds)]
    keys = {(layer, objective) for layer, objective, _ in sums}
    return {
        (layer, objective): np.array(
            [
                [[float(np.mean(sums[layer, objective, (name, b, s)])) for s in seeds] for b in bases]
                for name in whole
            ]
        )
        for layer, objective in keys
        if len(whole) >= 2
    }


_COLUMNS = (
    "objective",
    "items",
    "role",
    "kind",
    "from outside",
    "mixture",
    "base × mixture",
    "seed",
    "reliability",
    "bound",
    "scale",
    "admitted",
    "weight",
)


def admission_page(settings: ComparisonSettings, tier: Tier, found: Sequence[Admission]) -> str:
    """The admissions in Markdown."""
    judged = [a for a in found if a.layer == JUDGING]
    state = "" if judged[0].mixtures == tier.tilts else "Provisional, until all mixtures are done. "
    refused = ", ".join(f"`{a.objective}`" for a in judged if not a.admitted)
    lines = [
        f"# Yardstick of `{settings.name}`",
        "",
        f"{state}The yardstick admits {sum(a.admitted for a in judged)} of "
        f"{num_text(len(judged), 'objective')} and refuses {refused or 'none'}. It runs mixtures at the "
        f"natural target share; {judged[0].mixtures} of {tier.tilts} are done. Each mixture has "
        f"{num_text(tier.tilt_seeds, 'seed')} and {num_text(tier.tilt_bases, 'base model')}."
        f" The yardstick admits an objective if the mixture explains at least {THRESHOLD:.0%} of the variance"
        " of its scores within base models, on the judging items (layer `confirmation`).",
        "",
        "The columns *mixture*, *base × mixture* and *seed* are standard deviations of the score by these"
        " causes. They are in nats per token, or per item for multiple choice. *Reliability* is the share of"
        " the variance that the mixture explains. *Bound* is its 5% quantile over bootstrap draws of"
        " mixtures. *Weight* is the weight (lambda) in the utility.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|" + "---|" * len(_COLUMNS),
        *(f"| {' | '.join(_cells(a))} |" for a in found),
    ]
    return "\n".join(lines) + "\n"


def _cells(a: Admission) -> list[str]:
    numbers = (a.mixture, a.interaction, a.seed)
    return [
        f"`{a.objective}`",
        f"{a.items} ({a.layer})",
        a.role,
        a.kind,
        "yes" if a.origin == "out" else "no",
        *(f"{value:.3f}" for value in numbers),
        f"{a.reliability:.2f}",
        f"{a.bound:.2f}",
        f"{a.scale:.3f}",
        "yes" if a.admitted else "no",
        f"{a.weight:.3f}",
    ]
