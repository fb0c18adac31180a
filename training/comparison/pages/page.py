"""The published pages of the comparison: a setting's words, tables and figure, and the overview.

Everything in them is computed from the stored runs by rule, so that writing them again from the
same folder gives the same bytes. A page may be written at any time: it counts the runs that are
done of those that were started, and of those that were planned where `setting.json` says it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dmix.training.comparison.analysis import tables, verdict
from dmix.training.comparison.analysis.evidence import STAGES, Evidence, read_evidence, utility_disagreement
from dmix.training.comparison.analysis.overfitting import overfitting
from dmix.training.comparison.analysis.selection import NATURAL, Headroom, headroom
from dmix.training.comparison.analysis.statistics import Estimate, holm
from dmix.training.comparison.analysis.steps import earliest_stop
from dmix.training.comparison.analysis.tables import (
    Row,
    controller_rows,
    interval,
    judged_layer,
    markdown,
    number,
)
from dmix.training.comparison.analysis.verdict import Hypothesis, decisive_difference, hypothesis
from dmix.training.comparison.data.written_source import written_words
from dmix.training.comparison.pages.figures import setting_figure
from dmix.training.comparison.pages.yardsticks import write_yardsticks
from dmix.training.run.watching.progress import duration
from dmix.warehouse_schema.errors import NotFoundError
from dmix.warehouse_schema.files.layout import publish_bytes, read_json
from dmix.warehouse_schema.sizes import num_text

COMPARED = ("confirmation", "screening")
# Utility that a run stored and utility from its items are float64 sums of the same numbers.
TOLERANCE = 1e-6


def write_page(results: Path, out: Path) -> None:
    """Writes `<setting>.md`, `.svg` and `.csv` for every setting, and `index.md` over them.

    Args:
        results: Folder with a folder a setting, as `dmix bench quality` writes it.
        out: Folder of the pages; made if it is not there.

    Raises:
        NotFoundError: If there is no setting, or a table of one is missing.
        InputError: If runs of one stage were scored on different items.
    """
    folders = sorted(path.parent for path in results.glob("*/setting.json"))
    if not folders:
        raise NotFoundError(f"{results} has no setting; run `dmix bench quality` with this folder first")
    third = [folder for folder in folders if read_json(folder / "setting.json").get("protocol") == 3]
    if third:
        write_yardsticks(third, out)
    folders = [folder for folder in folders if folder not in third]
    if not folders:
        return
    settings = [read_evidence(folder) for folder in folders]
    pairs = [hypothesis(evidence) for evidence in settings]
    decided = [decisive_difference(evidence, pair) for evidence, pair in zip(settings, pairs, strict=True)]
    adjusted = _adjusted(settings, decided)
    out.mkdir(parents=True, exist_ok=True)
    for evidence, pair, p in zip(settings, pairs, adjusted, strict=True):
        rows = {stage: controller_rows(evidence, stage) for stage in COMPARED}
        study = headroom(evidence)
        page = setting_page(evidence, rows=rows, study=study, pair=pair, adjusted_p=p)
        figure = setting_figure(evidence, rows=rows, study=study, pair=pair)
        publish_bytes(out / f"{evidence.name}.md", page.encode())
        publish_bytes(out / f"{evidence.name}.svg", figure.encode())
        publish_bytes(out / f"{evidence.name}.csv", tables.to_csv(rows.items()).encode())
    publish_bytes(out / "index.md", overview(settings, pairs, adjusted).encode())


def _adjusted(settings: Sequence[Evidence], decided: Sequence[Estimate | None]) -> list[float]:
    """p after Holm over the settings that the protocol names; NaN elsewhere and before a confirmation."""
    p_S = np.array([found.p if found else np.nan for found in decided])
    family_S = np.array([evidence.promised for evidence in settings])
    adjusted_S = np.full(len(p_S), np.nan)
    adjusted_S[family_S] = holm(p_S[family_S].tolist())
    return adjusted_S.tolist()


def setting_page(
    evidence: Evidence,
    *,
    rows: Mapping[str, Sequence[Row]],
    study: Headroom | None,
    pair: Hypothesis | None,
    adjusted_p: float,
) -> str:
    """The Markdown page of one setting.

    Args:
        evidence: The setting.
        rows: Of `controller_rows`, by stage.
        study: The headroom study, None before its first run.
        pair: The setting's hypothesis.
        adjusted_p: Its p after Holm; NaN before the confirmation.
    """
    parts = [f"# Comparison: {evidence.name}", *_introduction(evidence)]
    parts.append(f"![Utility of the controllers, Pareto front, steps and headroom]({evidence.name}.svg)")
    for stage in COMPARED:
        if rows[stage]:
            parts += _stage(evidence, stage, rows=rows[stage], pair=pair, adjusted_p=adjusted_p)
    if study:
        parts += ["## Headroom", _list(verdict.headroom_words(study)), *_reruns(study)]
    parts += ["## Runs", _accounts(evidence), *_warnings(evidence), _list(_provenance(evidence))]
    return "\n\n".join(part for part in parts if part) + "\n"


def overview(
    settings: Sequence[Evidence], pairs: Sequence[Hypothesis | None], adjusted: Sequence[float]
) -> str:
    """All settings in one table: the hypothesis of each, and p after Holm over those promised."""
    body = []
    for evidence, pair, p in zip(settings, pairs, adjusted, strict=True):
        found = decisive_difference(evidence, pair)
        waiting = "no confirmation yet" if evidence.promised else "not in the protocol"
        state = waiting if found is None else _short_verdict(found.verdict, p)
        body.append(
            [
                f"[{evidence.name}]({evidence.name}.md)",
                f"`{pair.agent}` − `{pair.rival}`" if pair else "–",
                interval(found, sign=True),
                str(found.seeds) if found else "–",
                f"{found.p:.2g}" if found and np.isfinite(found.p) else "–",
                f"{p:.2g}" if np.isfinite(p) else "–",
                state,
            ]
        )
    header = ["setting", "hypothesis", "difference in U [95%]", "paired runs", "p", "p (Holm)", "verdict"]
    words = (
        "Each setting has one hypothesis: the agent against the best other controller of the screening. The"
        " confirmation tests the hypothesis on new items and seeds. The agent is ahead or behind under two"
        " conditions: the 95% interval of the difference excludes 0, and p is below 0.05 after Holm's"
        f" correction over the {sum(evidence.promised for evidence in settings)} settings that the protocol"
        " names. A setting without a confirmation counts as p = 1."
    )
    return f"# Comparison\n\n{words}\n\n{markdown(header, body)}\n"


def _short_verdict(found: str, adjusted_p: float) -> str:
    if found == "unknown":
        return "one pair of runs"
    if found == "tie" or adjusted_p >= 0.05:
        return "tie"
    return "ahead" if found == "above" else "behind"


def _introduction(evidence: Evidence) -> list[str]:
    roles = {
        role: [o.name for o in evidence.objectives if o.role == role and o.weight]
        for role in ("general", "target")
    }
    measured = "; ".join(f"{role}: {', '.join(names)}" for role, names in roles.items() if names)
    facts = evidence.facts
    size = num_text(len(facts.get("space", ())), "domain")
    if "tier" in facts:
        size += f", tier `{facts['tier']}`"
    return [
        str(facts.get("title", "")),
        f"The setting has {size}. Utility U is the weighted sum of (score − base score) / scale over the"
        f" objectives ({measured}). A score is the mean log-probability of the answers in nats per token."
        " Intervals are 95%, from a bootstrap over seeds and items. Differences are paired by seed and item.",
        # missing where people wrote the text, and in results from before it was kept
        *([written_words(facts["written_source"])] if "written_source" in facts else []),
    ]


def _stage(
    evidence: Evidence, stage: str, *, rows: Sequence[Row], pair: Hypothesis | None, adjusted_p: float
) -> list[str]:
    """One stage: words, main table, and what is told beside it."""
    words = verdict.stage_words(evidence, stage, rows=rows, pair=pair, adjusted_p=adjusted_p)
    parts = [f"## {stage.capitalize()}", _list(words), tables.controller_table(rows)]
    panel = evidence.panel(stage, judged_layer(stage))
    if panel is None:
        return parts
    if len(panel.slices) > 1:
        parts += ["**By kind of item** (U)", tables.slice_table(panel)]
    parts += [
        f"**Controllers that keep the source** (general gain at least −{tables.SLACK} nats per token)",
        tables.constraint_table(rows),
    ]
    parts += ["**Tokens with those of proxy runs, for one run and as a share**", tables.cost_table(rows)]
    stop = earliest_stop(evidence, stage)
    if stop:
        title = f"**When the first run stops** (step {stop.step}, feedback items, bootstrap over seeds alone)"
        parts += [title, tables.early_table(stop)]
    parts += _overfitting(evidence, stage)
    if pair and {pair.agent, pair.rival} <= set(panel.controllers):
        parts += _by_base(evidence, stage, pair)
    return parts


def _overfitting(evidence: Evidence, stage: str) -> list[str]:
    """What each controller gains on feedback items beyond unseen ones, natural mixing taken off."""
    seen, unseen = (evidence.panel(stage, layer) for layer in ("feedback", judged_layer(stage)))
    if seen is None or unseen is None:
        return []
    found = {
        name: overfitting(seen, unseen, controller=name, reference=NATURAL)
        for name in unseen.best_first()
        if name != NATURAL
    }
    body = [[f"`{name}`", interval(excess, sign=True)] for name, excess in found.items() if excess]
    if not body:
        return []
    gap = f"U on feedback items − U on {unseen.layer} items, minus the same difference of natural mixing"
    return [f"**Over-fitting to feedback items** ({gap})", markdown(["controller", "excess [95%]"], body)]


def _by_base(evidence: Evidence, stage: str, pair: Hypothesis) -> list[str]:
    """The hypothesis' difference for each base model, where there are several."""
    panel = evidence.panel(stage, judged_layer(stage))
    bases_S = np.array([base for _, base in panel.pairs]) if panel else np.empty(0)
    if panel is None or len(set(bases_S)) < 2:
        return []
    body = []
    for base in sorted(set(bases_S.tolist())):
        found = panel.at_pairs(bases_S == base).difference(pair.agent, pair.rival)
        body.append([str(base), str(found.seeds), interval(found, sign=True)])
    title = f"**`{pair.agent}` − `{pair.rival}` by base model**"
    return [title, markdown(["base", "paired runs", "difference in U"], body)]


