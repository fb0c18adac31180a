"""Runs as groups of seeds that can be compared, for verdicts and the sentence on top."""

import json
from collections.abc import Sequence

from dmix.training.evaluation.verdicts import Group
from dmix.training.report.queries import series
from dmix.training.report.queries.run_facts import Run
from dmix.training.report.queries.seeds import configuration


def terms(run: Run) -> str:
    """What two runs must share for their utilities to be comparable."""
    names = ("model", "steps", "step_samples", "batch_size", "environment")
    values = [run.dataset, *(run.config.get(name) for name in names)]
    return json.dumps(values, sort_keys=True, default=str)


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
    by_terms: dict[str, list[Run]] = {}
    for run in runs:
        by_terms.setdefault(terms(run), []).append(run)
    found = [groups_of(of) for of in by_terms.values()]
    return max(reversed(found), key=len, default=[])


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
