"""Times are those of idle cores; a load is said beside them."""

import pytest

from dmix.cli.workflows import timing
from dmix.cli.workflows.timing import estimate


@pytest.mark.parametrize(
    ("slower", "said"),
    [
        (1.0, "about 2 min"),
        (1.2, "about 2 min"),  # within the error of the estimate
        (3.0, "about 2 min on idle cores, about 6 min at the present load"),
    ],
)
def test_a_load_is_said_beside_the_time_of_idle_cores(monkeypatch, slower, said):
    asked = []
    monkeypatch.setattr(timing, "slowdown", lambda cores: asked.append(cores) or slower)
    assert estimate(120) == said and estimate(120, cores=1) == said
    assert asked == [None, 1]
