"""The closing table averages over seeds, and the note says what so few runs cannot show."""

from types import SimpleNamespace

import numpy as np
import pytest

from dmix.cli.workflows.quickstart.answer import comparison, size_note
from dmix.training.evaluation.verdicts import Group


def summary(last, *, source=300):
    scores_TD = np.array([[-3.0, -2.0], last])
    return SimpleNamespace(
        objectives=("general", "target"), feedback_TD=scores_TD, source_tokens=source, tokens=1000
    )


def groups(*utilities):
    return [
        Group(controller=str(i), guided=False, utilities=of, changes={}, roles={}, scales={})
        for i, of in enumerate(utilities)
    ]


def test_a_row_per_controller_has_means_over_seeds_and_the_first_row_the_start():
    columns, rows = comparison(
        {"effect:quickstart": [summary([-2.0, -1.0]), summary([-1.0, -0.5], source=500)]}
    )
    assert columns == ["controller", "general", "target", "source tokens", "target tokens", "seeds"]
    assert rows == [["(before)", -3.0, -2.0, None, None, None], ["effect", -1.5, -0.75, 400, 600, 2]]


@pytest.mark.parametrize(
    ("utilities", "said"),
    [
        (((1.0,), (2.0,)), "at least two seeds"),
        (((1.0, 1.1), (5.0, 5.1)), "2 seeds distinguish"),
        (((1.0, 2.0), (1.1, 2.1)), "seeds; 2 ran"),
    ],
)
def test_the_note_says_how_many_seeds_would_suffice(utilities, said):
    note = size_note(groups(*utilities), summary([-1.0, -1.0]))
    assert said in note and "proves nothing" in note and "1,000 tokens per run" in note
