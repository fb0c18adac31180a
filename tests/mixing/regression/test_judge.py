"""How well a regressor ranks runs that it has not seen."""

import numpy as np
import pytest
from tests.mixing.regression.known_tables import known_tables

from dmix.mixing.regression.judge import judge, rank_correlation
from dmix.mixing.regression.tables import load_tables

folder = pytest.fixture(known_tables)


def test_judging_a_known_law(folder):
    train, tests = load_tables(folder)
    lines = []
    report = judge("gaussian-process", train=train, tests=tests, progress=lines.append)
    assert report["fit"]["runs"] == 80
    for size in ("1m", "60m", "1B"):
        assert report["tests"][size]["mean_spearman"] > 99
    assert report["tests"]["1m"]["squared_error"]["loss_x"] < 1e-3
    assert report["tests"]["1B"]["squared_error"] is None
    assert len(lines) == 4


def test_rank_correlation_worked_by_hand():
    # ranks 1 2 3 4 against 2 1 3 4: 1 - 6 * 2 / (4 * 15) = 0.8; a constant column tells nothing
    found = np.array([[1.0, 1], [2, 2], [3, 3], [4, 4]])
    predicted = np.array([[0.2, 5.0], [0.1, 5], [7, 5], [9, 5]])
    assert rank_correlation(predicted, found) == pytest.approx([80, 0])
