"""Runs that can be compared: as groups of seeds, by the items of `dmix eval`, and with natural mixing.

A verdict on a run needs the noise between seeds. It comes from all comparable runs of the warehouse,
whichever a page or a command shows, so that the same run never gets two verdicts.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmix.training.evaluation.judging import (
    Change,
    Items,
    Judged,
    change_of,
    judged_changes,
    scale_of,
    seen_items,
    stored_items,
    with_noise,
)
from dmix.training.evaluation.natural import MEAN, Difference, paired_differences
from dmix.training.evaluation.verdicts import Group, Verdict, noise_between_seeds, objective_noise, verdict
from dmix.training.report.queries import series
from dmix.training.report.queries.reader import Reader
from dmix.training.report.queries.run_facts import Run, read_outcomes
from dmix.training.report.queries.seeds import configuration
from dmix.warehouse_schema.files.layout import Warehouse

# Comparable runs that a verdict takes the noise between seeds from, the newest ones.
MOST_COMPARED = 50
# What two runs must share besides their dataset for their models to be comparable at all.
_SIZES = ("model", "steps", "step_samples", "batch_size")
# Settings of training that change what a model learns from the same samples.
_LEARNING = (
    *("learning_rate", "betas", "epsilon", "weight_decay", "gradient_clip", "schedule", "warmup"),
    *("final_rate", "lora", "reset_at_documents"),
)


@dataclass(frozen=True, kw_only=True)
class FromNatural:
    """A run and the run of natural mixing that it is compared with.

    Attributes:
        run_id: The run.
        natural: The run of natural mixing.
        same_seed: Whether both have the same seed.
        other_settings: Settings of training that differ and change what a model learns.
        differences: By objective, the mean last; empty where one of them lacks scores of its last model.
    """

    run_id: str
    natural: Run
    same_seed: bool
    other_settings: tuple[str, ...]
    differences: tuple[Difference, ...]

    @property
    def who(self) -> str:
        """The run of natural mixing and how it differs, in words."""
        other = f", another {', '.join(self.other_settings)}" if self.other_settings else ""
        return f"run {self.natural.run_id}, {'same' if self.same_seed else 'another'} seed{other}"

    @property
    def sentence(self) -> str:
        """All differences in a sentence; empty without differences."""
        if not self.differences:
            return ""
        told = "; ".join(f"{one.text}, {one.word}" for one in self.differences)
        return f"Difference from natural mixing ({self.who}) on the same items: {told}."

    @property
    def speaking(self) -> Difference:
        """The mean of the objectives, or the only one."""
        return self.differences[-1]


def terms(run: Run) -> str:
    """What two runs must share for their utilities to be comparable."""
    return _terms(run.dataset, run.config, (*_SIZES, "environment"))


def _terms(dataset: str, config: Mapping[str, Any], names: Sequence[str] = _SIZES) -> str:
    return json.dumps([dataset, *(config.get(name) for name in names)], sort_keys=True, default=str)


def with_comparable(catalog: Reader, runs: Sequence[Run]) -> list[Run]:
    """The runs, and the finished runs of the warehouse of the same dataset, model and sizes, newest first.

    Base models and proxies are no such runs. At most `MOST_COMPARED` of the same sizes. The others are read
    without their mixtures and events.
    """
    wanted = {_terms(run.dataset, run.config) for run in runs}
    shown = {run.run_id for run in runs}
    counts = dict.fromkeys(wanted, 0)
    others: list[str] = []
    for dataset in dict.fromkeys(run.dataset for run in runs):
        _, rows = catalog.query(
            "SELECT run_id, config::VARCHAR FROM runs WHERE dataset = ? AND status = 'done'"
            " AND kind NOT IN ('base', 'proxy') ORDER BY started_at DESC NULLS LAST, run_id",
            [dataset],
        )
        for run_id, written in rows:
            config = json.loads(written or "{}")
            of = _terms(dataset, config if isinstance(config, dict) else {})
            if of in wanted and run_id not in shown and counts[of] < MOST_COMPARED:
                counts[of] += 1
                others.append(run_id)
    return [*runs, *read_outcomes(catalog, others)]


def comparable(run: Run, pool: Sequence[Run]) -> list[Run]:
    """Those of `pool` that a run can be compared with, itself included."""
    return [other for other in pool if terms(other) == terms(run)]


def run_verdicts(run: Run, role: str, pool: Sequence[Run]) -> dict[str, Verdict]:
    """Verdicts on a run's objectives of a role, by the noise between the seeds of comparable runs."""
    environment = series.environment_of(run.config)
    if environment is None:
        return {}
    groups = groups_of(comparable(run, pool))
    found = {}
    scores = series.final_scores(run)
    for objective, scale in zip(environment.objectives, environment.scales_D.tolist(), strict=True):
        change = scores[objective.name].change if objective.name in scores else None
        if objective.role == role and change is not None:
            noise = objective_noise(groups, objective.name)
            found[objective.name] = verdict(change, role=role, scale=scale, noise=noise)
    return found


