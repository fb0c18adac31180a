"""Settings of dmix agent sft."""

import pytest

from dmix.mixing.learning.settings.sft import SftSettings
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "--epochs is 0, expected at least 1"),
        ({"learning_rate": 0.0}, "--learning-rate is 0.0"),
        ({"held_out": 1.0}, "--held-out is 1.0"),
        ({"hidden_size": 30}, r"--hidden-size is 30, expected a multiple of 8 \(2 x --heads\)"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        SftSettings(**changes)


@pytest.mark.parametrize(
    ("given", "widths"),
    [
        ({}, (256, 1024)),
        ({"architecture": "set"}, (128, 256)),
        ({"architecture": "set", "hidden_size": 64}, (64, 256)),
        ({"feedforward": 32}, (256, 32)),
    ],
)
def test_widths_are_those_of_the_architecture_unless_given(given, widths):
    assert SftSettings(**given).widths == widths


def test_a_set_agent_has_no_paper_preset():
    with pytest.raises(InputError, match="leave one of the two out"):
        SftSettings(architecture="set", preset="paper")


@pytest.mark.parametrize(
    "name", ["batch_trajectories", "patience", "context", "layers", "heads", "domain_width"]
)
def test_numbers_start_at_one(name):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} is 0, expected at least 1"):
        SftSettings(**{name: 0})
