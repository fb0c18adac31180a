"""`dmix mix probe` and `dmix mix plan` on a tiny dataset, from text to a mixture file."""

import json

import pytest
import yaml

from dmix.mixing.controllers.fixed import static
from dmix.mixing.space.domains import DomainSpace
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


@pytest.fixture
def dmix(on_warehouse, tiny_warehouse):
    return on_warehouse(tiny_warehouse)


@pytest.fixture
def probed(dmix, environment_file):
    code, out, _ = dmix("mix", "probe", "--environment", str(environment_file), "--name", "c", "--json")
    assert code == 0
    return json.loads(out)


def test_counts_find_the_domain_that_the_items_come_from(probed):
    assert probed["estimator"] == "counts"
    # the items of each objective are written in the letters of one field
    best = {
        objective: max(probed["effects"], key=lambda row: row[objective])["field"]
        for objective in ("general", "target")
    }
    assert best == {"general": "source", "target": "target"}


def test_the_same_question_is_answered_once(dmix, probed, environment_file):
    code, _, err = dmix("mix", "probe", "--environment", str(environment_file), "--name", "c")
    assert code == 0 and "nothing to do" in err


def test_the_table_names_domains_and_what_is_noise(dmix, environment_file):
    code, out, err = dmix("mix", "probe", "--environment", str(environment_file))
    assert code == 0 and "reliability" in out and "natural share" in out
    assert "dmix mix plan --probe counts-" in err


def test_a_dry_run_says_that_nothing_is_trained(dmix, environment_file):
    code, out, _ = dmix("mix", "probe", "--environment", str(environment_file), "--dry-run", "--json")
    assert code == 0 and json.loads(out)["tokens_trained"] == 0


def test_effects_are_in_the_catalog_and_verified(dmix, probed):
    code, out, _ = dmix("sql", "select count(*) as rows from effects where name = 'c'", "--format", "json")
    assert code == 0 and json.loads(out)[0]["rows"] == 2 * len(read_dataset_manifest(dmix.warehouse).streams)


def test_a_plan_is_a_file_that_static_mixing_reads(dmix, probed, tmp_path):
    out_file = tmp_path / "mixture.yaml"
    code, out, _ = dmix("mix", "plan", "--probe", "c", "--out", str(out_file), "--json")
    assert code == 0
    promised = json.loads(out)
    assert promised["effects"] == ["c"] and promised["file"] == str(out_file)
    assert all(passes <= 4 + 1e-6 for passes in promised["passes"].values())
    assert sum(promised["mixture"].values()) == pytest.approx(1)
    space = DomainSpace.of_dataset(read_dataset_manifest(dmix.warehouse))
    static(str(out_file), warehouse=dmix.warehouse, space=space)
    assert out_file.read_text().startswith("# Plan from effects c ")


def test_a_plan_prints_shares_passes_and_the_promise(dmix, probed, tmp_path):
    code, out, err = dmix("mix", "plan", "--probe", "c", "--out", str(tmp_path / "m.yaml"), "--dry-run")
    assert code == 0 and "passes" in out and "utility" in err and not (tmp_path / "m.yaml").exists()


@pytest.mark.parametrize("form", ["streaming", "axolotl"])
def test_other_trainers_get_their_own_files(dmix, probed, tmp_path, form):
    path = tmp_path / "m.yaml"
    code, _, _ = dmix("mix", "plan", "--probe", "c", "--out", str(path), "--format", form)
    assert code == 0
    content = yaml.safe_load(path.read_text())
    if form == "streaming":
        assert sum(s["proportion"] for s in content["streams"]) == pytest.approx(1, abs=1e-4)
        assert all(s["local"].startswith(str(dmix.warehouse.root)) for s in content["streams"])
    else:
        assert all(0 < d["weight"] <= 1 for d in content["datasets"])


def test_megatron_gets_weights_and_prefixes(dmix, probed, tmp_path):
    path = tmp_path / "blend.txt"
    assert dmix("mix", "plan", "--probe", "c", "--out", str(path), "--format", "megatron")[0] == 0
    words = path.read_text().split()
    assert sum(map(float, words[::2])) == pytest.approx(1, abs=1e-4)
    assert all(word.endswith("_text_document") for word in words[1::2])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--probe", "nothing"), "mix probe"),
        (("--samples", "100000000"), "--max-passes"),
        (("--pull", "-1"), "from 0 on"),
    ],
)
def test_what_cannot_be_planned_is_refused(dmix, probed, tmp_path, arguments, said):
    code, _, err = dmix("mix", "plan", "--out", str(tmp_path / "m.yaml"), *arguments)
    assert code == 2 and said in err
