"""How many samples a step takes so that a run meets its data, and how much of it a run covers.

Pure arithmetic on the sample counts of a domain space, shared by the sampling of trajectories
and by runs, so that |T| / (R * M) agrees between a farm and the run it is for (method §2).
"""

from dataclasses import dataclass

import numpy as np

from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.warehouse_schema.errors import InputError


@dataclass(frozen=True)
class FieldPasses:
    """What a run of M steps of R samples takes of each field, in passes over it.

    Attributes:
        source: Source samples drawn over source samples there are.
        target: The same of the target field; 1 means that every target sample is seen once.
    """

    source: float
    target: float


def auto_step_samples(space: DomainSpace, steps: int, batch_size: int) -> int:
    """R: the smallest multiple of the batch for which natural mixing covers the target in M steps.

    Natural mixing draws from both fields by their size, so it covers the target when it covers
    everything: R * M >= all samples.

    Args:
        space: Sample counts.
        steps: M, at least 1.
        batch_size: B, at least 1.

    Raises:
        InputError: If `steps` or `batch_size` is below 1.
    """
    for name, value in (("steps", steps), ("batch-size", batch_size)):
        if value < 1:
            raise InputError(f"--{name} is {value}, expected at least 1")
    return whole_batches(-(-int(space.samples_N.sum()) // steps), batch_size)


def whole_batches(samples: int, batch_size: int) -> int:
    """The smallest multiple of the batch that is not below so many samples."""
    return -(-samples // batch_size) * batch_size


def smallest_share(samples: int) -> float:
    """Share of all data below which natural mixing gives a domain less than one of so many samples.

    Whole samples are drawn, so little or nothing of such a domain is read.
    """
    return 1 / samples


def expected_coverage(
    space: DomainSpace, *, steps: int, step_samples: int, mixture_N: Vector | None = None
) -> FieldPasses:
    """Passes over each field that a run makes under a constant mixture.

    Args:
        space: Sample counts; a field without samples counts as covered 0 times.
        steps: M.
        step_samples: R.
        mixture_N: The mixture; natural mixing when left out.
    """
    mixture_N = space.natural_N if mixture_N is None else mixture_N
    drawn_F = space.coarsen(mixture_N) * steps * step_samples
    samples_F = space.coarsen(space.samples_N.astype(np.float64))
    passes_F = np.divide(drawn_F, samples_F, out=np.zeros(2), where=samples_F > 0)
    return FieldPasses(float(passes_F[0]), float(passes_F[1]))
