"""Setting files."""

from pathlib import Path

import pytest
import yaml

from dmix.training.comparison.data.prepare import run_training
from dmix.training.comparison.data.settings import load_setting
from dmix.training.comparison.data.tiers import tier_named
from dmix.warehouse_schema.errors import InputError, NotFoundError

SHIPPED = Path(__file__).parents[4] / "benchmarks" / "quality"


@pytest.mark.parametrize("name", ["origin", "field", "synthetic"])
def test_shipped_settings_load_and_their_steps_fit_their_batches(name):
    loaded = load_setting(str(SHIPPED / f"{name}.yaml"))
    assert loaded.settings.name == name
    assert loaded.settings.samples_per_step % run_training(loaded).batch_size == 0
    assert 4 <= sum(objective.weight != 0 for objective in loaded.settings.objectives) <= 6


def test_the_two_shipped_settings_differ_in_the_domain_space_alone():
    origin, field = (yaml.safe_load((SHIPPED / f"{name}.yaml").read_text()) for name in ("origin", "field"))
    different = {name for name in origin if origin[name] != field[name]}
    assert different == {"name", "title", "classifier"}


def test_the_synthetic_setting_differs_from_origin_in_who_writes_the_source_alone():
    origin, synthetic = (
        yaml.safe_load((SHIPPED / f"{name}.yaml").read_text()) for name in ("origin", "synthetic")
    )
    different = {name for name in synthetic if origin.get(name) != synthetic[name]}
    assert different == {"name", "title", "synthetic_source", "synthetic_quality", "base_of"}
    assert origin.keys() <= synthetic.keys()


def test_the_hash_follows_what_decides_results(toy_setting, tmp_path):
    def digest(**changes):
        content = yaml.safe_load(toy_setting.read_text()) | changes
        for name in ("model", "training", "base-training"):
            (tmp_path / f"{name}.yaml").write_text((toy_setting.parent / f"{name}.yaml").read_text())
        (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
        return load_setting(str(tmp_path / "s.yaml")).digest

    same = load_setting(str(toy_setting)).digest
    assert digest() == digest(title="Other words") == digest(max_passes=4) == same
    assert digest(max_passes=3) != same


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"name": "x", "role": "general"}, "needs either corpora or a path"),
        ({"name": "x", "role": "general", "path": "p", "layers": ["other"]}, "has the layers"),
        ({"name": "x", "role": "general", "path": "p", "layers": ["feedback"]}, "set its weight to 0"),
    ],
)
def test_a_wrong_objective_is_refused(toy_setting, tmp_path, objective, message):
    content = yaml.safe_load(toy_setting.read_text()) | {"objectives": [objective]}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=message):
        load_setting(str(tmp_path / "s.yaml"))


def test_an_unknown_setting_or_tier_is_named():
    with pytest.raises(
        NotFoundError, match=r"'nowhere' does not exist.*quality/nowhere\.yaml; give a setting file"
    ):
        load_setting("nowhere")
    with pytest.raises(InputError, match="tier is 'huge', expected one of smoke, small, full"):
        tier_named("huge")
