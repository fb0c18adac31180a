"""The counts estimator: bigram models of domains, mixed, on the tokens of evaluation items.

B_o(rho) = mean over items of the mean over scored tokens of log sum_d rho_d p_d(token | previous),
with p_d an interpolated bigram model of domain d. It is concave in rho and predicts whole mixtures,
not only directions. Interpolation of n-gram models is Jelinek and Mercer 1980; in effect this is
MixMin (arXiv 2502.10510) with bigram models in place of trained ones, and kin of DSIR (2302.03169).

Relative to a model that can read: log((1 - alpha) p_model + alpha sum_d rho_d p_d), so that only
what a domain knows and the model does not counts; alpha by cross-validation over items.

Shapes: R scored tokens of all items, D objectives, I items of one objective, N domains, A of them
active.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.effects.effects import Effects, centred
from dmix.mixing.space.domains import Array, Vector
from dmix.mixing.trajectories.encoding import EncodedItem
from dmix.warehouse_schema.errors import InputError

Integers = NDArray[np.integer]

_FOLDS = 5
_EM_STEPS = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredTokens:
    """The tokens that items are scored by, item after item and objective after objective.

    Attributes:
        objective_R: Index of the objective.
        item_R: Number of the item within its objective, from 0.
        previous_R, token_R: The token before, and the scored one.
        weight_R: Weight in the objective's score; sums to 1 over each objective.
    """

    objective_R: Integers
    item_R: Integers
    previous_R: Integers
    token_R: Integers
    weight_R: Vector

    @classmethod
    def of_items(cls, items: Sequence[Sequence[EncodedItem]]) -> "ScoredTokens":
        """The scored tokens of the encoded items of each objective.

        Every item of an objective counts alike, and so does every token of an item (Eq. 1).
        """
        rows = [
            (index, number, item.ids[place - 1], item.ids[place], 1 / (len(found) * scored))
            for index, found in enumerate(items)
            for number, item in enumerate(found)
            for scored in (len(item.ids) - item.answer_start,)
            for place in range(item.answer_start, len(item.ids))
        ]
        objective, number, previous, token, weight = zip(*rows, strict=True)
        return cls(
            objective_R=np.array(objective, np.int32),
            item_R=np.array(number, np.int32),
            previous_R=np.array(previous, np.int64),
            token_R=np.array(token, np.int64),
            weight_R=np.array(weight),
        )

    @property
    def slices(self) -> list[slice]:
        """Rows of each objective."""
        ends = np.flatnonzero(np.diff(self.objective_R)) + 1
        edges = [0, *ends.tolist(), len(self.objective_R)]
        return [slice(a, b) for a, b in pairwise(edges)]


@dataclass(frozen=True, kw_only=True, eq=False)
class CountModel:
    """B_o(rho), its gradient, and what each item adds to it.

    Attributes:
        tokens: The scored tokens.
        active: Indices of the A domains with samples, ascending.
        size: N.
        p_RA: Probability of each scored token by each active domain.
        model_R: Its probability by a model; None for counts alone.
        alpha_D: Weight of the domains against the model, for each objective; 1 without one.
    """

    tokens: ScoredTokens
    active: Integers
    size: int
    p_RA: NDArray[np.floating]
    model_R: Vector | None = None
    alpha_D: Vector

    def values(self, mixture_N: Vector) -> Vector:
        """B_o(rho) for each objective, nats per token, shape (D,)."""
        logs_R = self.tokens.weight_R * np.log(self._mixed(mixture_N))
        return np.array([logs_R[rows].sum() for rows in self._slices])

    def gradient(self, mixture_N: Vector) -> Array:
        """dB_o / drho_d, shape (N, D); 0 for domains without samples."""
        ratio_R = self.tokens.weight_R * self._alpha_R / self._mixed(mixture_N)
        found_ND = np.zeros((self.size, len(self._slices)))
        for index, rows in enumerate(self._slices):
            found_ND[self.active, index] = ratio_R[rows] @ self.p_RA[rows]
        return found_ND

    def item_gradients(self, mixture_N: Vector) -> list[Array]:
        """The same by item: for each objective a matrix (I, N) whose mean over items is its gradient."""
        ratio_R = self.tokens.weight_R * self._alpha_R / self._mixed(mixture_N)
        found = []
        for rows in self._slices:
            item_R = self.tokens.item_R[rows]
            starts = np.flatnonzero(np.diff(item_R, prepend=-1))
            sums_IA = np.add.reduceat(ratio_R[rows, None] * self.p_RA[rows], starts, axis=0)
            full_IN = np.zeros((len(starts), self.size))
            full_IN[:, self.active] = sums_IA * len(starts)
            found.append(full_IN)
        return found

    @cached_property
    def _slices(self) -> list[slice]:
        return self.tokens.slices

    @cached_property
    def _alpha_R(self) -> Vector:
        alpha_R: Vector = self.alpha_D[self.tokens.objective_R]
        return alpha_R

    def _mixed(self, mixture_N: Vector) -> Vector:
        mixed_R: Vector = self.p_RA @ mixture_N[self.active].astype(self.p_RA.dtype)
        if self.model_R is None:
            return mixed_R.astype(np.float64)
        return (1 - self._alpha_R) * self.model_R + self._alpha_R * mixed_R


def relative_to(model: CountModel, model_R: Vector) -> CountModel:
    """The same counts beside a model's own probabilities of the scored tokens.

    The weights of the model and of all domains are fitted together on four fifths of an
    objective's items at a time; alpha is the domains' part of them, averaged, or 0 where it does not
    help the items that were left out.

    Args:
        model: Counts alone.
        model_R: Probability of each scored token by the model, above 0.

    Raises:
        InputError: If there is not one probability above 0 for each scored token.
    """
    if model_R.shape != model.tokens.weight_R.shape or not (model_R > 0).all():
        raise InputError(
            f"the model gives {model_R.shape} probabilities for {model.tokens.weight_R.shape} scored tokens,"
            " expected one above 0 for each token; score the same items with the tokenizer of the dataset"
        )
    alpha_D = np.array([_alpha(model, model_R, rows) for rows in model.tokens.slices])
    return CountModel(
        tokens=model.tokens,
        active=model.active,
        size=model.size,
        p_RA=model.p_RA,
        model_R=model_R,
        alpha_D=alpha_D,
    )


def _alpha(model: CountModel, model_R: Vector, rows: slice) -> float:
    weight_R, fold_R = model.tokens.weight_R[rows], model.tokens.item_R[rows] % _FOLDS
    parts_RC = np.column_stack([model_R[rows], model.p_RA[rows].astype(np.float64)])
    gains, alphas = 0.0, []
    for fold in range(_FOLDS):
        left = fold_R == fold
        if left.all() or not left.any():
            continue
        weights_C = mixture_weights(parts_RC[~left], weight_R[~left])
        gains += float(weight_R[left] @ np.log(parts_RC[left] @ weights_C / parts_RC[left, 0]))
        alphas.append(1 - weights_C[0])
    return float(np.mean(alphas)) if alphas and gains > 0 else 0.0


def mixture_weights(parts_RC: Array, weight_R: Vector) -> Vector:
    """Weights of C components that make weighted tokens most likely, by EM, shape (C,)."""
    weights_C = np.full(parts_RC.shape[1], 1 / parts_RC.shape[1])
    for _ in range(_EM_STEPS):
        weights_C = weights_C * (weight_R / (parts_RC @ weights_C) @ parts_RC)
        weights_C /= weights_C.sum()
    return weights_C


def count_effects(
    model: CountModel,
    natural_N: Vector,
    *,
    dataset: str,
    environment: str,
    names: tuple[tuple[str, str], ...],
    objectives: tuple[str, ...],
    roles: tuple[str, ...],
    measured_on: str = "",
    name: str = "",
) -> Effects:
    """Effects at the natural mixture, with the error that a finite number of items leaves."""
    errors = []
    for gradient_IN in model.item_gradients(natural_N):
        apart_IN = centred(gradient_IN.T, natural_N).T
        items = len(apart_IN)
        if items < 2:
            # one item says nothing of its error: as large as the effect itself
            errors.append(apart_IN)
            continue
        errors.append((apart_IN - apart_IN.mean(0)) / np.sqrt(items * (items - 1)))
    return Effects(
        name=name,
        estimator="counts",
        dataset=dataset,
        model=measured_on,
        environment=environment,
        names=names,
        natural_N=natural_N,
        objectives=objectives,
        roles=roles,
        effect_ND=centred(model.gradient(natural_N), natural_N),
        errors=tuple(errors),
    )
