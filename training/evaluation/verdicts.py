"""What a change of scores amounts to, in words: unchanged, or one of three grades either way.

`verdict` is the only place that words a change: the last lines of `dmix train`, `dmix eval` and the report
call it. `dmix.mixing.space.noise` says which changes are *unchanged*; the standard error is that between
runs which differ in their seeds alone. Grades are in units of the objective's scale s_o, so that they mean
the same for every objective of an environment. Errors over items never change the word; they stand beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dmix.mixing.space.noise import LEAST_CHANGE, NOISE_WIDTH, UNCHANGED_SHARE, beyond_noise

# Changes in units of s_o from which the second and the third grade start.
GRADES = (0.5, 1.5)

UNCHANGED = "unchanged"
# What a reader of a verdict on the scores during a run has to know.
ON_SEEN_ITEMS = "The controller read these items during the run, so their scores may flatter it."
# Words of a gain and of a loss by role, smallest grade first.
WORDS = {
    "target": (
        ("learned a little", "learned", "learned much"),
        ("a little worse", "worse", "much worse"),
    ),
    "general": (
        ("a little better", "better", "much better"),
        ("forgot a little", "forgot", "forgot much"),
    ),
}
RULE = (
    f"Unchanged: at most two standard errors between seeds, or, with one seed, below {UNCHANGED_SHARE:g} of "
    f"the objective's scale; always below {LEAST_CHANGE:g}. A little: below {GRADES[0]:g} of the scale. "
    f"Much: {GRADES[1]:g} of the scale or more."
)


@dataclass(frozen=True)
class Verdict:
    """A change, judged.

    Attributes:
        grade: From -3, much worse, to 3, much better; 0 for unchanged.
        word: The same for readers.
        change: In nats per token.
    """

    grade: int
    word: str
    change: float

    @property
    def colour(self) -> str:
        """Name of its colour: `bad-3` to `bad-1`, `unchanged`, `good-1` to `good-3`."""
        if not self.grade:
            return UNCHANGED
        return f"{'good' if self.grade > 0 else 'bad'}-{abs(self.grade)}"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Finished runs of one configuration, one per seed. Shapes: R runs.

    Attributes:
        controller: Of all of them.
        guided: True where an agent steered, or a plan was made.
        utilities: U of each run, R of them; empty where it is not known.
        changes: Changes of each objective since step 0 in nats per token, R each.
        roles: `general` or `target` by objective.
        scales: s_o by objective in nats per token.
    """

    controller: str
    guided: bool
    utilities: tuple[float, ...]
    changes: Mapping[str, tuple[float, ...]]
    roles: Mapping[str, str]
    scales: Mapping[str, float]


def verdict(change: float, *, role: str, scale: float, noise: float | None = None, runs: int = 1) -> Verdict:
    """The judgement on a change of an objective, for runs, evaluations and reports alike.

    Args:
        change: Since step 0, in nats per token; a mean where there are several runs.
        role: `general` or `target`.
        scale: s_o in nats per token.
        noise: Standard deviation of a run's change between seeds; None where nothing ran twice.
        runs: Number of runs that `change` is the mean of.

    Raises:
        ValueError: If the scale is not above 0, or the role is none.
    """
    if not scale > 0 or role not in WORDS:
        raise ValueError(
            f"scale is {scale} and role {role!r}, expected a number above 0 and one of {', '.join(WORDS)}"
        )
    if not beyond_noise(change, stderr=None if noise is None else noise / runs**0.5, scale=scale):
        return Verdict(0, UNCHANGED, change)
    size = sum(abs(change) / scale >= border for border in GRADES)
    gains, losses = WORDS[role]
    return Verdict(size + 1, gains[size], change) if change > 0 else Verdict(-size - 1, losses[size], change)


def overall(found: Mapping[str, Verdict]) -> tuple[str, Verdict] | None:
    """The verdict that speaks for several objectives of a role: the worst loss, else the largest gain."""
    if not found:
        return None
    losses = {name: one for name, one in found.items() if one.grade < 0}
    name = min(losses, key=lambda n: losses[n].grade) if losses else max(found, key=lambda n: found[n].grade)
    return name, found[name]


def noise_between_seeds(values: Sequence[Sequence[float]]) -> float | None:
    """Pooled standard deviation within configurations; None where none of them ran twice.

    Args:
        values: One sequence for each configuration, one number for each of its seeds.
    """
    several = [np.asarray(of, np.float64) for of in values if len(of) > 1]
    if not several:
        return None
    freedom = sum(len(of) - 1 for of in several)
    return float(np.sqrt(sum(((of - of.mean()) ** 2).sum() for of in several) / freedom))


