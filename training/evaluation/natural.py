"""How a run differs from a run of natural mixing on the same items.

Both models score the same items, so each item is compared with itself. That removes the spread between easy
and hard items from the error, as Miller 2024 (arXiv 2411.00640) advises for evaluations of language models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dmix.mixing.space.noise import beyond_noise
from dmix.training.evaluation.judging import change_of
from dmix.training.evaluation.verdicts import UNCHANGED

MEAN = "mean of the objectives"
RULE = (
    "Each item is compared with itself; the figure after ± is the standard error over items. Beyond noise: "
    "more than two standard errors. If several seeds were scored, the noise between seeds adds to the error. "
    "With one seed, this noise is unknown."
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A score of a run less that of natural mixing.

    Attributes:
        name: Of the objective, or `MEAN`.
        difference: Mean over items in nats per token; above 0 the run is better.
        stderr: Standard error of it over items; None with one item.
        noise: Standard deviation of a run's score between seeds; None where nothing ran twice.
    """

    name: str
    difference: float
    stderr: float | None
    noise: float | None = None

    @property
    def total_stderr(self) -> float | None:
        """Standard error over items and, where it is known, over the seeds of both runs."""
        if self.stderr is None or self.noise is None:
            return self.stderr
        return float(np.sqrt(self.stderr**2 + 2 * self.noise**2))

    @property
    def beyond_noise(self) -> bool:
        """Whether the difference is larger than chance makes it."""
        return beyond_noise(self.difference, stderr=self.total_stderr)

    @property
    def word(self) -> str:
        """Who is better, or which noise hides it."""
        if self.stderr is None:
            return "one item: noise unknown"
        if self.beyond_noise:
            return f"{'better' if self.difference > 0 else 'worse'}, beyond noise"
        by_items = beyond_noise(self.difference, stderr=self.stderr)
        return f"within noise {'between seeds' if by_items else 'over items'}"

    @property
    def colour(self) -> str:
        """Name of its colour, as of a verdict."""
        if self.stderr is None or not self.beyond_noise:
            return UNCHANGED
        return "good-2" if self.difference > 0 else "bad-2"

    @property
    def text(self) -> str:
        """Objective and difference, with the standard error over items."""
        error = "" if self.stderr is None else f" ± {self.stderr:.3f}"
        return f"{self.name} {self.difference:+.3f}{error}"


def paired_differences(
    own: Mapping[str, Sequence[float]],
    natural: Mapping[str, Sequence[float]],
    *,
    noise: Mapping[str, float | None] | None = None,
) -> list[Difference]:
    """Difference of a run from natural mixing on each objective that both have, and their mean.

    With the scores a_i and b_i of item i of n and d_i = a_i - b_i, the difference is mean(d). Its standard
    error is sd(d) / √n, with n - 1 degrees of freedom (Student 1908; Miller 2024, arXiv 2411.00640). The mean
    of K objectives has the standard error √(Σ_k stderr_k²) / K, because objectives have different items.
    Every objective counts alike, in nats per token: neither weights nor scales of the environment enter.

    Args:
        own: Item scores of the run's last model by objective in nats per token, shape (n,) each.
        natural: The same of the natural run, of the same items in the same order.
        noise: Standard deviation of a run's score between seeds by objective, and of the mean under `MEAN`.

    Returns:
        One difference for each shared objective in the order of `own`; the mean comes last if there are at
        least two.

    Raises:
        ValueError: If an objective has another number of items in the two runs.
    """
    between = noise or {}
    found = []
    for name, scores in own.items():
        if name in natural:
            paired = change_of(natural[name], scores)
            found.append(
                Difference(name=name, difference=paired.change, stderr=paired.stderr, noise=between.get(name))
            )
    if len(found) < 2:
        return found
    errors = [one.stderr for one in found if one.stderr is not None]
    mean = Difference(
        name=MEAN,
        difference=float(np.mean([one.difference for one in found])),
        stderr=float(np.sqrt(np.sum(np.square(errors))) / len(found)) if len(errors) == len(found) else None,
        noise=between.get(MEAN),
    )
    return [*found, mean]
