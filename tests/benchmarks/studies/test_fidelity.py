"""Agreement of made-up effects."""

import json

import numpy as np
import pytest
from benchmarks.studies.fidelity import (
    COUNTS,
    GRADIENT,
    LARGE,
    PROBE,
    SMALL,
    Effects,
    agreements,
    all_agreements,
    real_model_effects,
    summaries,
)
from benchmarks.studies.pages import fidelity_answer, fidelity_page

DOMAINS = [("source", f"d{n}") for n in range(12)]


def effects(estimator, values, *, text="math", size=SMALL, objective="books"):
    of = dict(zip(DOMAINS, map(float, values), strict=False))
    return Effects(text=text, size=size, estimator=estimator, effects={objective: of}, price=8.0)


def test_agreement_is_over_the_domains_that_both_have():
    (row,) = agreements(effects(COUNTS, range(12)), effects(PROBE, np.arange(10) ** 3))
    assert row.domains == 10 and row.spearman == pytest.approx(1) and row.pearson < 1
    assert (row.first, row.second, row.text) == ("counts", "probe 0.37M", "math")
    assert agreements(effects(COUNTS, range(12)), effects(PROBE, range(12), objective="web")) == []


def test_a_constant_estimator_is_undefined_and_an_opposite_one_against():
    constant, opposite = effects(GRADIENT, np.zeros(12)), effects(COUNTS, -np.arange(12) % 7 - np.arange(12))
    probe = effects(PROBE, range(12))
    found = {s.first: s for s in summaries(all_agreements([constant, opposite, probe], []))}
    assert found["gradient 0.37M"].undefined == 1 and np.isnan(found["gradient 0.37M"].median)
    assert (found["counts"].agree, found["counts"].against, found["counts"].linear) == (0, 1, 0)


def test_sizes_are_compared_on_objectives_of_the_same_corpora(tmp_path):
    small = [effects(e, np.arange(12) + 0.1, objective="gsm8k") for e in (COUNTS, GRADIENT, PROBE)]
    row = {
        "stage": "effects/math/gradient",
        "effects": {
            "objectives": [{"objective": "word_problems"}],
            "effects": [
                {"field": f, "domain": d, "word_problems": n % 11} for n, (f, d) in enumerate(DOMAINS)
            ],
        },
    }
    file = tmp_path / "table.jsonl"
    file.write_text(json.dumps(row) + "\n")
    large = real_model_effects(file)
    assert [(e.estimator, e.size) for e in large] == [(GRADIENT, LARGE)]
    rows = all_agreements(small, large)
    crossed = [r for r in rows if r.text == "math, real model"]
    assert {(r.first, r.second) for r in crossed} == {
        ("counts", "gradient 135M"),
        ("gradient 0.37M", "gradient 135M"),
        ("probe 0.37M", "gradient 135M"),
    }
    assert all(r.domains == 12 for r in crossed)
    answer = fidelity_answer(summaries(rows))
    assert answer in fidelity_page(summaries(rows), rows, small) and "8.0 in `math`" in fidelity_page(
        summaries(rows), rows, small
    )
