"""`effects.csv` and `effects.md`: how well each estimator ranks fresh mixtures."""

from collections.abc import Sequence

import numpy as np

from dmix.training.comparison.data.settings import ComparisonSettings
from dmix.training.comparison.effects.judgement import FEEDBACK, JUDGING, UTILITY, Judged
from dmix.warehouse_schema.sizes import num_text

_CHANCE, _DRAWS = 0.05, 20_000


def judged_page(
    settings: ComparisonSettings, found: Sequence[Judged], *, planned: int, admitted: bool = True
) -> str:
    """How well each estimator ranks fresh mixtures, in Markdown, with a table of the estimators first.

    Args:
        settings: Of the setting.
        found: At least one row.
        planned: Fresh mixtures when all are done.
        admitted: Weights and scales come from the yardstick.
    """
    first = found[0]
    state = "" if first.mixtures == planned else f"Provisional, {first.mixtures} of {planned} mixtures. "
    chance = chance_level(first.mixtures)
    lines = [
        f"# Effects in `{settings.name}`: predicted and measured gains",
        "",
        f"{state}Each estimator of effects predicts the gain of {first.mixtures} fresh mixtures over natural"
        " mixing. One run of each mixture measures the gain, against"
        f" {num_text(first.natural_runs, 'run')} of natural mixing. The tables show Spearman's rank "
        "correlation of predicted and measured gains on the judging items, which no estimator saw."
        + (
            f" {first.mixtures} mixtures are too few to distinguish any correlation from chance."
            if chance is None
            else f" With {first.mixtures} mixtures, chance alone exceeds ±{chance:.2f} in 1 of 20 cases."
        ),
    ]
    if not admitted:
        lines += [
            "",
            "The yardstick is not run, or admits no objective. So all objectives have weight in the utility"
            " U. Their scales are the standard deviations over these fresh mixtures.",
        ]
    for base in sorted({row.base for row in found}):
        rows = [row for row in found if row.base == base]
        lines += ["", f"## Base model {base}", "", *_estimators(rows), "", *_objectives(rows)]
    return "\n".join(lines) + "\n"


def chance_level(pairs: int) -> float | None:
    """|Rank correlation| that chance alone exceeds in one case of twenty; None where even 1 is commoner.

    From random orders with a fixed seed: within 0.01 of the exact value.
    """
    if pairs < 2:
        return None
    straight_K = np.arange(pairs)
    drawn_JK = np.random.default_rng(0).permuted(np.tile(straight_K, (_DRAWS, 1)), axis=1)
    found_J = 1 - 6 * ((drawn_JK - straight_K) ** 2).sum(1) / (pairs * (pairs**2 - 1))
    level = float(np.quantile(np.abs(found_J), 1 - _CHANCE, method="higher"))
    return level if level < 1 else None


def _estimators(rows: Sequence[Judged]) -> list[str]:
    lines = [
        "*U* is the correlation for the utility, *objectives* the mean correlation over the objectives with"
        " weight. *Slope* is the measured gain of U per unit of predicted gain. *Price* is the cost in runs"
        " of the comparison.",
        "",
        "| estimator | U | U, on items that it saw | objectives | slope | price |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row.estimator for row in rows):
        own = {(row.layer, row.objective): row for row in rows if row.estimator == name}
        judged = own[JUDGING, UTILITY]
        weighted = [
            row.spearman
            for (layer, objective), row in own.items()
            if layer == JUDGING and objective != UTILITY and row.weight > 0
        ]
        lines.append(
            f"| {name} | {judged.spearman:.2f} | {own[FEEDBACK, UTILITY].spearman:.2f} |"
            f" {np.mean(weighted):.2f} | {judged.slope:.2f} | {judged.run_equivalents:.1f} |"
        )
    return lines


def _objectives(rows: Sequence[Judged]) -> list[str]:
    judged = [row for row in rows if row.layer == JUDGING]
    names = list(dict.fromkeys(row.estimator for row in judged))
    lines = [
        "*Noise* is the standard deviation of the runs of natural mixing. *Spread* is the standard deviation"
        " of the mixtures' measured gains. Both are in nats per token, or per item for multiple choice. The"
        " other columns are the correlations of the estimators.",
        "",
        f"| objective | weight | noise | spread | {' | '.join(names)} |",
        "|---|---|---|---|" + "---|" * len(names),
    ]
    for objective in dict.fromkeys(row.objective for row in judged):
        own = {row.estimator: row for row in judged if row.objective == objective}
        first = own[names[0]]
        label = UTILITY if objective == UTILITY else f"`{objective}`"
        cells = " | ".join(f"{own[name].spearman:.2f}" for name in names)
        lines.append(f"| {label} | {first.weight:.3f} | {first.noise:.3f} | {first.spread:.3f} | {cells} |")
    return lines
