"""Mixtures of constant cells: what they learn from, and that they never see the base model that judges."""

import numpy as np
import pytest
from tests.training.comparison.rivals.cell_rows import BASES, EFFECT_ND, SETTINGS, SPACE, TOKENS, stored

from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.effects.judgement import FEEDBACK, Stored, yardstick_scales
from dmix.training.comparison.rivals.plans import (
    CellPlans,
    best_share,
    mixmin_mixture,
    read_plans,
    regmix_mixture,
    write_plans,
)
from dmix.training.comparison.yardstick.designs import grid_shares
from dmix.warehouse_schema.errors import InputError


@pytest.fixture(scope="module")
def rows():
    return stored()


@pytest.fixture(scope="module")
def value_D(rows):
    weight_D, scale_D = yardstick_scales(rows, FEEDBACK)
    return weight_D / scale_D


def without(rows, base):
    """The rows without the runs of a base model."""
    runs = [row for row in rows.tables["runs"] if row["base"] != base]
    return Stored(rows.settings, rows.tier, rows.space, {**rows.tables, "runs": runs}, (), ())


def spoiled(rows, base):
    """The rows, with the opposite gains on a base model."""
    names = {row["unit_id"] for row in rows.tables["runs"] if row["base"] == base}
    items = [
        {**row, "score": 2 * row["base_score"] - row["score"]} if row["unit_id"] in names else row
        for row in rows.tables["items"]
    ]
    return Stored(rows.settings, rows.tier, rows.space, {**rows.tables, "items": items}, (), ())


def test_regmix_finds_what_helps_and_does_not_see_the_base_model_that_judges(rows, value_D):
    mixture_N, facts = regmix_mixture(rows, 3, value_D=value_D)
    gain = float((mixture_N - SPACE.natural_N) @ EFFECT_ND @ value_D)
    assert gain > 0.5 and facts["radius"] in (0.1, 0.3, 0.6)
    # 12 tilts, and the runs of the design on three of four base models
    assert facts["runs"] == 12 + 52 * 3 // 4
    np.testing.assert_array_equal(regmix_mixture(spoiled(rows, 3), 3, value_D=value_D)[0], mixture_N)


def test_the_grid_takes_the_best_share_of_the_other_base_models(rows, value_D):
    gains: dict[float, list[float]] = {share: [] for share in grid_shares(SETTINGS, SPACE, count=5)}
    for run in rows.runs("grid", 1):
        gains[float(run["controller"].removeprefix("share-"))].append(
            rows.gains([run], FEEDBACK)[0] @ value_D
        )
    assert best_share(rows, 0, value_D=value_D) == max(gains, key=lambda share: np.mean(gains[share]))
    assert best_share(spoiled(rows, 0), 0, value_D=value_D) == best_share(rows, 0, value_D=value_D)
    assert best_share(spoiled(rows, 1), 0, value_D=value_D) != best_share(rows, 0, value_D=value_D)


def test_mixmin_reads_the_probes_of_its_own_base_model(rows, value_D):
    found = [mixmin_mixture(rows, base, value_D=value_D, tokens=TOKENS) for base in range(BASES)]
    for mixture_N in found:
        assert mixture_N.sum() == pytest.approx(1) and (mixture_N >= 0).all()
        # domain x of the target helps most
        assert mixture_N[2] > SPACE.natural_N[2]
    same_N = mixmin_mixture(spoiled(rows, 1), 0, value_D=value_D, tokens=TOKENS)
    np.testing.assert_array_equal(same_N, found[0])
    with pytest.raises(InputError, match="base model 1 has no probes"):
        mixmin_mixture(without(rows, 1), 1, value_D=value_D, tokens=TOKENS)


def test_missing_runs_name_the_stage_that_makes_them(value_D):
    nothing = Stored(SETTINGS, stored().tier, SPACE, {"runs": [], "items": [], "steps": []}, (), ())
    with pytest.raises(InputError, match="--stage rivals"):
        best_share(nothing, 0, value_D=value_D)
    with pytest.raises(InputError, match="--stage rivals"):
        regmix_mixture(nothing, 0, value_D=value_D)


def test_plans_are_read_back_as_written(tmp_path):
    paths = StudyPaths.of("s", work=tmp_path / "work", results=tmp_path / "results")
    assert read_plans(paths) is None
    plans = CellPlans(
        inputs="i",
        protocol_sha256="p",
        weights={"kept": 0.5, "learnt": 0.5},
        scales={"kept": 0.1, "learnt": 0.2},
        mixtures={"grid": [[0.5, 0.5], [0.25, 0.75]]},
        facts={"grid": [0.5, 0.75]},
    )
    write_plans(paths, plans)
    assert read_plans(paths) == plans
    np.testing.assert_array_equal(plans.mixture_N("grid", 1), [0.25, 0.75])
    assert plans.mixture_N("odm", 1) is None
