"""Reward over-fitting: gains on the items that controllers read, against gains on items that nobody reads.

The gap of a run is its U on the feedback items less its U on the judging items. Layers differ in
difficulty, so the gap of natural mixing (same setting and base model) is taken off: the excess gap. Runs of
one controller have nearly the same mixtures, so intervals are over controllers; those of worlds are over
worlds. A mixture with more gain may have a larger gap without any reading of scores, so readers are
compared with random mixtures at the same mean of both U (difference against mean: Bland and Altman 1986).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from benchmarks.studies.rows import NATURAL, WORLDS, StudyRun, StudySetting
from benchmarks.studies.statistics import NONE, Interval, least_squares, mean_interval, welch

from dmix.mixing.space.domains import Vector
from dmix.training.comparison.effects.world_plans import AGENT, COUNTS_PLAN, PLAN

FIXED, PLANS, LISTENING, LEARNED = "fixed", "plans", "listening", "learned"
READERS, AT_THE_SAME_U = "readers", "at the same U"
CLASSES = {
    FIXED: "mixtures and schedules that follow from no item: random ones, `naive`, `three-stage`",
    PLANS: "mixtures chosen by the feedback items before the run: `regmix`, `best-static`, the best draws on"
    " fresh seeds, plans from counts",
    LISTENING: "the effect agent, which starts from a plan and reads scores during the run",
    LEARNED: "`rl`, `clone`, `sft` and `dmix-base-1`: trained on scores, and read them during the run",
}
_PLANS = ("regmix", "best-static", "grid", "mixmin", "checked-plan", "probed-plan", COUNTS_PLAN, PLAN)
_LEARNED = ("rl", "clone", "sft")
_LISTENING = (AGENT, "odm", "ado", "aioli", "skill-it")


@dataclass(frozen=True, kw_only=True)
class Gap:
    """One run.

    Attributes:
        group: Its setting, all worlds together.
        setting: Its setting.
        kind: One of `CLASSES`.
        controller: Its name.
        feedback, judged: U on the items that controllers read, and on the others.
        excess: Feedback less judged, less the same of natural mixing.
    """

    group: str
    setting: str
    kind: str
    controller: str
    feedback: float
    judged: float
    excess: float


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """A class of controllers in a group of settings, mean over what the interval is over.

    Attributes:
        group, kind: Which.
        objectives: `all`, or what is left out.
        runs: Runs behind it.
        units: Controllers, or worlds, that the interval is over.
        feedback, judged: Mean U over natural mixing's.
        excess, excess_low, excess_high: Excess gap in U.
    """

    group: str
    kind: str
    objectives: str
    runs: int
    units: int
    feedback: float
    judged: float
    excess: float
    excess_low: float
    excess_high: float


@dataclass(frozen=True, kw_only=True)
class ReaderRow:
    """Excess gap of those who read scores less that of those who do not.

    Attributes:
        group: Group of settings, or a mean over several.
        comparison: What is compared.
        objectives: `all`, or what is left out.
        readers, others: Controllers on both sides; worlds for a paired comparison.
        difference, low, high: In U.
    """

    group: str
    comparison: str
    objectives: str
    readers: int
    others: int
    difference: float
    low: float
    high: float


def kind_of(run: StudyRun) -> str:
    """The class of a run's controller."""
    if run.controller in _LEARNED or run.controller.startswith("agent:"):
        return LEARNED
    if run.controller in _LISTENING:
        return LISTENING
    if run.controller in _PLANS or run.part == "rerun":
        return PLANS
    return FIXED


def gaps(settings: Sequence[StudySetting], *, without: str = "") -> tuple[list[Gap], dict[str, Vector]]:
    """Every run that was scored on both layers, natural mixing and varied proxies left out.

    Args:
        settings: All.
        without: An objective that U leaves out.

    Returns:
        The runs, and the mean U of natural mixing on both layers by setting, shape (2,).
    """
    found, levels = [], {}
    for setting in settings:
        kept_D = np.array([name != without for name in setting.objectives])
        weight_D = np.where(kept_D, setting.weight_D, 0.0)
        value_D = weight_D / weight_D.sum() / setting.scale_D
        natural: dict[int, list[Vector]] = defaultdict(list)
        for run in setting.natural:
            if (both := _both(run, value_D)) is not None:
                natural[run.base].append(both)
        if natural:
            levels[setting.name] = np.mean([u for runs in natural.values() for u in runs], axis=0)
        for run in setting.runs:
            both = _both(run, value_D)
            if run.controller == NATURAL or run.varied or both is None or run.base not in natural:
                continue
            feedback, judged = both - np.mean(natural[run.base], axis=0)
            found.append(
                Gap(
                    group=setting.group,
                    setting=setting.name,
                    kind=kind_of(run),
                    controller=run.controller,
                    feedback=float(feedback),
                    judged=float(judged),
                    excess=float(feedback - judged),
                )
            )
    return found, levels


