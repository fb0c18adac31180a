"""How well a regressor ranks runs that it has not seen."""

import numpy as np
import pytest

from dmix.mixing.regression.judge import judge, rank_correlation
from dmix.mixing.regression.tables import load_tables

DOMAINS, LOSSES = ("train_a", "train_b", "train_c"), ("loss_x", "loss_y")


def law(mixtures, scale):
    """Losses whose ranks follow the share of one domain each, whatever the scale."""
    return scale * np.stack([2 - mixtures[:, 0], np.exp(-2 * mixtures[:, 1])], axis=1)


def write(path, columns, rows):
    lines = [",".join(["index", *columns])]
    lines += [",".join([str(i), *(f"{value:.6f}" for value in row)]) for i, row in enumerate(rows, start=1)]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path):
    for number, (kind, size) in enumerate((("train", "1m"), ("test", "1m"), ("test", "1B"), ("test", "60m"))):
        mixtures = np.random.default_rng(number).dirichlet(np.ones(3), 80 if kind == "train" else 30)
        write(tmp_path / f"{kind}_mixture_{size}.csv", DOMAINS, mixtures)
        losses = law(mixtures, {"1m": 1.0, "60m": 0.7, "1B": 0.5}[size])
        write(tmp_path / f"{kind}_pile_loss_{size}.csv", LOSSES, losses)
    return tmp_path


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
