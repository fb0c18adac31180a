"""The parts of the page about effects: which text helps what, and what plans promised and got."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from dmix.training.report.figures import effect_figures
from dmix.training.report.page import tables
from dmix.training.report.page.parts import Section, note, panel_box
from dmix.training.report.page.templates import joined
from dmix.training.report.queries.effects import EffectFacts
from dmix.training.report.queries.judged import comparable
from dmix.training.report.queries.run_facts import Run

NO_NATURAL = (
    "The plan's gain over natural mixing is unknown, because there is no finished run of natural mixing with "
    "the same settings. To train one, run 'dmix train --controller natural' with the same options."
)


def effects_section(found: EffectFacts) -> Section:
    """Heat map of one estimate, and how much of each objective is noise."""
    prefix = f"effects-{found.name}"
    panel = effect_figures.effects(found, panel_id=f"{prefix}-map")
    facts = {
        "Estimator": found.estimator,
        "Dataset": found.dataset,
        "Model": found.model or None,
        "Domains": len(found.pairs),
    }
    rows = [
        (name, role, f"{signal:.3f}", f"{noise:.3f}", f"{reliability:.0%}", "yes" if telling else "no")
        for name, (role, signal, noise, reliability, telling) in zip(
            found.objectives, found.reliability, strict=True
        )
    ]
    columns = ("objective", "role", "signal", "noise", "reliability", "beyond noise")
    parts: list[Any] = [
        tables.pairs_list(facts),
        panel_box(panel),
        tables.table(columns, rows, caption="Signal and noise of each objective, nats per token"),
    ]
    return Section(anchor=prefix, title=f"Effects {found.name}", content=joined(parts), panels=(panel,))


def promise_parts(run: Run, pool: Sequence[Run]) -> list[Any]:
    """What the plan of a run promised, beside what it got; [] for runs without a plan.

    Args:
        run: The run.
        pool: Runs of the warehouse that it may be compared with.
    """
    promise = run.config.get("promise")
    if not isinstance(promise, Mapping) or not run.scores:
        return []
    natural = _natural_like(run, pool)
    gained = [_gains(other) for other in natural]
    rows: list[tuple[Any, ...]] = []
    for name, promised in promise.get("objectives", {}).items():
        got = _gains(run).get(name)
        base = [gains[name] for gains in gained if name in gains]
        over = None if got is None or not base else got - sum(base) / len(base)
        gain, error = float(promised["gain"]), float(promised["stderr"])
        rows.append((name, f"{gain:+.3f} ± {1.96 * error:.3f}", _signed(over), _signed(got)))
    columns = ("objective", "predicted over natural", "measured over natural", "measured since the start")
    made: list[Any] = [
        _promise_table(columns, rows),
        note(
            f"{promise.get('note', '')} The 95% interval covers only the random choice of items. The "
            "estimator itself may be wrong about this model."
        ),
    ]
    if natural:
        made.append(note(f"Compared with {', '.join(other.run_id for other in natural)}."))
    else:
        made.append(note(NO_NATURAL))
    return made


def _promise_table(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Markup:
    return tables.table(columns, rows, caption="Predicted and measured gain, nats per token")


def _natural_like(run: Run, pool: Sequence[Run]) -> list[Run]:
    """Finished runs of natural mixing on the terms of a run."""
    return [
        other
        for other in comparable(run, pool)
        if other.controller == "natural" and other.status == "done" and other.scores
    ]


def _gains(run: Run) -> dict[str, float]:
    return {name: points[-1][1] - points[0][1] for name, points in run.scores.items() if points}


def _signed(value: float | None) -> str | None:
    return None if value is None else f"{value:+.3f}"
