import numpy as np
import pytest
from tests.training.report.fixtures import add_run, report_page

from dmix.mixing.effects.effects import Effects
from dmix.mixing.effects.store import StoredEffects, write_effects
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.objectives import Environment, Objective
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

OBJECTIVES = ("general", "maths")
PROMISE = {
    "effects": ["counted"],
    "mixture": {"source/News": 1.0},
    "objectives": {"general": {"gain": -0.01, "stderr": 0.0}, "maths": {"gain": 0.25, "stderr": 0.05}},
    "utility": 0.1,
    "utility_stderr": 0.01,
    "note": "All objectives have effects larger than their noise.",
}


@pytest.fixture
def counted(warehouse):
    space = DomainSpace.of_dataset(read_dataset_manifest(warehouse))
    effect = np.where(space.active_N, np.where(space.target_N, 1.0, -0.5), 0.0)
    effect = np.where(space.active_N, effect - space.natural_N @ effect, 0.0)
    effects = Effects(
        name="counted",
        estimator="counts",
        dataset="d0123456789abcde",
        environment="e",
        names=space.names,
        natural_N=space.natural_N,
        objectives=OBJECTIVES,
        roles=("general", "target"),
        effect_ND=np.stack([-effect, effect], 1),
        errors=(0.01 * np.diag(space.active_N), 5.0 * np.diag(space.active_N)),
    )
    environment = Environment(
        objectives=tuple(
            Objective(name=name, role=role, kind="qa", path="x.jsonl")
            for name, role in zip(OBJECTIVES, ("general", "target"), strict=True)
        )
    )
    write_effects(warehouse, StoredEffects(effects=effects, counts=None, environment=environment, facts={}))
    return warehouse


def test_the_page_shows_which_text_helps_what_and_what_is_noise(counted, tmp_path):
    page = report_page(counted, tmp_path)
    assert "effects-counted-map" in page.figures and "Effects of domains on objectives" in page.text
    rows = page.table("beyond noise")
    assert (rows["general"]["beyond noise"], rows["maths"]["beyond noise"]) == ("yes", "no")


def test_a_plan_is_shown_beside_what_it_got_over_natural_mixing(warehouse, tmp_path):
    add_run(warehouse, "planned", controller="plan:counted", gain=0.2, settings={"promise": PROMISE})
    add_run(warehouse, "natural", controller="natural", gain=0.1, seed=1)
    page = report_page(warehouse, tmp_path)
    row = page.table("predicted over natural")["maths"]
    # four steps of 0.2 against four of 0.1
    assert row["measured over natural"] == "+0.400" and row["measured since the start"] == "+0.800"
    assert row["predicted over natural"] == "+0.250 ± 0.098"
    assert "Compared with natural" in page.text


def test_without_a_natural_run_the_page_says_what_is_missing(warehouse, tmp_path):
    add_run(warehouse, "planned", controller="plan:counted", settings={"promise": PROMISE})
    add_run(warehouse, "other", controller="natural", step_samples=160)
    page = report_page(warehouse, tmp_path)
    assert page.table("predicted over natural")["maths"]["measured over natural"] in ("", "–", "—")
    assert "--controller natural" in page.text
