"""What a reader wants to know first: what each run did, whether its model forgot, and what to do next."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from markupsafe import Markup

from dmix.training.evaluation.judging import Judged, judged_changes, judged_sentence
from dmix.training.evaluation.verdicts import RULE, Verdict, headline, objective_noise, overall, verdict
from dmix.training.report.page.run_tables import steps_text
from dmix.training.report.page.tables import table
from dmix.training.report.page.templates import joined, part
from dmix.training.report.queries import again, series
from dmix.training.report.queries.judged import groups_of, largest_comparison, terms
from dmix.training.report.queries.run_facts import Run
from dmix.training.report.queries.seeds import seed_groups
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.taxonomy import FIELDS

# Passes over a domain beyond which more of them teach little (arXiv 2305.16264).
MANY_PASSES = 4
# Runs of a controller below which the seed alone may decide between two of them.
_ENOUGH_RUNS = 3
_ROLES = ("target", "general")


@dataclass(frozen=True)
class Advice:
    """What to do next.

    Attributes:
        reason: Why, a sentence.
        command: What to type; capital letters stand for a file of the user. Empty if
            there is no such command.
    """

    reason: str
    command: str


def glance(runs: Sequence[Run], *, warehouse: Path, corpora: Mapping[str, str]) -> Markup:
    """The answer in a sentence, a table with a row per run, and a list of what to do next."""
    advice = next_steps(runs, warehouse=warehouse, corpora=corpora)
    of_eval = {run.run_id: on_other_items(run, warehouse) for run in runs}
    answer = answer_text(runs, of_eval)
    parts = [part("headline", text=answer)] if answer else []
    parts += [glance_table(runs, of_eval), part("note", text=RULE)]
    return joined(parts + ([part("next_steps", advice=advice)] if advice else []))


def on_other_items(run: Run, warehouse: Path) -> list[Judged]:
    """Changes of a run on the items of `dmix eval` that its controller did not see."""
    environment = series.environment_of(run.config)
    objectives = [vars(objective) for objective in environment.objectives] if environment else []
    return judged_changes(Warehouse(warehouse), run.run_id, objectives=objectives)


def answer_text(runs: Sequence[Run], of_eval: Mapping[str, Sequence[Judged]]) -> str:
    """The answer in a few sentences: by the items that no controller saw, where they were scored."""
    guided_first = sorted(runs, key=lambda run: not run.leads)
    told = judged_sentence({run.run_id: of_eval[run.run_id] for run in guided_first})
    compared = largest_comparison(runs)
    members = sum(max((len(of) for of in group.changes.values()), default=0) for group in compared)
    by_feedback = headline(compared, alone=members >= len(runs), with_changes=not told)
    if told and len(compared) > 1:
        by_feedback = f"By the items that the controller sees: {by_feedback}"
    elif by_feedback and not told:
        by_feedback = f"Preliminary, by the items that the controller sees: {by_feedback}"
    return f"{told} {by_feedback}".strip()


def glance_table(runs: Sequence[Run], of_eval: Mapping[str, Sequence[Judged]]) -> Markup:
    """What each run mixed, what became of the objectives of either role, and what stepped in."""
    on_others = any(of_eval.values())
    rows = [
        [
            _run_cell(run),
            *([_other_items(of_eval.get(run.run_id, ()))] if on_others else []),
            *(_changes(judged(run, role, runs)) for role in _ROLES),
            part("line", text=mixed(run)),
            ", ".join(f"{count:,} × {kind}" for kind, count in interventions(run).items()),
        ]
        for run in runs
    ]
    columns = ["run", *(["items that no controller saw"] if on_others else [])]
    columns += ["target objectives", "general objectives", "target share", "stepped in"]
    return table(
        columns,
        rows,
        caption="Summary. Changes are in nats per token since step 0. Target and general objectives: on the "
        "items that the controller sees. Delivered target share: first step → last step (mean)",
        cards=True,
    )


def _run_cell(run: Run) -> Markup:
    """The run, and how far it came if it has fewer steps than planned."""
    planned = series.setting_of(run.config, "steps")
    short = isinstance(planned, int) and series.steps_done(run) < planned
    link = part("run_link", run_id=run.run_id)
    return joined([link, part("line", text=f" {steps_text(run)} steps")]) if short else link


def _other_items(found: Sequence[Judged]) -> Markup:
    return joined([part("line", text=f"{one.text} ({one.word}) ") for one in found])


def judged(run: Run, role: str, runs: Sequence[Run]) -> dict[str, Verdict]:
    """Verdicts on a run's objectives of a role, by the noise between the seeds of comparable runs."""
    environment = series.environment_of(run.config)
    if environment is None:
        return {}
    comparable = groups_of([other for other in runs if terms(other) == terms(run)])
    scales = dict(zip(environment.names, environment.scales_D.tolist(), strict=True))
    return {
        name: verdict(change, role=role, scale=scales[name], noise=objective_noise(comparable, name))
        for name, change in changes(run, role).items()
    }


