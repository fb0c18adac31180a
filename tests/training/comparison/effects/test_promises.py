"""Both tables of promises: a newer measurement takes the place of an older one, and of no other."""

from dataclasses import replace

import numpy as np
import pytest

from dmix.mixing.effects.effects import Effects
from dmix.training.comparison.effects.promises import (
    EFFECTS,
    PROMISES,
    Measurement,
    missing_specs,
    read_table,
    store_measurement,
)

FOUND = Measurement(
    inputs="i",
    base=0,
    estimator="counts",
    effects=Effects(
        estimator="counts",
        dataset="d",
        environment="e",
        names=(("source", "a"), ("source", "b"), ("target", "a"), ("target", "b")),
        natural_N=np.array([0.5, 0.25, 0.25, 0.0]),
        objectives=("o", "p"),
        roles=("general", "target"),
        effect_ND=np.array([[1.0, 2.0], [-1.0, 0.0], [-1.0, -4.0], [0.0, 0.0]]),
        errors=(np.zeros((1, 4)), np.array([[3.0, 0, 0, 0], [4.0, 0, 0, 0]])),
    ),
    gains=lambda mixture_N: np.array([mixture_N[0], 2 * mixture_N[0]]),
    run_equivalents=1.5,
    processor_seconds=9.0,
)
MIXTURES = {"fresh:0/2": np.array([1.0, 0, 0, 0]), "fresh:1/2": np.array([0.5, 0.5, 0, 0])}


def test_nothing_is_promised_before_the_first_measurement(tmp_path):
    assert read_table(tmp_path, EFFECTS) == read_table(tmp_path, PROMISES) == []


def test_a_measurement_fills_both_tables(tmp_path):
    store_measurement(tmp_path, FOUND, MIXTURES)
    effects = {(row["domain"], row["objective"]): row for row in read_table(tmp_path, EFFECTS)}
    assert len(read_table(tmp_path, EFFECTS)) == 3 * 2, "a domain without text has no effect"
    row = next(r for r in read_table(tmp_path, EFFECTS) if r["field"] == "source" and r["objective"] == "p")
    # the norm of both rows of errors
    assert (row["effect"], row["stderr"]) == (2.0, pytest.approx(5.0))
    assert {row["run_equivalents"] for row in effects.values()} == {1.5}
    promised = {(row["spec"], row["objective"]): row["promised"] for row in read_table(tmp_path, PROMISES)}
    assert promised == {
        ("fresh:0/2", "o"): 1.0,
        ("fresh:0/2", "p"): 2.0,
        ("fresh:1/2", "o"): 0.5,
        ("fresh:1/2", "p"): 1.0,
    }


def test_a_newer_measurement_replaces_that_of_its_base_and_estimator_alone(tmp_path):
    others = [replace(FOUND, base=1), replace(FOUND, estimator="gradient")]
    for found in (FOUND, *others, replace(FOUND, inputs="new")):
        store_measurement(tmp_path, found, MIXTURES)
    rows = read_table(tmp_path, PROMISES)
    assert len(rows) == 3 * 4
    assert {(r["base"], r["estimator"]): r["inputs"] for r in rows} == {
        (0, "counts"): "new",
        (0, "gradient"): "i",
        (1, "counts"): "i",
    }
    assert [(r["base"], r["estimator"]) for r in rows] == sorted((r["base"], r["estimator"]) for r in rows)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({}, False),
        ({"specs": {"fresh:0/2", "natural"}}, True),
        ({"inputs": "new"}, True),
        ({"base": 1}, True),
        ({"estimator": "probe"}, True),
        ({"specs": set()}, False),
    ],
)
def test_promises_are_missing_for_other_mixtures_text_models_and_estimators(tmp_path, change, missing):
    store_measurement(tmp_path, FOUND, MIXTURES)
    asked = {"inputs": "i", "base": 0, "estimator": "counts", "specs": set(MIXTURES)} | change
    assert missing_specs(read_table(tmp_path, PROMISES), **asked) == missing
