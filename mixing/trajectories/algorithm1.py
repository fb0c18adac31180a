"""Algorithm 1 of arXiv 2507.15640: one path of mixtures from the start state towards the target.

At step d = 0 … M-1, from rho, C candidates rho' are drawn and scored:

    s(rho') = alpha KL(rho || rho') + beta sigmoid(d / 5) KL(rho_t || rho')
              - gamma mean over earlier paths tau' of KL(tau'[e] || rho')

and one of the K lowest is appended. Every term is linear in log rho', so the score is
`constant - coefficients . log rho'`: one matrix-vector product a step, whatever the number of
earlier paths. The preset `paper` compares with e = d, literally; `default` with e = d + 1, the
same step. Only active domains are drawn; shapes: A active domains, C candidates, T entries of a
path (rho_s included), M steps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import Vector
from dmix.mixing.trajectories.candidates import Buffer, CandidateDistribution, mixture_of
from dmix.warehouse_schema.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class PathProblem:
    """What all paths of a set have in common.

    Attributes:
        start_A: rho_s.
        target_A: rho_t.
        steps: M, the most steps of a path.
        target_steps: |T| / R: how many steps of target data alone exhaust the target field.
        alpha, beta, gamma: Weights of the three terms.
        step_offset: e - d: 0 for `paper`, 1 for `default`.
        distribution: Where candidates come from.
        candidates: C.
        seed: Seed of the set.
    """

    start_A: Vector
    target_A: Vector
    steps: int
    target_steps: float
    alpha: float
    beta: float
    gamma: float
    step_offset: int
    distribution: CandidateDistribution
    candidates: int
    seed: int


class EarlierPaths:
    """Sums over the finished paths of a K-run, all that the third term needs: O(M * A) memory."""

    def __init__(self, *, steps: int, domains: int) -> None:
        self._sum_TA = np.zeros((steps + 1, domains))
        self._negentropy_T = np.zeros(steps + 1)
        self._count_T = np.zeros(steps + 1, dtype=np.int64)

    def add(self, path_TA: NDArray[np.float64]) -> None:
        """Takes in a finished path, at most M + 1 entries."""
        entries = len(path_TA)
        self._sum_TA[:entries] += path_TA
        self._negentropy_T[:entries] += [_negentropy(mixture_A) for mixture_A in path_TA]
        self._count_T[:entries] += 1

    def mean(self, entry: int) -> tuple[Vector, float]:
        """Mean mixture and mean of sum(p log p) at an entry, over the paths that reach it.

        Zeros where no path does, so that the term vanishes.
        """
        count = max(1, int(self._count_T[entry]))
        return self._sum_TA[entry] / count, float(self._negentropy_T[entry]) / count


def score_coefficients(
    current_A: Vector, *, step: int, problem: PathProblem, earlier: EarlierPaths
) -> tuple[Vector, float]:
    """(coefficients, constant) of the score s(rho') = constant - coefficients . log rho'.

    Args:
        current_A: rho, the last mixture of the path.
        step: d, from 0.
        problem: Weights and states.
        earlier: The finished paths of the same K-run.
    """
    pull = problem.beta / (1.0 + np.exp(-step / 5.0))
    mean_A, mean_negentropy = earlier.mean(step + problem.step_offset)
    coefficients_A = problem.alpha * current_A + pull * problem.target_A - problem.gamma * mean_A
    constant = (
        problem.alpha * _negentropy(current_A)
        + pull * _negentropy(problem.target_A)
        - problem.gamma * mean_negentropy
    )
    return coefficients_A, constant


def choose(score_C: NDArray[np.float32], *, top_k: int, rng: np.random.Generator) -> int:
    """Index of one of the K lowest scores, all K equally likely.

    Raises:
        InputError: If there are fewer than K candidates.
    """
    if top_k > len(score_C):
        raise InputError(f"K is {top_k}, but there are {len(score_C)} candidates; lower --top-k")
    if top_k == 1:
        return int(score_C.argmin())
    rank = int(rng.integers(top_k))
    return int(np.argpartition(score_C, rank)[rank])


def sample_path(
    problem: PathProblem, *, top_k: int, path: int, earlier: EarlierPaths, buffer_AC: Buffer
) -> NDArray[np.float64]:
    """One path of a K-run, from rho_s until M steps or the early stop.

    The stop comes after the step at which the target share summed over steps reaches |T| / R.
    Candidates are fresh for each (seed, K, path, step).

    Args:
        problem: What the paths share.
        top_k: K.
        path: p, from 0.
        earlier: The paths 0 … p-1 of the same K-run; not changed.
        buffer_AC: Scratch memory, float32, shape (A, C).

    Returns:
        Shape (T, A), T <= M + 1; entry 0 is rho_s.
    """
    mixtures = [problem.start_A]
    target_A = problem.target_A > 0
    drawn_target = 0.0
    for step in range(problem.steps):
        rng = _step_rng(problem.seed, top_k, path, step)
        problem.distribution.fill(rng, buffer_AC)
        coefficients_A, _ = score_coefficients(mixtures[-1], step=step, problem=problem, earlier=earlier)
        # The constant does not change which candidates are lowest.
        score_C = -(coefficients_A.astype(np.float32) @ buffer_AC)
        chosen = choose(score_C, top_k=top_k, rng=rng)
        mixtures.append(mixture_of(buffer_AC[:, chosen]))
        drawn_target += float(mixtures[-1][target_A].sum())
        if drawn_target >= problem.target_steps:
            break
    return np.stack(mixtures)


def _step_rng(seed: int, top_k: int, path: int, step: int) -> np.random.Generator:
    sequence = np.random.SeedSequence(seed, spawn_key=(top_k, path, step))
    return np.random.Generator(np.random.SFC64(sequence))


def _negentropy(mixture_A: Vector) -> float:
    positive = mixture_A[mixture_A > 0]
    return float((positive * np.log(positive)).sum())
