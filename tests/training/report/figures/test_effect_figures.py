import numpy as np

from dmix.training.report.figures.effect_figures import effects, helpful_order
from dmix.training.report.queries.effects import EffectFacts


def facts(effect_PD, stderr=0.01):
    effect_PD = np.asarray(effect_PD, float)
    return EffectFacts(
        name="c",
        estimator="counts",
        dataset="d",
        model="",
        pairs=tuple(("source", f"d_{i}") for i in range(len(effect_PD))),
        objectives=("books", "maths")[: effect_PD.shape[1]],
        effect_PD=effect_PD,
        stderr_PD=np.full(effect_PD.shape, stderr),
        reliability=(("general", 0.1, 0.01, 0.99, True),) * effect_PD.shape[1],
    )


def test_domains_stand_beside_the_objective_that_they_help_most():
    order = helpful_order(np.array([[0.0, 0.2], [-1.0, -2.0], [0.5, 0.1], [0.9, 0.0], [0.0, 3.0]]))
    # books by how much, then maths by how much, then what helps nothing
    assert order == [3, 2, 4, 0, 1]


def test_cells_show_a_tenth_of_the_effect_and_noise_stays_empty():
    panel = effects(facts([[1.0, 0.015], [-0.5, 2.0]]), panel_id="p")
    (trace,) = panel.figures[0].variants[""].traces
    assert trace["y"] == ["source: d 0", "source: d 1"]
    assert trace["text"] == [["+0.100", ""], ["-0.050", "+0.200"]]
    assert trace["z"][0][1] is None and trace["zmax"] == -trace["zmin"]


def test_effects_that_are_all_noise_still_give_a_map():
    panel = effects(facts([[0.01], [0.0]]), panel_id="p")
    assert panel.figures[0].variants[""].traces[0]["z"] == [[None], [None]]
