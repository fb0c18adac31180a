"""Settings of dmix agent evaluate."""

import pytest

from dmix.mixing.learning.settings.evaluate import EvaluateSettings
from dmix.warehouse_schema.errors import InputError

COUNTS = ("repeats", "fqe_steps", "simulator_steps", "batch_episodes", "runs", "heads")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in COUNTS),
        ("learning_rate", 0.0),
        ("simulator_learning_rate", float("nan")),
        ("held_out", 0.0),
        ("quantile", 1.0),
        ("hidden_size", 60),
    ],
)
def test_settings_out_of_range_are_named_as_their_flags(name, value):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} is {value}"):
        EvaluateSettings(**{name: value})


def test_the_width_goes_with_the_heads():
    assert EvaluateSettings(hidden_size=12, heads=3).heads == 3
    with pytest.raises(InputError, match="multiple of 6"):
        EvaluateSettings(hidden_size=16, heads=3)
