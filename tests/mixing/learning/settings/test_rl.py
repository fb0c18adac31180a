import pytest

from dmix.mixing.learning.settings.rl import RlSettings
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"simulators": -1}, "--simulators is -1, expected at least 1"),
        ({"imagined_every": 0}, "--imagined-every is 0"),
        ({"simulator_share": 1.5}, "--simulator-share is 1.5, expected 0 to 1"),
        ({"simulator_learning_rate": 0.0}, "--simulator-learning-rate is 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        RlSettings(**given)


def test_paper_has_no_learned_simulators():
    paper, default = (RlSettings().resolved(preset) for preset in ("paper", "default"))
    assert (paper.imagined, paper.simulator_share, paper.discount) == (0.0, 0.0, 0.99)
    assert (default.imagined, default.simulator_share, default.discount) == (0.75, 0.9, 1.0)


def test_widths_are_those_of_the_architecture_unless_given():
    assert RlSettings().resolved("default").widths == (256, 1024)
    assert RlSettings(architecture="set").resolved("default").widths == (128, 256)
    assert RlSettings(architecture="set", hidden_size=64).resolved("default").widths == (64, 256)
