"""`effects.csv` and `effects.md`: how well each estimator ranks fresh mixtures."""

from collections.abc import Sequence

import numpy as np

from dmix.training.comparison.data.settings import ComparisonSettings
from dmix.training.comparison.effects.judgement import FEEDBACK, JUDGING, UTILITY, Judged

# Least |rank correlation| of twelve pairs that chance alone gives in one case of twenty.
_TWELVE = 0.59


def judged_page(settings: ComparisonSettings, found: Sequence[Judged], *, planned: int) -> str:
    """How well each estimator ranks fresh mixtures, in Markdown, with a table of the estimators first."""
    first = found[0]
    state = "" if first.mixtures == planned else f"Provisional, {first.mixtures} of {planned} mixtures: "
    lines = [
        f"# Effects of `{settings.name}`: promised and real",
        "",
        f"{state}{first.mixtures} fresh mixtures, one run each, and {first.natural_runs} runs of natural"
        " mixing. Each estimator promises a gain over natural mixing; the table shows Spearman's rank"
        " correlation with the real gain on the items that judge, which no estimator saw. With twelve"
        f" mixtures, chance alone exceeds ±{_TWELVE} in one case of twenty.",
    ]
    for base in sorted({row.base for row in found}):
        rows = [row for row in found if row.base == base]
        lines += ["", f"## Base model {base}", "", *_estimators(rows), "", *_objectives(rows)]
    return "\n".join(lines) + "\n"


def _estimators(rows: Sequence[Judged]) -> list[str]:
    lines = [
        "Mean over objectives with weight. *Slope* is the real gain of U for each promised unit; *price*"
        " counts runs of the comparison.",
        "",
        "| estimator | U | U, items it saw | objectives | slope | price |",
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
        "*Noise* is the standard deviation of natural runs, *spread* that of the mixtures' real gains, in"
        " nats per token (for choices per item).",
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
