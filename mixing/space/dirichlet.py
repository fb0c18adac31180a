"""The distribution of the policy's mixtures: Dirichlet on the simplex of the active domains (method §5).

Mean mu is the agent's softmax, concentration c is bounded, parameters are c * mu + 1e-3. Densities
are relative to the uniform distribution on the active simplex, so Dirichlet(1) has log-density 0 in any
number of dimensions. (With respect to Lebesgue measure it would be ln Gamma(52) = 152.4 at 52.)

Shapes: `...` any leading axes, N domains, A active ones, S samples.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Dirichlet

CONCENTRATION_RANGE = (5.0, 2000.0)
SMALLEST_PARAMETER = 1e-3


def bounded_concentration(raw: Tensor) -> Tensor:
    """c in [5, 2000], log-linear in the sigmoid of `raw`; 100 at raw = 0."""
    low, high = (math.log(bound) for bound in CONCENTRATION_RANGE)
    return torch.exp(low + (high - low) * torch.sigmoid(raw))


@dataclass(frozen=True, eq=False)
class MixtureDistribution:
    """Dirichlet distributions over the active domains.

    Attributes:
        parameters: Shape (..., A), above 0.
        active_N: Which of the N domains the A columns are.
    """

    parameters: Tensor
    active_N: Tensor

    @classmethod
    def of_mean(cls, mean: Tensor, concentration: Tensor, active_N: Tensor) -> "MixtureDistribution":
        """The distribution with mean about `mean` (..., N) and concentration (...)."""
        parameters = concentration[..., None] * mean[..., active_N] + SMALLEST_PARAMETER
        return cls(parameters, active_N)

    def mean(self) -> Tensor:
        """The mean mixture, shape (..., N)."""
        return scattered(self.parameters / self.parameters.sum(-1, keepdim=True), self.active_N)

    def sample(self, samples: int) -> Tensor:
        """Mixtures of shape (..., S, N), with gradients to the parameters."""
        drawn = Dirichlet(self.parameters, validate_args=False).rsample((samples,))
        return scattered(drawn.movedim(0, -2), self.active_N)

    def divergence_from_uniform(self) -> Tensor:
        """KL(distribution || uniform) in nats, shape (...): the mean log-density, in closed form."""
        total = self.parameters.sum(-1, keepdim=True)
        expected = torch.digamma(self.parameters) - torch.digamma(total)
        return ((self.parameters - 1) * expected).sum(-1) + self._log_normaliser()

    def _log_normaliser(self) -> Tensor:
        """Log of the Dirichlet constant over that of the uniform distribution, Gamma(A)."""
        constant = torch.lgamma(self.parameters.sum(-1)) - torch.lgamma(self.parameters).sum(-1)
        return constant - math.lgamma(self.parameters.shape[-1])


def uniform_mixtures(shape: tuple[int, ...], active_N: Tensor, *, dtype: torch.dtype) -> Tensor:
    """Draws of the uniform distribution on the active simplex, shape (*shape, N)."""
    exponentials = torch.empty((*shape, int(active_N.sum())), dtype=dtype, device=active_N.device)
    exponentials.exponential_()
    return scattered(exponentials / exponentials.sum(-1, keepdim=True), active_N)


def scattered(weights: Tensor, active_N: Tensor) -> Tensor:
    """Weights (..., A) at their places among N domains, 0 elsewhere."""
    if bool(active_N.all()):
        return weights
    full = weights.new_zeros((*weights.shape[:-1], len(active_N)))
    full[..., active_N] = weights
    return full
