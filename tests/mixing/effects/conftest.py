"""A world on paper: two domains that share the text alike, two objectives."""

import numpy as np
import pytest

from dmix.mixing.effects.counts import CountModel, ScoredTokens
from dmix.mixing.effects.effects import Effects

NAMES = (("source", "a"), ("target", "a"))


@pytest.fixture
def make_effects():
    """Effects of one or more objectives with independent errors; domains are natural alike."""

    def make(effect_ND, stderr_ND, *, natural_N=None, estimator="probe", **options):
        effect_ND, size = np.asarray(effect_ND, float), len(effect_ND)
        stderr_ND = np.broadcast_to(np.asarray(stderr_ND, float), effect_ND.shape)
        objectives = tuple(f"o{i}" for i in range(effect_ND.shape[1]))
        given = {
            "name": "paper",
            "dataset": "d",
            "environment": "e",
            "names": tuple(("source" if i < size / 2 else "target", f"d{i}") for i in range(size)),
            "roles": ("general",) * len(objectives),
        }
        return Effects(
            estimator=estimator,
            natural_N=np.full(size, 1 / size) if natural_N is None else np.asarray(natural_N),
            objectives=objectives,
            effect_ND=effect_ND,
            errors=tuple(np.diag(column) for column in stderr_ND.T),
            **{**given, **options},
        )

    return make


@pytest.fixture
def paper_counts():
    """Objective 0: two items of one token each, which domain 0 alone and domain 1 alone can say.

    Objective 1: one item of two tokens, both said by domain 1 with probability 0.5 and 0.25, and by
    domain 0 with 0.1.
    """
    tokens = ScoredTokens(
        objective_R=np.array([0, 0, 1, 1], np.int32),
        item_R=np.array([0, 1, 0, 0], np.int32),
        previous_R=np.array([1, 1, 2, 3]),
        token_R=np.array([2, 3, 3, 2]),
        weight_R=np.array([0.5, 0.5, 0.5, 0.5]),
    )
    p_RA = np.array([[0.8, 0.0], [0.0, 0.8], [0.1, 0.5], [0.1, 0.25]])
    return CountModel(tokens=tokens, active=np.array([0, 1]), size=2, p_RA=p_RA, alpha_D=np.ones(2))
