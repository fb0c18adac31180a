"""Objectives are admitted by the variance of their mixtures, and weigh as their field and origin say."""

from types import SimpleNamespace

import numpy as np
import pytest

from dmix.training.comparison.data.settings import THIRD_LAYERS, ComparisonObjective
from dmix.training.comparison.yardstick.admission import admission_page, admissions, field_weights


def objective(name, role="general", origin="in"):
    return ComparisonObjective(name=name, role=role, corpora=("c",), origin=origin)


def test_fields_and_within_them_origins_have_equal_halves():
    found = field_weights(
        [objective("a"), objective("b"), objective("c", origin="out"), objective("d", role="target")]
    )
    assert found == pytest.approx({"a": 1 / 8, "b": 1 / 8, "c": 1 / 4, "d": 1 / 2})
    assert sum(found.values()) == pytest.approx(1) and field_weights([]) == {}


def test_a_field_alone_has_the_whole_weight():
    assert field_weights([objective("a"), objective("b")]) == pytest.approx({"a": 0.5, "b": 0.5})


OBJECTIVES = (objective("telling"), objective("noisy"))
SETTINGS = SimpleNamespace(
    name="s", objectives=OBJECTIVES, layers_of=lambda o: THIRD_LAYERS, items_of=lambda o: 40
)
TIER = SimpleNamespace(tilt_bases=2, tilt_seeds=2, tilts=4)


def tables(mixtures=4, *, without=()):
    """Runs and items of tilts: `telling` follows the mixture, `noisy` the seed."""
    rng, runs, items = np.random.default_rng(0), [], []
    for m in range(mixtures):
        for base in range(2):
            for seed in range(2):
                unit = f"{m}-{base}-{seed}"
                if unit in without:
                    continue
                runs.append(
                    {"unit_id": unit, "controller": f"m{m}", "base": base, "seed": seed}
                    | {"part": "tilt", "status": "done"}
                )
                for layer in THIRD_LAYERS:
                    for name, score in (("telling", m + 0.01 * rng.normal()), ("noisy", rng.normal())):
                        items.append({"unit_id": unit, "layer": layer, "objective": name, "score": score})
    return {"runs": runs, "items": items}


def test_an_objective_that_mixtures_move_is_admitted_and_has_the_weight():
    found = admissions(SETTINGS, TIER, tables())
    assert [(a.objective, a.layer) for a in found] == [
        ("telling", "feedback"),
        ("telling", "confirmation"),
        ("noisy", "feedback"),
        ("noisy", "confirmation"),
    ]
    telling, noisy = found[1], found[3]
    assert (telling.admitted, telling.weight, noisy.admitted, noisy.weight) == (True, 1.0, False, 0.0)
    assert telling.reliability > 0.99 and telling.bound <= telling.reliability
    page = admission_page(SETTINGS, TIER, found)
    assert "1 of 2 objectives and refuses `noisy`." in page and "4 of 4 are done" in page
    assert "Provisional" not in page and page.count("| `telling` |") == 2


def test_a_mixture_without_all_of_its_runs_does_not_count():
    found = admissions(SETTINGS, TIER, tables(without=("3-1-1",)))
    assert {a.mixtures for a in found} == {3}
    assert "Provisional, until all mixtures are done" in admission_page(SETTINGS, TIER, found)


@pytest.mark.parametrize(
    "incomplete", [{"mixtures": 1}, {"mixtures": 0}, {"without": ("1-0-0", "2-0-0", "3-0-0")}]
)
def test_nothing_is_said_before_two_mixtures_are_complete(incomplete):
    assert admissions(SETTINGS, TIER, tables(**incomplete)) == []