def mixed(run: Run) -> str:
    """Share of the target in the first and the last delivered step, and in all of them."""
    delivered = series.shares(run, "delivered")
    if not len(delivered.steps_T):
        return "nothing yet"
    target_T = delivered.by_field(run.pairs)[:, FIELDS.index("target")]
    return f"{target_T[0]:.0%} → {target_T[-1]:.0%} ({target_T.mean():.0%})"


def changes(run: Run, role: str) -> dict[str, float]:
    """Change of the objectives of a role since step 0, in nats per token."""
    environment = series.environment_of(run.config)
    roles = {o.name: o.role for o in environment.objectives} if environment else {}
    return {
        name: score.change
        for name, score in series.final_scores(run).items()
        if roles.get(name) == role and score.change is not None
    }


def interventions(run: Run) -> Counter[str]:
    """How often something stepped in, by kind."""
    kinds = (
        event.kind for event in run.events if event.step is not None and event.kind not in series.PLAIN_MARKS
    )
    return Counter(kind.replace("_", " ") for kind in kinds)


def next_steps(
    runs: Sequence[Run], *, warehouse: Path, corpora: Mapping[str, str] = MappingProxyType({})
) -> list[Advice]:
    """What the runs ask for, most urgent first.

    Args:
        runs: The runs of the page.
        warehouse: Root of their warehouse.
        corpora: Name of the pair of corpora of each dataset, as `dmix etl classify --name` takes it.
    """
    return [
        *_broken_off(runs, warehouse),
        *_beaten(runs, warehouse),
        *_forgetful(runs, warehouse),
        *_repetitive(runs, warehouse, corpora),
        *_not_comparable([run for run in runs if run.kind != "base"], warehouse),
        *_unjudged(runs, warehouse),
    ]


def _command(warehouse: Path, *words: str) -> str:
    return shlex.join(["dmix", *words, "--warehouse", str(warehouse)])


def _broken_off(runs: Sequence[Run], warehouse: Path) -> Iterator[Advice]:
    for run in runs:
        if run.status in ("stale", "stopped", "failed"):
            yield Advice(
                f"Run {run.run_id} ended before its last step.",
                _command(warehouse, "train", "--run", run.run_id, "--resume"),
            )


def _beaten(runs: Sequence[Run], warehouse: Path) -> Iterator[Advice]:
    """Agents whose mean utility is below that of another controller, in runs of the same size and start."""
    utilities: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        utility = series.final_utility(run)
        if run.status == "done" and utility is not None:
            utilities.setdefault(terms(run), {}).setdefault(run.controller, []).append(utility)
    for by_controller in utilities.values():
        means = {controller: float(np.mean(found)) for controller, found in by_controller.items()}
        best = max(means, key=lambda controller: means[controller])
        for controller, mean in means.items():
            if controller.startswith("agent:") and mean < means[best] and not best.startswith("agent:"):
                fewest = min(len(by_controller[name]) for name in (best, controller))
                caveat = "" if fewest >= _ENOUGH_RUNS else ", but so few runs prove little"
                said = (
                    f"The mean utility is {means[best]:+.2f} with {best} and {mean:+.2f} with "
                    f"{controller}. The agent is not better{caveat}."
                )
                yield _expected(said, next(run for run in runs if run.controller == controller), warehouse)