def run_judged(warehouse: Warehouse, run: Run, pool: Sequence[Run]) -> list[Judged]:
    """Changes of a run on the items that its controller did not see, by the noise of comparable runs."""
    among = {other.run_id: other for other in comparable(run, pool) if other.status == "done"}
    groups = _repeated(among.values())
    judged = {
        run_id: judged_changes(warehouse, run_id, environment=series.environment_of(among[run_id].config))
        for of in groups
        for run_id in of
    }
    judged[run.run_id] = judged_changes(warehouse, run.run_id, environment=series.environment_of(run.config))
    return with_noise(judged, groups)[run.run_id]


def judged_items(
    warehouse: Warehouse,
    run: Run,
    pool: Sequence[Run],
    *,
    items: Items,
    steps: tuple[int, int],
    change: Change,
    role: str,
    scale: float | None,
) -> Judged:
    """The change of an objective of an evaluation between two steps, by the noise of comparable runs.

    If the controller of the run sees the items, scale and noise are those of the scores during runs, as in
    the verdict on the run itself.

    Args:
        warehouse: Where the runs are.
        run: The run.
        pool: Runs of the warehouse, those of `with_comparable`.
        items: The items.
        steps: The two steps.
        change: The change between them.
        role: Role of the objective in the environment file of the evaluation.
        scale: s_o in nats per token that this file gives; None where it gives none.
    """
    among = comparable(run, pool)
    environment = series.environment_of(run.config)
    seen = seen_items(warehouse, run.run_id, environment).get(items.sha256)
    first, last = steps
    if seen is not None and first == 0:
        noise = objective_noise(groups_of(among), seen)
    else:
        groups = _repeated(other for other in among if other.status == "done")
        changes: dict[str, float] = {}
        for run_id in (run_id for of in groups for run_id in of):
            stored = stored_items(warehouse, run_id).get(items, {})
            if first in stored and last in stored:
                changes[run_id] = change_of(stored[first].scores, stored[last].scores).change
        noise = noise_between_seeds(
            [[changes[run_id] for run_id in of if run_id in changes] for of in groups]
        )
    return Judged(
        items=items,
        role=role,
        step=last,
        change=change,
        scale=scale_of(seen or items.name, environment, given=scale),
        noise=noise,
    )


def natural_of(run: Run, pool: Sequence[Run]) -> Run | None:
    """The finished run of natural mixing to compare a run with: of the same seed, else the newest.

    It has the same dataset, model and sizes; of several, one with the same settings of training comes first.
    Its environment may be another one, since the items of `dmix eval` are others anyway. None for runs of
    natural mixing themselves, and where there is none.
    """
    found = [
        other
        for other in pool
        if other.controller == "natural"
        and other.status == "done"
        and _terms(other.dataset, other.config) == _terms(run.dataset, run.config)
    ]
    if run.controller == "natural" or not found:
        return None

    def likeness(other: Run) -> tuple[bool, bool, str, str]:
        return not _other_settings(run, other), _seed(other) == _seed(run), other.started_at, other.run_id

    return max(found, key=likeness)


def _other_settings(run: Run, other: Run) -> tuple[str, ...]:
    ours, theirs = (one.config.get("training") or {} for one in (run, other))
    return tuple(name for name in _LEARNING if ours.get(name) != theirs.get(name))


def from_natural(
    warehouse: Warehouse, run: Run, pool: Sequence[Run], *, only: Collection[Items] | None = None
) -> FromNatural | None:
    """How the last model of a run differs from that of natural mixing, item by item; None without such a run.

    The scores are those that `dmix eval` keeps of items that the controller did not see.

    Args:
        warehouse: Where the runs are.
        run: The run.
        pool: Runs of the warehouse, those of `with_comparable`.
        only: Items to compare on; all by default.
    """
    natural = natural_of(run, pool)
    if natural is None:
        return None
    own, theirs = last_items(warehouse, run), last_items(warehouse, natural)
    names = _names(
        {items: len(own[items]) for items in own if items in theirs and (only is None or items in only)}
    )
    shared = list(names)
    differences = paired_differences(
        {names[items]: own[items] for items in shared},
        {names[items]: theirs[items] for items in shared},
        noise=_score_noise(warehouse, [run, natural, *comparable(run, pool)], names),
    )
    return FromNatural(
        run_id=run.run_id,
        natural=natural,
        same_seed=_seed(natural) == _seed(run),
        other_settings=_other_settings(run, natural),
        differences=tuple(differences),
    )


