"""What a reader wants to know first: what each run did, whether its model forgot, and what to do next."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from markupsafe import Markup

from dmix.training.evaluation.judging import Judged, judged_sentence
from dmix.training.evaluation.natural import RULE as DIFFERENCE_RULE
from dmix.training.evaluation.verdicts import ON_SEEN_ITEMS, RULE, Verdict, headline, overall
from dmix.training.report.page.run_tables import natural_table, steps_text
from dmix.training.report.page.tables import table
from dmix.training.report.page.templates import joined, part
from dmix.training.report.queries import again, series
from dmix.training.report.queries.judged import (
    FromNatural,
    from_natural,
    largest_comparison,
    noise_groups,
    run_judged,
    run_verdicts,
    terms,
)
from dmix.training.report.queries.run_facts import Run
from dmix.training.report.queries.seeds import seed_groups
from dmix.training.report.queries.story import event_words
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.sizes import num_text

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


def glance(
    runs: Sequence[Run], *, warehouse: Path, corpora: Mapping[str, str], pool: Sequence[Run] = ()
) -> Markup:
    """The answer in a sentence, a table with a row per run, and a list of what to do next.

    Args:
        runs: The runs of the page.
        warehouse: Root of their warehouse.
        corpora: Name of the pair of corpora of each dataset.
        pool: The runs and all of the warehouse that they can be compared with; the runs by default.
    """
    pool = pool or runs
    advice = next_steps(runs, warehouse=warehouse, corpora=corpora, pool=pool)
    of_eval = {run.run_id: on_other_items(run, warehouse, pool) for run in runs}
    natural = natural_differences(runs, warehouse, pool)
    answer = answer_text(runs, of_eval, natural, pool)
    parts = [part("headline", text=answer)] if answer else []
    parts += [glance_table(runs, of_eval, pool), part("note", text=RULE)]
    if natural:
        parts += [natural_table(natural), part("note", text=DIFFERENCE_RULE)]
    return joined(parts + ([part("next_steps", advice=advice)] if advice else []))


def on_other_items(run: Run, warehouse: Path, pool: Sequence[Run] = ()) -> list[Judged]:
    """Changes of a run on the items of `dmix eval` that its controller did not see."""
    return run_judged(Warehouse(warehouse), run, pool)


def natural_differences(runs: Sequence[Run], warehouse: Path, pool: Sequence[Run]) -> list[FromNatural]:
    """The runs whose last models can be compared with natural mixing item by item, those steered first."""
    found = (
        from_natural(Warehouse(warehouse), run, pool) for run in sorted(runs, key=lambda run: not run.leads)
    )
    return [one for one in found if one is not None and one.differences]


def answer_text(
    runs: Sequence[Run],
    of_eval: Mapping[str, Sequence[Judged]],
    natural: Sequence[FromNatural] = (),
    pool: Sequence[Run] = (),
) -> str:
    """The answer in a few sentences: by the items that no controller saw, where they were scored."""
    guided_first = sorted(runs, key=lambda run: not run.leads)
    told = judged_sentence({run.run_id: of_eval[run.run_id] for run in guided_first})
    compared = largest_comparison(runs)
    members = sum(max((len(of) for of in group.changes.values()), default=0) for group in compared)
    by_feedback = headline(
        compared,
        others=noise_groups(runs, pool or runs),
        alone=members >= len(pool or runs),
        with_changes=not told,
    )
    if told and len(compared) > 1:
        by_feedback = f"On the items that the controller read during the run: {by_feedback}"
    elif by_feedback and not told:
        by_feedback = f"{by_feedback} {ON_SEEN_ITEMS} 'dmix eval' scores the models on other items."
    over_natural = _over_natural(natural[0]) if natural else ""
    return " ".join(text for text in (told, over_natural, by_feedback) if text)


def _over_natural(found: FromNatural) -> str:
    """The difference of one run from natural mixing, in the mean of its objectives."""
    one = found.speaking
    return (
        f"Run {found.run_id} less natural mixing ({found.who}) on these items: {one.text} nats per token, "
        f"{one.word}."
    )


def glance_table(runs: Sequence[Run], of_eval: Mapping[str, Sequence[Judged]], pool: Sequence[Run]) -> Markup:
    """What became of the objectives of either role in each run, and what it mixed."""
    on_others, changed = any(of_eval.values()), any(series.mixture_events(run) for run in runs)
    rows = [
        [
            _run_cell(run),
            *([_other_items(of_eval.get(run.run_id, ()))] if on_others else []),
            *(_changes(run_verdicts(run, role, pool)) for role in _ROLES),
            part("line", text=mixed(run)),
            *([_interventions(run)] if changed else []),
        ]
        for run in runs
    ]
    columns = ["run", *(["items that no controller saw"] if on_others else [])]
    columns += ["target objectives", "general objectives", "target share"]
    return table(
        [*columns, *(["changes to the mixture"] if changed else [])],
        rows,
        caption="Summary. Changes are in nats per token since step 0. Target and general objectives: on the "
        f"items that the controller read. {series.TARGET_SHARE}",
        cards=True,
    )


def _run_cell(run: Run) -> Markup:
    """The run, and how far it came if it has fewer steps than planned."""
    planned = series.setting_of(run.config, "steps")
    short = isinstance(planned, int) and run.steps_done < planned
    link = part("run_link", run_id=run.run_id)
    return joined([link, part("line", text=f" {steps_text(run)} steps")]) if short else link


def _other_items(found: Sequence[Judged]) -> Markup:
    return joined(
        [part("changes", word=one.word, kind=one.verdict.colour, lines=[f" {one.text} "]) for one in found]
    )


def mixed(run: Run) -> str:
    """The target share of the run, and where it moved, that of the first and the last step."""
    found = series.target_share(run)
    if found is None:
        return "nothing yet"
    whole = f"{found.whole:.0%}"
    return whole if found.constant else f"{whole} ({found.first:.0%} → {found.last:.0%})"


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
    """Number of steps in which something changed the mixture or warned of it, by kind of event."""
    steps = {(event.kind, event.step) for event in series.mixture_events(run)}
    return Counter(kind for kind, _ in sorted(steps))


def _interventions(run: Run) -> Markup | str:
    told = [f"{event_words(kind)}: {num_text(n, 'step')} " for kind, n in interventions(run).items()]
    return joined([part("line", text=text) for text in told])


def next_steps(
    runs: Sequence[Run],
    *,
    warehouse: Path,
    corpora: Mapping[str, str] = MappingProxyType({}),
    pool: Sequence[Run] = (),
) -> list[Advice]:
    """What the runs ask for, most urgent first.

    Args:
        runs: The runs of the page.
        warehouse: Root of their warehouse.
        corpora: Name of the pair of corpora of each dataset, as `dmix etl classify --name` takes it.
        pool: As in `glance`.
    """
    return [
        *_broken_off(runs, warehouse),
        *_beaten(runs, warehouse),
        *_forgetful(runs, warehouse, pool or runs),
        *_repetitive(runs, warehouse, corpora),
        *_not_comparable([run for run in runs if run.kind != "base"], warehouse, pool or runs),
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


def _forgetful(runs: Sequence[Run], warehouse: Path, pool: Sequence[Run]) -> Iterator[Advice]:
    lost = {}
    for run in runs:
        found = overall(run_verdicts(run, "general", pool))
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


def _not_comparable(runs: Sequence[Run], warehouse: Path, pool: Sequence[Run]) -> Iterator[Advice]:
    guided = [run for run in runs if run.leads]
    taken = [run.run_id for run in pool]
    if guided and not any(run.controller == "natural" for run in pool):
        name = again.free_name("natural", taken)
        yield Advice(
            f"There is no run to compare with {guided[0].run_id}. Add a run of natural mixing with "
            "the same other flags:",
            again.like(guided[0], warehouse=warehouse, name=name, controller="natural"),
        )
    if runs and not seed_groups(pool):
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
        steps = ["--step", "0", "--step", str(done[0].steps_done)]
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