def _expected(said: str, run: Run, warehouse: Path) -> Advice:
    """The advice to judge the agent of a run by the set that guards it; without such a set, no command."""
    set_name = str(run.config.get("guard") or "").partition(":")[0]
    if not set_name:
        return Advice(said, "")
    agent = run.controller.partition(":")[2]
    return Advice(
        f"{said} Compare the agent's expected utility from its farm, and count its steps outside "
        "the farm's range:",
        _command(warehouse, "agent", "evaluate", "--set", set_name, "--agent", agent),
    )


def _forgetful(runs: Sequence[Run], warehouse: Path) -> Iterator[Advice]:
    lost = {}
    for run in runs:
        found = overall(judged(run, "general", runs))
        if run.kind == "guided" and found and found[1].grade <= -2:
            lost[run.run_id] = (found[0], found[1].change)
    if lost:
        listed = ", ".join(f"{run_id} ({name} {change:+.2f})" for run_id, (name, change) in lost.items())
        first = next(run for run in runs if run.run_id in lost)
        name = again.free_name("half-source", [run.run_id for run in runs])
        yield Advice(
            f"With the agent, the model forgot: {listed}. Increase the weight of the general objectives "
            "in the environment file, then train the agent again. Or use a fixed share of the source:",
            again.like(first, warehouse=warehouse, name=name, controller="source-share:0.5"),
        )


def _repetitive(runs: Sequence[Run], warehouse: Path, corpora: Mapping[str, str]) -> Iterator[Advice]:
    for run in runs:
        passes_N = np.nan_to_num(run.passes_TN).max(axis=0, initial=0.0)
        if len(passes_N) and passes_N.max() > MANY_PASSES:
            field, domain = run.pairs[int(passes_N.argmax())]
            text = domain.replace("_", " ")
            pair = ["--name", corpora[run.dataset]] if run.dataset in corpora else []
            yield Advice(
                f"Run {run.run_id} read its {field} text of domain {text} {passes_N.max():.1f} times. "
                f"After {MANY_PASSES} passes, a text teaches little. Add more such text (MORE_TEXT is "
                "its folder):",
                _command(warehouse, "etl", "classify", f"--{field}", "MORE_TEXT", *pair, "--add"),
            )
            return


def _not_comparable(runs: Sequence[Run], warehouse: Path) -> Iterator[Advice]:
    guided = [run for run in runs if run.leads]
    taken = [run.run_id for run in runs]
    if guided and not any(run.controller == "natural" for run in runs):
        name = again.free_name("natural", taken)
        yield Advice(
            f"There is no run to compare with {guided[0].run_id}. Add a run of natural mixing with "
            "the same other flags:",
            again.like(guided[0], warehouse=warehouse, name=name, controller="natural"),
        )
    if runs and not seed_groups(runs):
        run = next(iter(guided), runs[0])
        seed = (series.setting_of(run.config, "seed") or 0) + 1
        name = again.free_name(f"{run.run_id}-seed-{seed}", taken)
        yield Advice(
            "To compare two runs, you need the spread between seeds. Repeat each configuration with "
            "another seed, for example:",
            again.like(run, warehouse=warehouse, name=name, seed=seed),
        )


def _unjudged(runs: Sequence[Run], warehouse: Path) -> Iterator[Advice]:
    done = [run for run in runs if run.status == "done"]
    if done and not any(on_other_items(run, warehouse) for run in runs):
        steps = ["--step", "0", "--step", str(series.steps_done(done[0]))]
        yield Advice(
            "A controller may have used the items of these scores. Score the model on other items, such "
            "as the judging.yaml from 'dmix init':",
            _command(warehouse, "eval", "--run", done[0].run_id, *steps, "--environment", "judging.yaml"),
        )


def _changes(found: Mapping[str, Verdict]) -> Markup | str:
    speaking = overall(found)
    if speaking is None:
        return ""
    listed = [f" {name} {one.change:+.2f}" for name, one in found.items()]
    return part("changes", word=speaking[1].word, kind=speaking[1].colour, lines=listed)