def seen_digests(warehouse: Warehouse, run: Run) -> set[str]:
    """Digests of the items that the controller of a run sees."""
    return set(seen_items(warehouse, run.run_id, series.environment_of(run.config)))


def last_items(warehouse: Warehouse, run: Run) -> dict[Items, tuple[float, ...]]:
    """Item scores of the last model of a run on items that its controller did not see."""
    stored, last = stored_items(warehouse, run.run_id), run.steps_done
    seen = seen_digests(warehouse, run) if stored else set()  # reads the whole event log
    return {
        items: steps[last].scores
        for items, steps in stored.items()
        if last in steps and items.sha256 not in seen
    }


def _names(counts: Mapping[Items, int]) -> dict[Items, str]:
    """A name for the items of each task: its objective, or the whole task where two have the same objective.

    Args:
        counts: Number of items; of a task that was scored with several limits, the most items count.
    """
    widest: dict[str, Items] = {}
    for items in sorted(counts, key=lambda items: counts[items]):
        widest[items.task] = items
    chosen = [items for items in counts if widest[items.task] is items]
    names = [one.name for one in chosen]
    return {one: one.name if names.count(one.name) == 1 else one.task for one in chosen}


def _score_noise(
    warehouse: Warehouse, among: Sequence[Run], names: Mapping[Items, str]
) -> dict[str, float | None]:
    """Standard deviation between seeds of a last model's score by name, and of the mean of all objectives."""
    means: dict[str, dict[str, float]] = {}
    known = {run.run_id: run for run in among if run.status == "done"}
    groups = _repeated(known.values())
    for run_id in (run_id for of in groups for run_id in of):
        stored = last_items(warehouse, known[run_id])
        found = {name: float(np.mean(stored[items])) for items, name in names.items() if items in stored}
        if len(found) == len(names) and found:
            found[MEAN] = float(np.mean(list(found.values())))
        means[run_id] = found
    return {
        name: noise_between_seeds([[means[r][name] for r in of if name in means[r]] for of in groups])
        for name in (*names.values(), MEAN)
    }


def _repeated(runs: Iterable[Run]) -> list[list[str]]:
    """Ids of runs that differ in nothing but their seeds, a list for each configuration that ran twice."""
    members: dict[str, list[str]] = {}
    for run in runs:
        members.setdefault(configuration(run), []).append(run.run_id)
    return [of for of in members.values() if len(of) > 1]


def _seed(run: Run) -> Any:
    return series.setting_of(run.config, "seed")


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """One group for each configuration of the finished, scored runs, in the order of their first runs."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        if run.status == "done" and any(
            score.change is not None for score in series.final_scores(run).values()
        ):
            members.setdefault(configuration(run), []).append(run)
    return [group for of in members.values() if (group := _group(of)) is not None]


def largest_comparison(runs: Sequence[Run]) -> list[Group]:
    """The groups of the terms that most configurations share; of equals, those of the newest run."""
    return _largest(runs)[1]


def noise_groups(runs: Sequence[Run], pool: Sequence[Run]) -> list[Group]:
    """The groups of `pool` on the terms of `largest_comparison`."""
    of, _ = _largest(runs)
    return groups_of([run for run in pool if terms(run) == of])


def _largest(runs: Sequence[Run]) -> tuple[str, list[Group]]:
    by_terms: dict[str, list[Run]] = {}
    for run in runs:
        by_terms.setdefault(terms(run), []).append(run)
    found = [(name, groups_of(of)) for name, of in by_terms.items()]
    return max(reversed(found), key=lambda one: len(one[1]), default=("", []))


def _group(runs: Sequence[Run]) -> Group | None:
    environment = series.environment_of(runs[0].config)
    if environment is None:
        return None
    utilities = [series.final_utility(run) for run in runs]
    changes = {
        name: tuple(
            score.change
            for run in runs
            if (score := series.final_scores(run).get(name)) and score.change is not None
        )
        for name in environment.names
    }
    return Group(
        controller=runs[0].controller,
        guided=runs[0].leads,
        utilities=tuple(value for value in utilities if value is not None),
        changes=changes,
        roles=dict(zip(environment.names, environment.roles, strict=True)),
        scales=dict(zip(environment.names, environment.scales_D.tolist(), strict=True)),
    )