def _reruns(study: Headroom) -> list[str]:
    body = [
        [f"`{name}`", best.kind.replace("_", "-"), number(dict(best.found).get(name, np.nan)), number(value)]
        for best in study.best
        for name, value in sorted(best.again.items(), key=lambda entry: -entry[1])
    ]
    return [markdown(["run again", "kind", "U as found", "U on fresh seeds"], body)] if body else []


def _accounts(evidence: Evidence) -> str:
    """Every started run by stage and state, beside what was planned."""
    planned = evidence.facts.get("planned", {})
    body = []
    for stage in STAGES:
        states = evidence.stage(stage).status.value_counts()
        started = int(states.sum())
        if started or planned.get(stage):
            shown = [str(int(states.get(state, 0))) for state in ("done", "failed", "running")]
            body.append([stage, str(planned.get(stage, "–")), str(started), *shown])
    return markdown(["stage", "planned", "started", "done", "failed", "running"], body)


def _warnings(evidence: Evidence) -> list[str]:
    """What a reader must know before trusting the numbers."""
    said = []
    if evidence.failed_attempts:
        said.append(f"{num_text(evidence.failed_attempts, 'failed attempt', 'were')} made again.")
    for stage in COMPARED:
        layer = judged_layer(stage)
        panel = evidence.panel(stage, layer)
        unscored = len(evidence.done(stage)) - len(panel.units if panel else ())
        if unscored:
            said.append(
                f"{stage.capitalize()}: {num_text(unscored, 'finished run', 'have')} no usable {layer}"
                " scores; they count as failed."
            )
        gap = utility_disagreement(evidence, stage, layer)
        if gap > TOLERANCE:
            said.append(
                f"{stage.capitalize()}: utilities stored with the runs differ from those of their items by"
                f" up to {gap:.2g}; the tables use the items."
            )
    if evidence.facts.get("scales") == "provisional":
        said.append("The scales of the utility are provisional: they change until the farm is complete.")
    if len(_protocols(evidence)) > 1:
        said.append("The confirmation runs name more than one protocol: they are not one confirmation.")
    return [_list([f"**{text}**" for text in said])] if said else []


def _provenance(evidence: Evidence) -> list[str]:
    runs = evidence.runs
    commits = sorted({str(commit)[:12] for commit in runs.commit.dropna() if commit})
    ends = sorted(str(end) for end in runs.finished_at.dropna() if end)
    said = [f"Protocol: {', '.join(f'`{hash_}`' for hash_ in _protocols(evidence)) or 'none yet'}."]
    said.append(f"Commits: {', '.join(f'`{commit}`' for commit in commits) or 'not recorded'}.")
    said.append(f"Machine: {evidence.facts.get('machine', 'not recorded')}.")
    said.append(f"Runs finished from {ends[0]} to {ends[-1]}." if ends else "No run has finished.")
    said.append(f"Computing in the runs of this setting: {duration(float(runs.seconds.fillna(0).sum()))}.")
    return said


def _protocols(evidence: Evidence) -> list[str]:
    """Hashes of the protocols that confirmation runs name, sorted."""
    return sorted({str(hash_) for hash_ in evidence.stage("confirmation").protocol_sha256.dropna() if hash_})


def _list(words: Sequence[str]) -> str:
    return "\n".join(f"- {text}" for text in words)