def class_rows(found: Sequence[Gap], *, objectives: str = "all") -> list[ClassRow]:
    """Each class in each group; means over controllers, in worlds over worlds."""
    rows = []
    for group in dict.fromkeys(gap.group for gap in found):
        for kind in CLASSES:
            own = [gap for gap in found if (gap.group, gap.kind) == (group, kind)]
            if not own:
                continue
            units = _by_unit(own)
            excess = mean_interval(units[:, 2])
            rows.append(
                ClassRow(
                    group=group,
                    kind=kind,
                    objectives=objectives,
                    runs=len(own),
                    units=len(units),
                    feedback=float(units[:, 0].mean()),
                    judged=float(units[:, 1].mean()),
                    excess=excess.value,
                    excess_low=excess.low,
                    excess_high=excess.high,
                )
            )
    return rows


def reader_rows(found: Sequence[Gap], *, objectives: str = "all") -> list[ReaderRow]:
    """Readers against fixed mixtures, also at the same U, and means over settings; worlds in pairs."""
    rows, by_kind = [], defaultdict(list)
    for group in dict.fromkeys(gap.group for gap in found if gap.group != WORLDS):
        own = [gap for gap in found if gap.group == group]
        fixed = _by_unit([gap for gap in own if gap.kind == FIXED])
        for name, kinds in ((READERS, (PLANS, LISTENING, LEARNED)), (PLANS, (PLANS,)), (LEARNED, (LEARNED,))):
            readers = _by_unit([gap for gap in own if gap.kind in kinds])
            if len(readers) < 2 or len(fixed) < 2:
                continue
            counts = (len(readers), len(fixed))
            plain, even = welch(readers[:, 2], fixed[:, 2]), at_the_same_utility(readers, fixed)
            by_kind[name].append(even.value)
            rows.append(_row(group, f"{name} − {FIXED}", objectives, counts, plain))
            rows.append(_row(group, f"{name} − {FIXED}, {AT_THE_SAME_U}", objectives, counts, even))
    for name, values in by_kind.items():
        if len(values) > 1:
            mean, counts = mean_interval(np.array(values)), (len(values), len(values))
            group = f"mean of {len(values)} settings"
            rows.append(_row(group, f"{name} − {FIXED}, {AT_THE_SAME_U}", objectives, counts, mean))
    for reader, other in ((COUNTS_PLAN, NATURAL), (AGENT, COUNTS_PLAN)):
        pairs = _worlds(found, reader, other)
        if len(pairs):
            counts = (len(pairs), len(pairs))
            rows.append(_row(WORLDS, f"`{reader}` − `{other}`", objectives, counts, mean_interval(pairs)))
    return rows


def at_the_same_utility(readers: Vector, fixed: Vector) -> Interval:
    """How much larger the excess gap of readers is than that of fixed mixtures with the same mean U.

    Least squares over both, with a common slope on the mean of both U.

    Args:
        readers, fixed: Feedback, judged and excess of each controller, shape (units, 3).
    """
    both = np.concatenate([readers, fixed])
    reads_R = np.arange(len(both)) < len(readers)
    columns = np.column_stack([np.ones(len(both)), both[:, :2].mean(1), reads_R])
    fit = least_squares(columns, both[:, 2])
    return NONE if fit is None else fit.coefficients[2]


def _row(group: str, comparison: str, objectives: str, counts: tuple[int, int], found: Interval) -> ReaderRow:
    return ReaderRow(
        group=group,
        comparison=comparison,
        objectives=objectives,
        readers=counts[0],
        others=counts[1],
        difference=found.value,
        low=found.low,
        high=found.high,
    )


def _by_unit(own: Sequence[Gap]) -> Vector:
    """Mean feedback, judged and excess of each controller, or of each world, shape (units, 3)."""
    units: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for gap in own:
        unit = gap.setting if gap.group == WORLDS else gap.controller
        units[unit].append((gap.feedback, gap.judged, gap.excess))
    return np.array([np.mean(runs, axis=0) for runs in units.values()]).reshape(-1, 3)


def _worlds(found: Sequence[Gap], reader: str, other: str) -> Vector:
    """Difference of mean excess gaps in each world in which both ran; natural mixing's excess is 0."""
    means: dict[tuple[str, str], list[float]] = defaultdict(list)
    for gap in found:
        if gap.group == WORLDS:
            means[gap.setting, gap.controller].append(gap.excess)
    differences = []
    for world, controller in means:
        if controller != reader or (other != NATURAL and (world, other) not in means):
            continue
        rest = 0.0 if other == NATURAL else float(np.mean(means[world, other]))
        differences.append(float(np.mean(means[world, reader])) - rest)
    return np.array(differences)


def _both(run: StudyRun, value_D: Vector) -> Vector | None:
    """U on both layers, shape (2,)."""
    if run.feedback_D is None or run.judged_D is None:
        return None
    return np.array([run.feedback_D @ value_D, run.judged_D @ value_D])