def objective_noise(groups: Sequence[Group], name: str) -> float | None:
    """Standard deviation between seeds of the change of an objective, over all configurations."""
    return noise_between_seeds([group.changes.get(name, ()) for group in groups])


def group_verdicts(group: Group, groups: Sequence[Group], *, role: str) -> dict[str, Verdict]:
    """Verdicts on the mean changes of a group's objectives of a role, by the noise in all groups."""
    return {
        name: verdict(
            float(np.mean(values)),
            role=role,
            scale=group.scales[name],
            noise=objective_noise(groups, name),
            runs=len(values),
        )
        for name, values in group.changes.items()
        if values and group.roles[name] == role
    }


def headline(
    groups: Sequence[Group],
    *,
    others: Sequence[Group] = (),
    alone: bool = True,
    with_changes: bool = True,
) -> str:
    """Whether the model forgot, whether it learned, which controller is best, and how sure that is.

    Args:
        groups: Comparable configurations; empty gives an empty text.
        others: The comparable configurations of the whole warehouse, for the noise between seeds; `groups`
            by default.
        alone: Whether there are no other runs beside these.
        with_changes: Whether to say what training did to the objectives.
    """
    ranked = sorted(
        (group for group in groups if group.utilities), key=lambda group: -float(np.mean(group.utilities))
    )
    shown = next((group for group in ranked or groups if group.guided), None) or next(
        iter(ranked or groups), None
    )
    if shown is None:
        return ""
    said = [f"{learned(shown, others or groups)}."] if with_changes else []
    if len(ranked) > 1:
        said.append(_best(ranked, others or ranked))
    elif ranked and alone:
        said += _missing(ranked[0])
    return " ".join(said)


def _missing(only: Group) -> list[str]:
    """What a reader of one configuration lacks."""
    natural = "A run of natural mixing shows whether the mixture matters."
    said = [] if only.controller == "natural" else ["There is no other run for a comparison yet.", natural]
    return said if len(only.utilities) > 1 else [*said, "A second seed shows the noise."]


def seeds_that_suffice(groups: Sequence[Group]) -> int | None:
    """Seeds per controller that distinguish the two best, by their difference and the noise so far.

    The noise of a difference of two means of n runs is sd √(2 / n), so n is 2 (2 sd / difference)², at
    least 2. None where nothing is known of noise or difference.
    """
    means = sorted((float(np.mean(group.utilities)) for group in groups if group.utilities), reverse=True)
    noise = noise_between_seeds([group.utilities for group in groups])
    if len(means) < 2 or noise is None or means[0] == means[1]:
        return None
    return max(2, int(np.ceil(2 * (NOISE_WIDTH * noise / (means[0] - means[1])) ** 2)))


def learned(group: Group, groups: Sequence[Group]) -> str:
    """What a controller's runs did to target and general objectives, a clause without a full stop."""
    clauses = []
    for role in ("target", "general"):
        found = overall(group_verdicts(group, groups, role=role))
        if found:
            name, one = found
            clauses.append(f"{role}: {one.word} ({name} {one.change:+.2f})")
    runs = max((len(values) for values in group.changes.values()), default=len(group.utilities))
    seeds = f"mean of {runs} seeds" if runs > 1 else "one seed"
    return f"With {group.controller} ({seeds}), {'; '.join(clauses) or 'no scores'}"


def _best(ranked: Sequence[Group], others: Sequence[Group]) -> str:
    first, second = ranked[:2]
    means = [float(np.mean(group.utilities)) for group in (first, second)]
    told = (
        f"Best: {first.controller} with U {means[0]:+.2f}. Next best: {second.controller} with U "
        f"{means[1]:+.2f}"
    )
    noise = noise_between_seeds([group.utilities for group in others])
    if noise is None:
        return f"{told}. One seed each cannot confirm this."
    spread = noise * (1 / len(first.utilities) + 1 / len(second.utilities)) ** 0.5
    if beyond_noise(means[0] - means[1], stderr=spread):
        return (
            f"{told}. The difference is larger than the noise between seeds (± {NOISE_WIDTH * spread:.2f})."
        )
    return (
        f"{told}. The difference is within the noise between seeds (± {NOISE_WIDTH * spread:.2f}), "
        "so the comparison is undecided."
    )
