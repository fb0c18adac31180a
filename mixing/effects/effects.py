"""Effects: what text of each domain does to each objective (method §8).

An effect is the gain of an objective's score, in nats per token, for each unit of share that moves
from the natural mixture to a domain; the natural mixture's own effect is 0, so the effects of an
objective sum to 0 when weighted by natural shares. Three estimators fill the same record: counts,
gradient and probe.

Shapes: N (field, domain) pairs in domain-space order, D objectives, K rows of an error factor,
X tilts. Domains without samples have effect 0 and standard error 0.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import Array, Vector
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.sizes import num_text

ESTIMATORS = ("counts", "gradient", "probe")

# An objective's effects count as noise unless they exceed what noise alone gives in 95% of cases,
# over all objectives together (Bonferroni).
NOISE_LEVEL = 0.05
_TILTS = 64
_LEAST_SCALE = 0.01
_NULL_DRAWS = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class Effects:
    """What one estimator found.

    Attributes:
        name: Folder below `effects/`; empty before it is stored.
        estimator: One of `ESTIMATORS`.
        dataset: Id of the dataset.
        model: What was measured on; empty for counts without a model.
        environment: Digest of the objectives and their items.
        names: (field, domain) of every index.
        natural_N: The mixture that effects are relative to.
        objectives: Names of the D objectives.
        roles: general or target, for each objective.
        effect_ND: Nats per token per unit of share.
        errors: For each objective a matrix (K, N) whose rows are independent errors of the effects:
            the standard error of `x @ effect` is the norm of `errors[o] @ x`.
    """

    name: str = ""
    estimator: str
    dataset: str
    model: str = ""
    environment: str
    names: tuple[tuple[str, str], ...]
    natural_N: Vector
    objectives: tuple[str, ...]
    roles: tuple[str, ...]
    effect_ND: Array
    errors: tuple[Array, ...]

    def __post_init__(self) -> None:
        shape = (len(self.names), len(self.objectives))
        if self.effect_ND.shape != shape:
            raise InputError(f"effects have shape {self.effect_ND.shape}, expected {shape}")
        if len(self.errors) != shape[1] or any(error.shape[1] != shape[0] for error in self.errors):
            columns = num_text(shape[0], "column")
            raise InputError(f"effects need an error matrix with {columns} for each objective")
        if not np.isfinite(self.effect_ND).all():
            raise InputError("an effect is not finite; measure its objective again")

    @cached_property
    def stderr_ND(self) -> Array:
        """Standard error of each effect, nats per token per unit of share."""
        return np.stack([np.sqrt((error**2).sum(0)) for error in self.errors], axis=1)

    @cached_property
    def signal_D(self) -> Vector:
        """Standard deviation of an objective's score over random tilts of the mixture, noise removed."""
        return np.sqrt(np.maximum(0.0, self._raw_D**2 - self.noise_D**2))

    @property
    def scales_D(self) -> Vector:
        """`signal_D`, at least a hundredth of a nat, so that an objective without effects does not rule."""
        return np.maximum(self.signal_D, _LEAST_SCALE)

    @cached_property
    def noise_D(self) -> Vector:
        """Standard error of the predicted score over the same tilts."""
        return np.array([np.sqrt(((self._moves_XN @ error.T) ** 2).sum(1).mean()) for error in self.errors])

    @cached_property
    def reliability_D(self) -> Vector:
        """Share of the variance over tilts that is the mixture's, 0 to 1."""
        total_D = self.signal_D**2 + self.noise_D**2
        return np.divide(self.signal_D**2, total_D, out=np.zeros_like(total_D), where=total_D > 0)

    @cached_property
    def telling_D(self) -> NDArray[np.bool_]:
        """True where an objective's effects are larger than noise alone would make them."""
        rng = np.random.default_rng(0)
        level = NOISE_LEVEL / len(self.objectives)
        telling = []
        for raw, error in zip(self._raw_D, self.errors, strict=True):
            if not error.any():
                telling.append(raw > 0)
                continue
            noise_KX = error @ self._moves_XN.T
            # the mean over tilts of (noise . x)^2 depends on K x K numbers alone
            gram_KK = noise_KX @ noise_KX.T / len(self._moves_XN)
            draws_JK = rng.standard_normal((_NULL_DRAWS, len(error)))
            null_J = ((draws_JK @ gram_KK) * draws_JK).sum(1)
            telling.append(raw**2 > np.quantile(null_J, 1 - level))
        return np.array(telling, dtype=bool)

    @cached_property
    def _moves_XN(self) -> Array:
        return tilts(self.natural_N) - self.natural_N

    @cached_property
    def _raw_D(self) -> Vector:
        return np.sqrt(((self._moves_XN @ self.effect_ND) ** 2).mean(0))


def tilts(natural_N: Vector, *, number: int = _TILTS, seed: int = 0) -> Array:
    """Mixtures around the natural one, each share times e^z with z standard normal, shape (X, N)."""
    weights_XN = natural_N * np.exp(np.random.default_rng(seed).standard_normal((number, len(natural_N))))
    result: Array = weights_XN / weights_XN.sum(1, keepdims=True)
    return result


def centred(effect_ND: Array, natural_N: Vector) -> Array:
    """Effects relative to the natural mixture: 0 where it has no share, natural mean 0."""
    moved_ND = effect_ND - natural_N @ effect_ND
    result: Array = np.where((natural_N > 0)[:, None], moved_ND, 0.0)
    return result
