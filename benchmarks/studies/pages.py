"""The pages of the studies in Markdown: texts from `text/`, answers and tables from rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from benchmarks.studies.ended import BAD, EITHER, UTILITY, Left
from benchmarks.studies.fidelity import PROBE, SMALL, Agreement, Effects, Summary
from benchmarks.studies.order import CONSTANT, MIXTURES, OTHER_ORDER, SAME_MEAN, SIMPLE, OrderRow, PairsRow
from benchmarks.studies.overfitting import AT_THE_SAME_U, CLASSES, ClassRow, ReaderRow
from benchmarks.studies.rows import WORLDS
from benchmarks.studies.signals import EXTREME_SHARE, SIGNALS
from benchmarks.studies.signatures import CONTROLLERS, MODERATE, SUBSETS, AlarmRow, CarriedRow
from benchmarks.studies.statistics import Interval, markdown, shown

from dmix.warehouse_schema.sizes import num_text

HALF = 0.5
LEAST_RECALL, MOST_FALSE = 0.5, 0.1
"""An alarm is reliable if the interval of its recall lies above the first, and that of its false alarms below
the second. We set this bar after a first look at the results."""

_TEXTS = Path(__file__).with_name("text")
_MAIN = {signal.name: signal.thresholds[0] for signal in SIGNALS}


def signatures_page(
    rows: Sequence[AlarmRow],
    carried: Sequence[CarriedRow],
    controllers: Mapping[tuple[str, str], tuple[int, int, int]],
    left: Sequence[Left],
) -> str:
    """Failure signatures."""
    half = [row for row in rows if row.fraction == HALF]
    return _text(
        "failure-signatures",
        answer=signatures_answer(rows),
        bad=f"{BAD:g}",
        recall=f"{LEAST_RECALL:g}",
        false=f"{MOST_FALSE:g}",
        extreme=f"{EXTREME_SHARE:g}",
        alarms=_alarms(half, CONTROLLERS),
        signals="\n".join(f"- *{signal.name}*: {signal.meaning}." for signal in SIGNALS),
        moderate=_alarms([row for row in half if row.threshold == _MAIN[row.signal]], MODERATE),
        groups=_by_group(half),
        fractions=_by_fraction(rows),
        carried=_carried(carried),
        controllers=markdown(
            ["setting", "controller", "runs", "bad in U", "bad in U or general scores"],
            [
                [group, f"`{name}`", str(runs), str(utility), str(either)]
                for (group, name), (utility, either, runs) in controllers.items()
            ],
        ),
        left="\n".join(f"- {num_text(one.runs, 'run')}: {one.reason}." for one in left),
    )


def signatures_answer(rows: Sequence[AlarmRow]) -> str:
    """The answer in a few sentences: by the definition fixed in advance, then for U alone."""
    half = [row for row in rows if row.fraction == HALF and row.bad]
    both, own, beyond = (
        [row for row in half if (row.runs, row.end) == key]
        for key in ((CONTROLLERS, EITHER), (CONTROLLERS, UTILITY), (MODERATE, UTILITY))
    )
    sentences = ["**No alarm is reliable.**" if not _reliable(both) else "**Some alarms are reliable.**"]
    if both:
        best = _best(both)
        sentences.append(
            f"In the first half of controllers' runs, the best alarm is *{best.signal}*: it precedes"
            f" {_hits(best)}."
        )
    if reliable := _reliable(own):
        listed = ", and ".join(
            f"*{row.signal}* above {row.threshold:g} precedes {_hits(row)}" for row in reliable
        )
        sentences.append(f"If only bad ends in U count, some alarms are reliable: {listed}.")
        if not _reliable(beyond):
            sentences.append(
                "None is reliable in runs whose target share stays at"
                f" {EXTREME_SHARE:g} or below, so a look at the mixture does as well."
            )
    elif own:
        sentences.append("If only bad ends in U count, none is reliable, either.")
    if own and (best := _best(own)) not in reliable:
        sentences.append(f"In U, *{best.signal}* finds most: it precedes {_hits(best)}.")
    silent = [row for row in own if row.threshold == _MAIN[row.signal] and not row.hits and row.alarms]
    sentences += [
        f"*{row.signal}* precedes no bad end in U, and {num_text(row.alarms, 'good end')}." for row in silent
    ]
    return " ".join(sentences)


def _best(rows: Sequence[AlarmRow]) -> AlarmRow:
    """The alarm with the largest recall minus false alarms, at main thresholds."""
    main = [row for row in rows if row.threshold == _MAIN[row.signal]]
    return max(main, key=lambda row: row.recall - row.false_alarm)


def overfitting_page(
    classes: Sequence[ClassRow], readers: Sequence[ReaderRow], *, without: Sequence[ReaderRow]
) -> str:
    """Reward over-fitting; `without` has the comparisons without `aqua`."""
    head = ["setting", "comparison", "controllers or worlds", "difference of the excess gap, U [95%]"]
    even = [row for row in without if AT_THE_SAME_U in row.comparison]
    return _text(
        "overfitting",
        answer=overfitting_answer(readers),
        classes="\n".join(f"- *{kind}*: {words}." for kind, words in CLASSES.items()),
        same=AT_THE_SAME_U,
        readers=markdown(head, [_reader_line(row) for row in readers]),
        without=markdown(head, [_reader_line(row) for row in even]),
        gains=markdown(
            [
                "setting",
                "class",
                "runs",
                "controllers or worlds",
                "U, items that are read",
                "U, items that nobody reads",
                "excess gap [95%]",
            ],
            [
                [
                    row.group,
                    row.kind,
                    str(row.runs),
                    str(row.units),
                    _signed(row.feedback),
                    _signed(row.judged),
                    shown(Interval(row.excess, row.excess_low, row.excess_high), 3, sign=True),
                ]
                for row in classes
            ],
        ),
    )


def overfitting_answer(readers: Sequence[ReaderRow]) -> str:
    """The answer in a few sentences."""
    means = [row for row in readers if row.group.startswith("mean of")]
    worlds = [row for row in readers if row.group == WORLDS]
    first = (
        "**Controllers gain more on the items that they read.**"
        if any(row.low > 0 for row in (*means, *worlds))
        else "**No over-fitting shows: controllers that read items gain no more on them, within noise, than"
        " mixtures that read nothing.**"
    )
    sentences = [
        f"*{row.comparison}*: the difference is {_difference(row)} in U ({row.group})." for row in means
    ]
    sentences += [f"In {row.readers} worlds, {row.comparison} is {_difference(row)}." for row in worlds]
    highest = max((row.high for row in (*means, *worlds)), default=0.0)
    sentences.append(f"The intervals do not exclude differences up to {highest:.2f}.")
    return " ".join([first, *sentences])


def order_page(rows: Sequence[OrderRow], pairs: Sequence[PairsRow]) -> str:
    """Order."""
    total = sum(row.pairs for row in pairs)
    return _text(
        "order",
        answer=order_answer(rows),
        mixtures="\n".join(f"- *{name}*: {words}." for name, words in MIXTURES.items()),
        rows=markdown(
            [
                "setting",
                "outcome",
                "mean mixture",
                "runs",
                "slope [95%]",
                "movement [95%]",
                "R², mean mixture",
                "R², with order",
            ],
            [
                [
                    r.setting,
                    r.outcome,
                    r.mixture,
                    f"{r.runs} ({num_text(r.schedules, 'schedule')})",
                    shown(Interval(r.slope, r.slope_low, r.slope_high), sign=True),
                    shown(Interval(r.movement, r.movement_low, r.movement_high), sign=True),
                    f"{r.predicted_mean:.2f}",
                    f"{r.predicted:.2f}",
                ]
                for r in rows
            ],
        ),
        pairs_sentence=(
            f"In {num_text(total, 'pair')} of these runs, the mean mixtures are the same (total variation"
            f" below {SAME_MEAN:g}) and the steps are not (above {OTHER_ORDER:g} on average)."
        ),
        pairs=markdown(
            ["setting", "pairs", "runs", "earlier ahead", "mean lead, U"],
            [
                [p.setting, str(p.pairs), str(p.runs), str(p.earlier_ahead), _signed(p.difference)]
                for p in pairs
            ],
        ),
        constant=f"{CONSTANT:g}",
    )


def order_answer(rows: Sequence[OrderRow]) -> str:
    """The answer in a few sentences."""
    utility = [row for row in rows if (row.outcome, row.mixture) == (UTILITY, SIMPLE)]
    (mean,) = [row for row in utility if row.setting.startswith("mean of")]
    own = [row for row in utility if row is not mean]
    below = sum(row.slope_high < 0 for row in own)
    if mean.slope_high < 0:
        first = "**Order matters, but much less than the mixture: target text late in a run costs U.**"
    elif mean.slope_low > 0:
        first = "**Order matters, but much less than the mixture: target text early in a run costs U.**"
    else:
        first = "**Order shows no effect beyond the mixture.**"
    half = Interval(mean.slope / 2, mean.slope_low / 2, mean.slope_high / 2)
    return (
        f"{first} If the target share rises by 0.5 from the first step to the last, at the same mean"
        f" mixture, U changes by {shown(half, sign=True)} (mean of {len(own)} settings; the interval of the"
        f" setting is below 0 in {below}). In runs that the fit leaves out, the mean mixture predicts"
        f" {mean.predicted_mean:.0%} of the variance of U, and {mean.predicted:.0%} together with the order."
    )


def fidelity_page(summaries: Sequence[Summary], rows: Sequence[Agreement], effects: Sequence[Effects]) -> str:
    """Fidelity."""
    probes = [e for e in effects if e.estimator == PROBE]
    return _text(
        "fidelity",
        answer=fidelity_answer(summaries),
        prices=", ".join(f"{e.price:.1f} in `{e.text}`" for e in probes),
        summaries=markdown(
            [
                "first",
                "second",
                "text",
                "objectives",
                "rank correlation, median (range)",
                "linear, median",
                "agree",
                "against",
                "agree, linear",
                "undefined",
            ],
            [
                [
                    s.first,
                    s.second,
                    s.text,
                    str(s.objectives),
                    f"{s.median:.2f} ({s.least:.2f} to {s.most:.2f})".replace("-", "−"),
                    f"{s.pearson:.2f}".replace("-", "−"),
                    str(s.agree),
                    str(s.against),
                    str(s.linear),
                    str(s.undefined),
                ]
                for s in summaries
            ],
        ),
        rows=markdown(
            ["first", "second", "text", "objective", "domains", "rank correlation [95%]", "linear [95%]"],
            [
                [
                    r.first,
                    r.second,
                    r.text,
                    f"`{r.objective}`",
                    str(r.domains),
                    shown(Interval(r.spearman, r.spearman_low, r.spearman_high)),
                    shown(Interval(r.pearson, r.pearson_low, r.pearson_high)),
                ]
                for r in rows
            ],
        ),
    )


def fidelity_answer(summaries: Sequence[Summary]) -> str:
    """The answer in a few sentences."""
    probed = [s for s in summaries if s.second == f"{PROBE} {SMALL}" and s.first == "counts"]
    crossed = [s for s in summaries if s.text == "math, real model" and s.second.startswith("gradient")]
    agree, total = sum(s.agree for s in crossed), sum(s.objectives for s in crossed)
    words = "agree only in part" if agree < total else "agree"
    ranks = ", ".join(f"{s.median:.2f} in `{s.text}`" for s in probed)
    lines = ", ".join(f"{s.pearson:.2f}" for s in probed)
    sizes = ", ".join(f"{s.first} in {s.agree} ({s.linear})" for s in crossed)
    return (
        f"**Effects of single domains {words} between estimators and between model sizes; large effects"
        f" agree best.** Counts and probes of the 0.37M model have a median rank correlation of {ranks}, and"
        f" a median linear correlation of {lines}. Against gradients of the 135M model, the rank correlation"
        f" (the linear one) is above 0 beyond noise in so many of {max(s.objectives for s in crossed)}"
        f" objectives: {sizes}."
    )


def index_page(answers: Mapping[str, tuple[str, str]]) -> str:
    """The list of studies: title and answer by file."""
    parts = ["# Studies of the third round", "Each study reads stored runs. None of them trains anything."]
    parts += [f"## {title}\n\n{answer} [The study]({file})" for file, (title, answer) in answers.items()]
    parts.append("`python -m benchmarks.studies` makes all pages and CSV files again.")
    return "\n\n".join(parts) + "\n"


def _text(name: str, **parts: str) -> str:
    return (_TEXTS / f"{name}.md").read_text(encoding="utf-8").format(**parts)


def _reliable(rows: Sequence[AlarmRow]) -> list[AlarmRow]:
    return [r for r in rows if r.recall_low >= LEAST_RECALL and r.false_alarm_high <= MOST_FALSE]


def _hits(row: AlarmRow) -> str:
    return (
        f"{row.hits} of {row.bad} bad ends and {row.alarms - row.hits} of {row.watched - row.bad} good ones"
    )


def _alarms(half: Sequence[AlarmRow], runs: str) -> str:
    lines = []
    for row in half:
        if (row.runs, row.end) != (runs, UTILITY) or not row.watched:
            continue
        key = (row.runs, row.signal, row.threshold)
        (either,) = [r for r in half if (r.runs, r.signal, r.threshold) == key and r.end == EITHER]
        main = row.threshold == _MAIN[row.signal]
        lines.append(
            [
                row.signal,
                f"**{row.threshold:g}**" if main else f"{row.threshold:g}",
                f"{row.bad} of {row.watched}",
                str(row.alarms),
                _proportion(row, "recall"),
                _proportion(row, "false_alarm"),
                _proportion(row, "precision"),
                f"{row.hit_controllers} of {row.bad_controllers}",
                _rate(row.first_alarm),
                _proportion(either, "recall"),
                _proportion(either, "false_alarm"),
            ]
        )
    head = ["signal", "threshold", "bad in U", "alarms", "recall", "false alarms", "precision", "controllers"]
    return markdown([*head, "first", "recall, both", "false alarms, both"], lines)


def _proportion(row: AlarmRow, name: str) -> str:
    return shown(Interval(*(getattr(row, f"{name}{end}") for end in ("", "_low", "_high"))))


def _by_group(half: Sequence[AlarmRow]) -> str:
    own = [r for r in half if r.end == UTILITY and r.threshold == _MAIN[r.signal] and r.runs not in SUBSETS]
    groups = list(dict.fromkeys(r.runs for r in own))
    lines = []
    for signal, threshold in _MAIN.items():
        cells = {r.runs: r for r in own if r.signal == signal}
        lines.append(
            [
                signal,
                f"{threshold:g}",
                *(
                    f"{r.hits} of {r.bad}; {r.alarms - r.hits} of {r.watched - r.bad}" if r.watched else "–"
                    for r in (cells[group] for group in groups if group in cells)
                ),
            ]
        )
    return markdown(["signal", "threshold", *groups], lines)


def _by_fraction(rows: Sequence[AlarmRow]) -> str:
    own = [r for r in rows if (r.runs, r.end) == (CONTROLLERS, UTILITY) and r.threshold == _MAIN[r.signal]]
    fractions = sorted({r.fraction for r in own})
    lines = []
    for signal in _MAIN:
        by = {r.fraction: r for r in own if r.signal == signal}
        if any(r.hits for r in by.values()):
            cells = [f"{_rate(by[f].recall)}; {_rate(by[f].false_alarm)}" for f in fractions]
            lines.append([signal, *cells])
    return markdown(["signal", *(f"by {f:g}" for f in fractions)], lines)


def _carried(rows: Sequence[CarriedRow]) -> str:
    head = ["signal", "left out", "threshold", "bad in U", "recall", "false alarms"]
    lines = [
        [
            c.signal,
            c.group,
            f"{c.threshold:g}",
            f"{c.bad} of {c.watched}",
            *(_rate(v) for v in (c.recall, c.false_alarm, c.other_recall, c.other_false_alarm)),
        ]
        for c in rows
        if c.end == UTILITY
    ]
    return markdown([*head, "recall, others", "false alarms, others"], lines)


def _reader_line(row: ReaderRow) -> list[str]:
    counts = str(row.readers) if row.readers == row.others else f"{row.readers} and {row.others}"
    return [row.group, row.comparison, counts, _difference(row)]


def _difference(row: ReaderRow) -> str:
    return shown(Interval(row.difference, row.low, row.high), 3, sign=True)


def _rate(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
