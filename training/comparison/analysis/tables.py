"""The tables of one setting as rows of values, and their Markdown and CSV forms.

Controllers are rows, best first. Every run that was started is in the accounts of its row, with
what became of it; estimates come from the finished ones.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from dmix.training.comparison.analysis.evidence import Evidence
from dmix.training.comparison.analysis.panel import Panel
from dmix.training.comparison.analysis.statistics import Estimate, Matrix, pareto_front
from dmix.training.comparison.analysis.steps import EarliestStop
from dmix.warehouse_schema.sizes import num_text

# Nats a token that the general objectives may lose in the constrained comparison (method §7).
SLACK = 0.05


@dataclass(frozen=True, kw_only=True)
class Row:
    """A controller in one stage.

    Attributes:
        controller: Its name.
        started: Runs that were started; the sum of the next three.
        done: Runs that finished and were scored.
        failed: Runs that failed, or finished without usable scores.
        running: Runs that have not ended.
        development: Utility on development items.
        confirmation: Utility on confirmation items; None outside the confirmation stage.
        general: Mean raw score of the general objectives, nats per token, on the judged layer.
        general_gain: The same less the base model's.
        target: Mean raw score of the target objectives.
        target_gain: The same less the base model's.
        within_slack: Runs whose general score is at least that of the base less `SLACK`.
        source_tokens: Mean source tokens of a run.
        target_tokens: Mean target tokens of a run.
        proxy_tokens: Tokens of proxy and tuning runs that the controller rests on, as its runs say.
        uses: Finished runs of screening and confirmation that share these proxy tokens.
        on_front: On the Pareto front of source tokens and utility.
        rival: The other controller with the highest utility.
        difference: Utility less that of the rival, over the seeds that both have.
    """

    controller: str
    started: int
    done: int
    failed: int
    running: int
    development: Estimate | None
    confirmation: Estimate | None
    general: float
    general_gain: float
    target: float
    target_gain: float
    within_slack: int
    source_tokens: float
    target_tokens: float
    proxy_tokens: float
    uses: int
    on_front: bool
    rival: str
    difference: Estimate | None

    @property
    def judged(self) -> Estimate | None:
        """Utility on the layer that the stage is judged by."""
        return self.confirmation or self.development


def judged_layer(stage: str) -> str:
    """The items that decide in a stage: confirmation items serve the confirmation alone."""
    return "confirmation" if stage == "confirmation" else "development"


def controller_rows(evidence: Evidence, stage: str) -> list[Row]:
    """One row per controller that the stage has started, best first; those without scores last."""
    runs = evidence.stage(stage)
    panel = evidence.panel(stage, judged_layer(stage))
    scored = panel.best_first() if panel else []
    names = [*scored, *(name for name in dict.fromkeys(runs.controller) if name not in scored)]
    done = evidence.done(stage)
    source = done.groupby("controller").source_tokens.mean()
    front: set[str] = set()
    if panel:
        worth = np.array([np.nanmean(panel.utility_CS[panel.controllers.index(name)]) for name in scored])
        kept = pareto_front(source[scored].to_numpy(float), worth)
        front = {name for name, on_front in zip(scored, kept, strict=True) if on_front}
    return [
        _row(evidence, stage, name, runs=runs[runs.controller == name], scored=scored, on_front=name in front)
        for name in names
    ]


def _row(
    evidence: Evidence, stage: str, name: str, *, runs: pd.DataFrame, scored: Sequence[str], on_front: bool
) -> Row:
    panel = evidence.panel(stage, judged_layer(stage)) if name in scored else None
    development = evidence.panel(stage, "development")
    done = runs[runs.status == "done"]
    usable = int(done.unit_id.isin(panel.units).sum()) if panel else 0
    rival = next((other for other in scored if other != name), "") if panel else ""
    everywhere = evidence.runs[(evidence.runs.controller == name) & (evidence.runs.stage != "headroom")]
    general_gain_S = _of(panel, name, panel.role_CS("general", gain=True)) if panel else np.empty(0)
    return Row(
        controller=name,
        started=len(runs),
        done=usable,
        failed=int((runs.status == "failed").sum()) + len(done) - usable,
        running=int((runs.status == "running").sum()),
        development=development.utility(name) if development and name in development.controllers else None,
        confirmation=panel.utility(name) if panel and stage == "confirmation" else None,
        general=_mean(_of(panel, name, panel.role_CS("general"))) if panel else np.nan,
        general_gain=_mean(general_gain_S),
        target=_mean(_of(panel, name, panel.role_CS("target"))) if panel else np.nan,
        target_gain=_mean(_of(panel, name, panel.role_CS("target", gain=True))) if panel else np.nan,
        within_slack=int((general_gain_S >= -SLACK).sum()),
        source_tokens=_mean(done.source_tokens.to_numpy(float)),
        target_tokens=_mean(done.target_tokens.to_numpy(float)),
        proxy_tokens=float(everywhere.proxy_tokens.fillna(0).max()),
        uses=int((everywhere.status == "done").sum()),
        on_front=on_front,
        rival=rival,
        difference=panel.difference(name, rival) if panel and rival else None,
    )


def _of(panel: Panel, name: str, values_CS: Matrix) -> np.ndarray:
    row_S = values_CS[panel.controllers.index(name)]
    return row_S[np.isfinite(row_S)]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def controller_table(rows: Sequence[Row]) -> str:
    """The main table in Markdown."""
    confirmed = any(row.confirmation for row in rows)
    header = ["controller", "runs", "U development [95%]", *(["U confirmation [95%]"] if confirmed else [])]
    header += ["general (gain)", "target (gain)", "source tokens", "minus the best other [95%]"]
    body = [
        [
            f"`{row.controller}`",
            accounts(row),
            interval(row.development),
            *([interval(row.confirmation)] if confirmed else []),
            f"{number(row.general)} ({number(row.general_gain, sign=True)})",
            f"{number(row.target)} ({number(row.target_gain, sign=True)})",
            count(row.source_tokens),
            f"{interval(row.difference, sign=True)} `{row.rival}`" if row.difference else "–",
        ]
        for row in rows
    ]
    return markdown(header, body)


def slice_table(panel: Panel) -> str:
    """Utility on every slice of the judged items."""
    parts = panel.slices
    header = [
        "controller",
        *(f"{name} ({num_text(part.counted_items, 'item')})" for name, part in parts.items()),
    ]
    body = [
        [f"`{name}`", *(interval(part.utility(name)) for part in parts.values())]
        for name in panel.best_first()
    ]
    return markdown(header, body)


def constraint_table(rows: Sequence[Row]) -> str:
    """Target gain of the controllers that keep the general score, best first, then of the others."""
    scored = [row for row in rows if row.judged]
    kept = sorted(scored, key=lambda row: (row.general_gain < -SLACK, -row.target_gain))
    body = [
        [
            f"`{row.controller}`",
            "yes" if row.general_gain >= -SLACK else "no",
            f"{row.within_slack} of {row.done}",
            number(row.general_gain, sign=True),
            number(row.target_gain, sign=True),
        ]
        for row in kept
    ]
    return markdown(["controller", "kept", "runs that keep it", "general gain", "target gain"], body)


def early_table(stop: EarliestStop) -> str:
    """Utility at the earliest stop."""
    body = [
        [
            f"`{row.controller}`",
            interval(row.utility),
            f"{interval(row.difference, sign=True)} `{row.rival}`" if row.difference else "–",
        ]
        for row in stop.rows
    ]
    return markdown(["controller", "U [95%]", "minus the best other [95%]"], body)


def cost_table(rows: Sequence[Row]) -> str:
    """Tokens of a run with the proxy tokens behind it: charged once, and shared among all uses."""
    body = []
    for row in rows:
        if row.done:
            own = row.source_tokens + row.target_tokens
            body.append(
                [
                    f"`{row.controller}`",
                    count(own),
                    count(row.proxy_tokens),
                    count(own + row.proxy_tokens),
                    f"{count(own + row.proxy_tokens / max(1, row.uses))} ({num_text(row.uses, 'run')})",
                ]
            )
    return markdown(
        [
            "controller",
            "tokens of a run",
            "proxy tokens",
            "run and all proxies",
            "run and its share of the proxies",
        ],
        body,
    )


def to_csv(stages: Iterable[tuple[str, Sequence[Row]]]) -> str:
    """All rows at full precision; an estimate becomes six columns."""
    records = [{"stage": stage, **_flat(row)} for stage, rows in stages for row in rows]
    if not records:
        return ""
    written = io.StringIO()
    writer = csv.DictWriter(written, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return written.getvalue()


def _flat(row: Row) -> dict[str, object]:
    flat: dict[str, object] = {}
    for entry in fields(row):
        value = getattr(row, entry.name)
        if entry.name in ("development", "confirmation", "difference"):
            for part in fields(Estimate):
                flat[f"{entry.name}_{part.name}"] = _plain(getattr(value, part.name)) if value else ""
        else:
            flat[entry.name] = _plain(value)
    return flat


def _plain(value: object) -> object:
    return "" if isinstance(value, float) and not np.isfinite(value) else value


def markdown(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are right-aligned."""
    rules = ["---", *["---:"] * (len(header) - 1)]
    lines = [header, rules, *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def accounts(row: Row) -> str:
    """What became of the runs that were started."""
    lost = [f"{n} {what}" for n, what in ((row.failed, "failed"), (row.running, "running")) if n]
    return f"{row.done} of {row.started}" + (f" ({', '.join(lost)})" if lost else "")


def number(value: float, *, sign: bool = False, digits: int = 3) -> str:
    """Fixed digits with a true minus sign; a dash for what is not known."""
    if not np.isfinite(value):
        return "–"
    written = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return written.replace("-", "−")


def interval(estimate: Estimate | None, *, sign: bool = False) -> str:
    """Value with its interval; the value alone where one seed gives none."""
    if estimate is None:
        return "–"
    value = number(estimate.value, sign=sign)
    if not np.isfinite(estimate.low):
        return f"{value} [one seed]"
    return f"{value} [{number(estimate.low, sign=sign)}, {number(estimate.high, sign=sign)}]"


def count(value: float) -> str:
    """Tokens with a unit, three digits."""
    if not np.isfinite(value):
        return "–"
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"
