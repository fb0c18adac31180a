"""The words of a page, derived from its numbers by rule.

A controller is ahead where the 95% interval of its difference lies above 0, behind where it lies
below, and ties where it holds 0. The one hypothesis of a setting is the agent against the best
other controller of screening; it alone has its p adjusted over settings. Every other comparison is
told with its interval and decides nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dmix.training.comparison.analysis.evidence import Evidence
from dmix.training.comparison.analysis.panel import Panel
from dmix.training.comparison.analysis.selection import Headroom
from dmix.training.comparison.analysis.statistics import Estimate, pair_noise
from dmix.training.comparison.analysis.tables import SLACK, Row, count, interval, judged_layer, number
from dmix.warehouse_schema.sizes import num_text

# Names under which the trained agent runs, where setting.json does not say which controller it is.
AGENT_NAMES = ("agent:rl", "rl")
# Kinds of items by the name of their slice, as a noun.
_ITEMS = {
    "without near-duplicates": "items without near-duplicates of training text",
    "in origin": "items whose origin is in the training text",
    "out of origin": "items of other origins",
}
WORDS = {
    "above": "is ahead of",
    "below": "is behind",
    "tie": "ties with",
    "unknown": "is not yet comparable with",
}


@dataclass(frozen=True)
class Hypothesis:
    """What the confirmation decides.

    Attributes:
        agent: The trained agent's controller.
        rival: The best other controller of screening.
    """

    agent: str
    rival: str


def hypothesis(evidence: Evidence) -> Hypothesis | None:
    """The pair that setting.json names, or else the agent against the best other of screening.

    None before screening has scored an agent and another controller.
    """
    named = evidence.facts.get("hypothesis")
    if named:
        return Hypothesis(named["agent"], named["rival"])
    panel = evidence.panel("screening", judged_layer("screening"))
    if panel is None:
        return None
    order = panel.best_first()
    agents = [name for name in order if name in AGENT_NAMES]
    others = [name for name in order if name not in AGENT_NAMES]
    return Hypothesis(agents[0], others[0]) if agents and others else None


def decisive_difference(evidence: Evidence, pair: Hypothesis | None) -> Estimate | None:
    """The difference that decides, on confirmation items; None before both have confirmation runs."""
    panel = evidence.panel("confirmation", "confirmation")
    if pair is None or panel is None or not {pair.agent, pair.rival} <= set(panel.controllers):
        return None
    return panel.difference(pair.agent, pair.rival)


def stage_words(
    evidence: Evidence, stage: str, *, rows: Sequence[Row], pair: Hypothesis | None, adjusted_p: float
) -> list[str]:
    """Sentences about a stage with scored runs, the most important one first.

    Args:
        evidence: The setting.
        stage: `screening` or `confirmation`.
        rows: Of `controller_rows`, best first.
        pair: What the confirmation decides.
        adjusted_p: Holm's p of this setting; NaN before its confirmation.
    """
    panel = evidence.panel(stage, judged_layer(stage))
    if panel is None:
        return ["No run has been scored yet."]
    said = []
    if stage == "confirmation" and pair:
        said.append(_decision(panel, pair, adjusted_p=adjusted_p))
    elif stage == "screening":
        said.append(
            f"`{rows[0].controller}` has the highest mean utility on development items. The screening only"
            " chooses the pair of the confirmation."
        )
    agent = pair.agent if pair and pair.agent in panel.controllers else None
    if agent:
        said.append(_against_all(panel, agent))
    rival = pair.rival if pair and pair.rival in panel.controllers else None
    if agent and rival:
        said += _other_items(evidence, stage, panel, agent=agent, rival=rival)
    said += _constraint(rows, agent)
    if agent and rival:
        said += _tokens(rows, agent=agent, rival=rival)
    noise = pair_noise(panel.utility_CS)
    if np.isfinite(noise):
        said.append(
            "From seed to seed, the difference in utility of two controllers has a standard deviation of"
            f" {number(noise)}."
        )
    return said


def headroom_words(study: Headroom) -> list[str]:
    """Sentences about the headroom study."""
    said = []
    for best in study.best:
        kind = "static mixtures" if best.kind == "static" else "schedules (open-loop mixtures)"
        text = (
            f"The best of {len(best.found)} {kind} ({best.started} started) is `{best.name}`. In the run that"
            f" selected it, its U is {number(best.selected)}."
        )
        if best.fresh:
            text += (
                f" On {best.fresh.seeds} fresh seeds, its U is {interval(best.fresh)}. So the selection added"
                f" {number(best.curse, sign=True)}."
            )
        else:
            text += " This number is too high, because there are no runs on fresh seeds yet."
        said.append(text)
        if best.over_natural:
            against = f"Its gain over natural mixing is {interval(best.over_natural, sign=True)}"
            if study.noise > 0:
                times = abs(best.over_natural.value) / study.noise
                against += f". This is {number(times, digits=1)} times the noise of a difference"
            said.append(against + ".")
    if len(study.natural_S):
        said.append(
            f"Natural mixing has a mean U of {number(study.natural_S.mean())} over"
            f" {num_text(len(study.natural_S), 'run')}."
        )
    if np.isfinite(study.noise):
        how = "on shared seeds" if study.paired else "√2 times that of natural mixing"
        said.append(
            "The noise is the standard deviation from seed to seed of the difference of two mixtures:"
            f" {number(study.noise)} ({how})."
        )
    return said


def _decision(panel: Panel, pair: Hypothesis, *, adjusted_p: float) -> str:
    missing = [name for name in (pair.agent, pair.rival) if name not in panel.controllers]
    if missing:
        return (
            f"The hypothesis is `{pair.agent}` against `{pair.rival}`; `{missing[0]}` has no scored run yet."
        )
    found = panel.difference(pair.agent, pair.rival)
    text = (
        f"**`{pair.agent}` {WORDS[found.verdict]} `{pair.rival}`**, the best other controller of the"
        f" screening. The difference in utility is {interval(found, sign=True)}, over"
        f" {num_text(found.seeds, 'paired run')} and {num_text(found.items, 'item')}."
    )
    if not np.isfinite(found.p):
        return f"{text} One pair of runs gives no interval."
    text += f" For this difference, p = {_p(found.p)}"
    if not np.isfinite(adjusted_p):
        return f"{text}."
    text += f"; p = {_p(adjusted_p)} after Holm's correction over the settings."
    if found.verdict != "tie" and adjusted_p >= 0.05:
        text += " After the correction, p is no longer below 0.05, so this setting shows no difference."
    return text


def _against_all(panel: Panel, agent: str) -> str:
    groups: dict[str, list[str]] = {}
    for other in panel.best_first():
        if other != agent:
            groups.setdefault(panel.difference(agent, other).verdict, []).append(f"`{other}`")
    told = [f"{WORDS[verdict]} {', '.join(groups[verdict])}" for verdict in WORDS if verdict in groups]
    if not told:
        return f"`{agent}` is the only controller with scored runs."
    return f"By the 95% interval of each difference, `{agent}` {'; '.join(told)}."


def _other_items(evidence: Evidence, stage: str, panel: Panel, *, agent: str, rival: str) -> list[str]:
    """Whether the verdict against the rival holds on other items."""
    verdict = panel.difference(agent, rival).verdict
    parts = {name: part for name, part in panel.slices.items() if part is not panel}
    development = evidence.panel(stage, "development")
    if stage == "confirmation" and development:
        parts["development items"] = development
    said = []
    for name, part in parts.items():
        if {agent, rival} <= set(part.controllers):
            found = part.difference(agent, rival)
            same = "the same" if found.verdict == verdict else "different"
            said.append(
                f"On {_ITEMS.get(name, name)}, the verdict is {same}: `{agent}` {WORDS[found.verdict]}"
                f" `{rival}` ({interval(found, sign=True)})."
            )
    return said


def _constraint(rows: Sequence[Row], agent: str | None) -> list[str]:
    scored = [row for row in rows if row.judged]
    kept = [row for row in scored if row.general_gain >= -SLACK]
    if not kept:
        return [f"Under every controller, the general score falls by more than {SLACK} nats per token."]
    best = max(kept, key=lambda row: row.target_gain)
    said = (
        f"{len(kept)} of {len(scored)} controllers keep the general score within {SLACK} nats per token of"
        f" the base model's score. Among them, `{best.controller}` gains most on the target"
        f" ({number(best.target_gain, sign=True)} nats per token)"
    )
    if agent and agent != best.controller:
        own = next(row for row in rows if row.controller == agent)
        state = "is among them, too" if own in kept else "is not among them"
        said += f". `{agent}` {state}; it gains {number(own.target_gain, sign=True)}"
    return [said + "."]


def _tokens(rows: Sequence[Row], *, agent: str, rival: str) -> list[str]:
    own, other = (next(row for row in rows if row.controller == name) for name in (agent, rival))
    if not other.source_tokens:
        return []
    change = own.source_tokens / other.source_tokens - 1
    amount = (
        "as many as" if abs(change) < 0.005 else f"{abs(change):.0%} {'fewer' if change < 0 else 'more'} than"
    )
    return [
        f"`{agent}` reads {count(own.source_tokens)} source tokens per run, {amount} `{rival}`. `{agent}`"
        f" {'is' if own.on_front else 'is not'} on the Pareto front of source tokens and utility."
    ]


def _p(value: float) -> str:
    return f"{value:.2g}"
