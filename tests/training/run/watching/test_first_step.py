import math

import numpy as np
import pytest

from dmix.training.run.watching.first_step import jump_of, jump_warning

NO_SCORES = np.zeros((2, 0))


@pytest.mark.parametrize(
    ("losses", "scores", "jump"),
    [
        ([3.0, 3.5, 4.0, 5.0], NO_SCORES, 2.0),
        ([3.0, 2.5, 2.0, 1.0], NO_SCORES, -2.0),
        ([3.0, 9.0], NO_SCORES, -math.inf),  # too few batches to tell
        ([3.0, 9.0], np.array([[-3.0, -1.0], [-4.0, -2.0]]), 1.0),
        ([3.0, 3.0, 3.0, 6.0], np.array([[-3.0], [-2.5]]), -0.5),  # a hard batch, a better model
    ],
)
def test_the_jump_of_the_first_step(losses, scores, jump):
    assert jump_of(losses, scores) == pytest.approx(jump)


def test_only_a_jump_that_did_harm_is_warned_of():
    def warned(last):
        return jump_warning([3.0, 3.0, 3.0, last], NO_SCORES, learning_rate=2e-3)

    assert warned(3.5) == ""
    assert "rose by 0.60 nats per token" in warned(3.6) and "learning_rate 0.002 is" in warned(3.6)
