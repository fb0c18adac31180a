"""Promised against real gains, from stored rows written by hand."""

import json

import numpy as np
import pytest

from dmix.mixing.space.domains import DomainSpace
from dmix.training.comparison.data.settings import ComparisonObjective, ComparisonSettings
from dmix.training.comparison.data.tiers import tier_named
from dmix.training.comparison.effects.design import mixture_of, probe_spec, setting_probes
from dmix.training.comparison.effects.judgement import (
    JUDGING,
    UTILITY,
    Stored,
    equal_sum,
    judge,
    yardstick_scales,
)
from dmix.training.comparison.effects.tables import chance_level, judged_page
from dmix.training.comparison.yardstick.csv_rows import csv_rows

OBJECTIVES = ("kept", "learnt")
SETTINGS = ComparisonSettings(
    name="s",
    protocol=3,
    source=("a",),
    target=("b",),
    steps=16,
    samples_per_step=10,
    objectives=(
        ComparisonObjective(name="kept", role="general", path="p"),
        ComparisonObjective(name="learnt", role="target", path="p"),
    ),
)
SPACE = DomainSpace(("x", "y"), np.array([40, 30, 20, 10]))
EFFECT_ND = np.array([[1.0, -1.0], [-0.2, -0.4], [-1.0, 2.0], [-1.4, 1.2]])
EFFECT_ND = EFFECT_ND - SPACE.natural_N @ EFFECT_ND


def run(part, spec, number):
    name = f"{part}-{number:02d}"
    return {
        "unit_id": name,
        "part": part,
        "base": 0,
        "controller": name,
        "seed": number,
        "status": "done",
        "spec": json.dumps({"spec": spec}),
    }


def stored(*, fresh=12, natural=3, probes=False, wrong=1.0):
    """Runs whose gains are linear in the mixture; counts promise `wrong` times the truth on `learnt`."""
    runs = [run("fresh", f"fresh:{n}/12", n) for n in range(fresh)]
    runs += [run("natural", "natural", n) for n in range(natural)]
    if probes:
        for n, probe in enumerate(setting_probes(SETTINGS, SPACE)):
            runs.append(run("probe" if probe.domains else "control", probe_spec(probe, SPACE), n))
    noise = {row["unit_id"]: 0.001 * (-1) ** row["seed"] for row in runs if row["part"] == "natural"}
    items, promises = [], []
    for row in runs:
        spec = json.loads(row["spec"])["spec"]
        gain_D = (mixture_of(spec, SETTINGS, SPACE) - SPACE.natural_N) @ EFFECT_ND
        layers = ("feedback",) if row["part"] in ("probe", "control") else ("feedback", "confirmation")
        for objective, gain, factor in zip(OBJECTIVES, gain_D, (1.0, wrong), strict=True):
            items += [
                {
                    "unit_id": row["unit_id"],
                    "layer": layer,
                    "objective": objective,
                    "score": -3 + gain + noise.get(row["unit_id"], 0.0),
                }
                for layer in layers
            ]
            promises.append(
                {
                    "estimator": "counts",
                    "base": 0,
                    "spec": spec,
                    "objective": objective,
                    "promised": factor * gain,
                }
            )
    effects = [{"estimator": "counts", "base": 0, "run_equivalents": 0.0}]
    tables = {"runs": runs, "items": items}
    return Stored(SETTINGS, tier_named("small"), SPACE, tables, promises, effects)


def by_estimator(found, objective, *, layer="confirmation"):
    return {row.estimator: row for row in found if (row.objective, row.layer) == (objective, layer)}


def test_a_promise_that_is_kept_has_rank_correlation_and_slope_one():
    counts = by_estimator(judge(stored()), "learnt")["counts"]
    assert counts.spearman == pytest.approx(1)
    # natural runs are 0.001, -0.001, 0.001 off: their mean shifts every gain by 0.0003
    assert counts.slope == pytest.approx(1, abs=0.01)
    assert counts.noise == pytest.approx(np.std([1, -1, 1], ddof=1) * 0.001)
    assert (counts.mixtures, counts.natural_runs) == (12, 3)


def test_a_promise_turned_round_spoils_its_objective_and_the_utility():
    found = judge(stored(wrong=-1.0))
    assert by_estimator(found, "learnt")["counts"].spearman == pytest.approx(-1)
    assert by_estimator(found, "kept")["counts"].spearman == pytest.approx(1)
    assert by_estimator(found, UTILITY)["counts"].spearman < 0.9


def test_probes_join_when_all_are_done_and_teach_the_coefficients():
    found = by_estimator(judge(stored(probes=True, wrong=0.25)), "learnt")
    assert set(found) == {"counts", "probe", "counts + probe", "counts + probe, fitted to probes"}
    assert found["probe"].spearman > 0.95
    # four times too small, as the probes show; the ridge holds it a little
    assert found["counts"].slope == pytest.approx(4, abs=0.05)
    assert found["counts + probe, fitted to probes"].slope == pytest.approx(1, abs=0.2)
    less = stored(probes=True)
    less.tables["runs"].pop()
    assert "probe" not in by_estimator(judge(less), "learnt")


def test_nothing_is_judged_before_a_few_runs_are_done():
    assert judge(stored(fresh=2)) == []
    assert judge(stored(natural=1)) == []


def test_two_promises_count_alike_whatever_their_units():
    first_MD = np.array([[1.0], [2.0], [3.0]])
    other_MD = np.array([[100.0], [0.0], [200.0]])
    sum_MD = equal_sum(first_MD, other_MD)
    np.testing.assert_allclose((sum_MD - first_MD).std(0), first_MD.std(0))
    np.testing.assert_allclose(equal_sum(first_MD, np.zeros((3, 1))), first_MD)


def test_table_and_page_hold_every_estimator():
    found = judge(stored(probes=True))
    rows = csv_rows(found).splitlines()
    assert len(rows) == 1 + 2 * 3 * 4
    page = judged_page(SETTINGS, found, planned=12)
    assert "Provisional" not in page and "| `learnt` | 0.500 |" in page
    few = judged_page(SETTINGS, judge(stored(fresh=5)), planned=12)
    assert "Provisional, 5 of 12" in few and "±1" not in few


def test_page_names_the_chance_level_of_its_own_number_of_mixtures():
    # tables: 0.587 of 12 pairs, 0.648 of 10; 24 of 720 orders of six exceed 29/35; 2 of 24 of four give ±1
    assert chance_level(12) == pytest.approx(0.587, abs=0.015)
    assert chance_level(10) == pytest.approx(0.648, abs=0.015)
    assert chance_level(6) == pytest.approx(29 / 35)
    assert chance_level(4) is None and chance_level(1) is None
    page = judged_page(SETTINGS, judge(stored(fresh=6)), planned=6)
    assert "With 6 mixtures" in page and "±0.83" in page and "welve" not in page
    assert "too few" in judged_page(SETTINGS, judge(stored(fresh=4)), planned=4)


def test_page_says_where_weights_and_scales_come_from():
    found = judge(stored())
    assert yardstick_scales(stored(), JUDGING) is None
    assert "The yardstick is not run" in judged_page(SETTINGS, found, planned=12, admitted=False)
    assert "The yardstick is not run" not in judged_page(SETTINGS, found, planned=12, admitted=True)
