"""`dmix mix probe` and `dmix mix plan` on a tiny dataset, from text to a mixture file."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from dmix.mixing.controllers.fixed import static
from dmix.mixing.effects.store import read_effects
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.mixtures import parse_mixture
from dmix.warehouse_schema.errors import InputError
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


@pytest.mark.slow
def test_spark_counts_the_same_bytes_as_this_process(dmix, probed, environment_file):
    call = ("mix", "probe", "--environment", str(environment_file), "--name", "spark")
    assert dmix(*call, "--master", "local[2]")[0] == 0
    here, there = dmix.warehouse.effects("c"), dmix.warehouse.effects("spark")
    names = {"effects.parquet", "errors.parquet", "tokens.parquet"}
    assert {path.name for path in there.glob("*.parquet")} == names
    assert {n: (here / n).read_bytes() for n in names} == {n: (there / n).read_bytes() for n in names}


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
    assert out_file.read_text().startswith("# This plan uses effects c,")


def test_a_plan_prints_shares_passes_and_the_promise(dmix, probed, tmp_path):
    code, out, err = dmix("mix", "plan", "--probe", "c", "--out", str(tmp_path / "m.yaml"), "--dry-run")
    assert "cover only the error of the effects" in err and "0.39 to 0.65" in err
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
        (("--pull", "-1"), "expected 0 or more"),
    ],
)
def test_what_cannot_be_planned_is_refused(dmix, probed, tmp_path, arguments, said):
    code, _, err = dmix("mix", "plan", "--out", str(tmp_path / "m.yaml"), *arguments)
    assert code == 2 and said in err


@pytest.fixture
def files(tmp_path, tiny_model):
    """A model file and a training file for the tiny dataset."""
    (tmp_path / "model.yaml").write_text(
        yaml.safe_dump({"architecture": "llama", "config": tiny_model.config, "seed": 1})
    )
    (tmp_path / "training.yaml").write_text("batch_size: 8\nlearning_rate: 3.0e-3\nwarmup: 0.0\n")
    return ("--model", str(tmp_path / "model.yaml"), "--training", str(tmp_path / "training.yaml"))


def best_fields(found):
    return {
        objective: max(found["effects"], key=lambda row: row[objective])["field"]
        for objective in ("general", "target")
    }


def test_gradients_say_beforehand_what_they_take_and_find_the_domain(dmix, environment_file, files):
    call = ("mix", "probe", "--environment", str(environment_file), "--estimator", "gradient", *files)
    code, out, _ = dmix(*call, "--max-hours", "0.01", "--dry-run", "--json")
    assert code == 0 and 0 < json.loads(out)["hours"] <= 0.0101
    code, out, _ = dmix(*call, "--max-hours", "0.001", "--name", "g", "--json")
    assert code == 0 and best_fields(json.loads(out)) == {"general": "source", "target": "target"}
    code, out, _ = dmix(
        "mix", "plan", "--probe", "g", "--out", str(environment_file.parent / "g.yaml"), "--json"
    )
    assert code == 0 and json.loads(out)["effects"] == ["g"]


def test_probes_train_through_the_same_loop_and_go_on_where_they_were(
    dmix, environment_file, files, monkeypatch
):
    call = ("mix", "probe", "--environment", str(environment_file), "--estimator", "probe", *files)
    code, out, _ = dmix(*call, "--groups", "2", "--dry-run", "--json")
    assert code == 0
    planned = json.loads(out)
    # two groups and ceil(2 * sqrt(2)) controls
    assert (planned["runs"], planned["groups"]) == (5, 2) and planned["run_equivalents"] == 1.25
    from dmix.training.farm import probe as runs

    train, trained = runs.train, []

    def stumble(job, **options):
        if job.run_id == "probe-01" and len(trained) == 3:
            raise InputError("cut off")
        trained.append(job.run_id)
        return train(job, **options)

    monkeypatch.setattr(runs, "train", stumble)
    assert dmix(*call, "--groups", "2", "--name", "p")[0] == 2
    assert dmix(*call, "--groups", "2", "--name", "p")[0] == 2
    assert trained == ["control-01", "control-02", "control-03"]
    trained.append("")
    code, out, _ = dmix(*call, "--groups", "2", "--name", "p", "--json")
    assert code == 0 and trained[4:] == ["probe-01", "probe-02"]
    found = json.loads(out)
    assert found["estimator"] == "probe"
    natural = dict.fromkeys(("general", "target"), 0.0)
    samples = {s.field + "/" + s.domain: s.samples for s in read_dataset_manifest(dmix.warehouse).streams}
    for row in found["effects"]:
        for name in natural:
            natural[name] += samples[f"{row['field']}/{row['domain']}"] * row[name]
    assert natural == pytest.approx({"general": 0, "target": 0}, abs=1e-6)
    folder = dmix.warehouse.effects("p")
    items = pq.read_table(folder / "items.parquet")
    assert set(items["probe"].to_pylist()) == {"before", *trained[:3], *trained[4:]}
    facts = json.loads((folder / "effects.json").read_text())["facts"]
    assert len(facts["linearity"]) == 2 and not (folder / "probes").exists()


def test_probes_and_gradients_of_a_short_run_are_sized_for_it(dmix, environment_file, files):
    call = ("mix", "probe", "--environment", str(environment_file), *files, "--groups", "2")
    probe = (*call, "--estimator", "probe", "--dry-run", "--json", "--samples")
    sizes = [json.loads(dmix(*probe, str(samples))[1])["tokens"] for samples in (128, 256)]
    assert sizes[1] == 2 * sizes[0] > 0
    gradient = (*call, "--estimator", "gradient", "--max-hours", "0.01", "--json", "--samples")
    found = [json.loads(dmix(*gradient, str(samples))[1])["objectives"] for samples in (64, 640)]
    assert found[0] != found[1]


def test_probes_that_cannot_fit_the_time_are_refused(dmix, environment_file, files):
    call = ("mix", "probe", "--environment", str(environment_file), "--estimator", "probe", *files)
    code, _, err = dmix(*call, "--max-hours", "0.000001", "--dry-run")
    assert code == 2 and "--max-hours" in err


def test_a_trainer_of_ones_own_gets_mixtures_and_gives_scores_back(dmix, probed, environment_file, tmp_path):
    out = tmp_path / "probes"
    call = ("mix", "probe", "--environment", str(environment_file))
    code, shown, _ = dmix(*call, "--export", str(out), "--json")
    assert code == 0
    names = json.loads(shown)["probes"]
    space = DomainSpace.of_dataset(read_dataset_manifest(dmix.warehouse))
    for name in names:
        parse_mixture(yaml.safe_load((out / f"{name}.yaml").read_text()), space=space, where=name)
    code, _, err = dmix(*call, "--scores", str(out / "scores.csv"))
    assert code == 2 and "row 1" in err
    design = {p["probe"]: p for p in json.loads((out / "probes.json").read_text())["probes"]}
    rows = ["probe,objective,score"]
    for number, name in enumerate(names):
        field = design[name]["domains"][0].partition("/")[0] if design[name]["domains"] else ""
        for objective, home in (("general", "source"), ("target", "target")):
            gain = 0.0 if not field else (0.5 if field == home else -0.5)
            rows.append(f"{name},{objective},{-3 + gain + 0.001 * (-1) ** number}")
    (out / "scores.csv").write_text("\n".join(rows) + "\n")
    code, shown, err = dmix(*call, "--scores", str(out / "scores.csv"), "--name", "own", "--json")
    assert code == 0, err
    assert best_fields(json.loads(shown)) == {"general": "source", "target": "target"}
    code, _, err = dmix("mix", "plan", "--probe", "own", "--probe", "c", "--out", str(out / "m.yaml"))
    assert code == 0, err


def _entries(change):
    """Changes each probe of a design."""
    return lambda design: [change(entry) for entry in design["probes"]]


DAMAGE = {
    "no objectives": lambda design: design.pop("objectives"),
    "objectives are a number": lambda design: design.update(objectives=3),
    "no probes": lambda design: design.pop("probes"),
    "probes are none": lambda design: design.update(probes=[]),
    "probes are a number": lambda design: design.update(probes=3),
    "probes are texts": lambda design: design.update(probes=["probe-01"]),
    "controls alone": lambda design: design.update(
        probes=[entry for entry in design["probes"] if not entry["domains"]]
    ),
    "no controls": lambda design: design.update(
        probes=[entry for entry in design["probes"] if entry["domains"]]
    ),
    "a probe twice": lambda design: design["probes"].append(design["probes"][-1]),
    "a mixture is a list": _entries(lambda entry: entry.update(mixture=[1.0])),
    "a mixture is empty": _entries(lambda entry: entry.update(mixture={})),
    "an unknown domain": _entries(lambda entry: entry["mixture"].update({"source/none": 0.1})),
    "a weight is a text": _entries(lambda entry: entry["mixture"].update({"source/A": "much"})),
    "a weight is not a number": _entries(lambda entry: entry["mixture"].update({"source/A": float("nan")})),
    "a weight is infinite": _entries(lambda entry: entry["mixture"].update({"source/A": float("inf")})),
    "a weight is negative": _entries(lambda entry: entry["mixture"].update({"source/A": -0.5})),
    "weights of 9 in all": _entries(lambda entry: entry["mixture"].update({"source/A": 8.5})),
    "a weight beyond all numbers": _entries(lambda entry: entry["mixture"].update({"source/A": 10**400})),
    "a dose is not a number": _entries(lambda entry: entry.update(dose=float("nan"))),
    "a dose is a list": _entries(lambda entry: entry.update(dose=[])),
    "domains are a number": _entries(lambda entry: entry.update(domains=1)),
    "a domain is a list": _entries(lambda entry: entry.update(domains=[["source/A"]])),
}


def test_a_damaged_design_is_refused_by_name_whatever_is_wrong_with_it(dmix, environment_file, tmp_path):
    out = tmp_path / "probes"
    call = ("mix", "probe", "--environment", str(environment_file))
    assert dmix(*call, "--export", str(out))[0] == 0
    table = (out / "scores.csv").read_text().splitlines()
    (out / "scores.csv").write_text("\n".join([table[0], *(row + "-2.5" for row in table[1:])]))
    whole, wrong = (out / "probes.json").read_text(), {}
    for name, change in DAMAGE.items():
        design = json.loads(whole)
        change(design)
        (out / "probes.json").write_text(json.dumps(design))
        code, _, err = dmix(*call, "--scores", str(out / "scores.csv"), "--name", "damaged")
        if code != 2 or "probes.json" not in err:
            wrong[name] = (code, err)
    assert not wrong
    assert not (dmix.warehouse.effects("damaged")).exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--estimator", "gradient"), "--model"),
        (("--export", "a", "--scores", "b"), "give one of the two"),
    ],
)
def test_options_that_do_not_go_together_are_refused(dmix, environment_file, arguments, said):
    code, _, err = dmix("mix", "probe", "--environment", str(environment_file), *arguments)
    assert code == 2 and said in err


def test_a_checked_plan_says_what_its_runs_came_to_and_keeps_them(dmix, probed, files, tmp_path, monkeypatch):
    out = tmp_path / "m.yaml"
    call = ("mix", "plan", "--probe", "c", "--out", str(out), "--check", *files, "--samples", "128")
    code, _, err = dmix(*call, "--dry-run")
    assert code == 0 and "6 runs" in err and not out.exists()
    code, shown, _ = dmix(*call, "--json")
    assert code == 0
    found = json.loads(shown)
    assert "6 runs checked" in found["checked"]
    assert found["natural"] == ("less than two" in found["checked"])
    kept = found["checked"].split("Effects '")[1].split("'")[0]
    fit = read_effects(dmix.warehouse, kept).facts["fit"]
    assert kept.startswith("c-checked-") and len(fit["beta"]) == len(fit["natural_gain"]) == 2
    assert fit["samples"] == 128 and all(beta >= 0 for beta in fit["beta"])
    # the newest effects plan next, with the coefficients of the check
    code, shown, _ = dmix("mix", "plan", "--out", str(out), "--json")
    assert code == 0 and json.loads(shown)["effects"] == [kept]
    runs = sorted(path.stem for path in dmix.warehouse.effects("c").glob("checks/*/*.parquet"))
    assert runs == ["natural-1", "natural-2", "pull-1", "pull-2", "pull-3", "pull-4"]
    monkeypatch.setattr("dmix.training.farm.probe.train", None)
    assert dmix(*call)[0] == 0


def test_a_check_shows_what_was_promised_before_it_beside_what_its_run_gained(
    dmix, probed, files, tmp_path, monkeypatch
):
    # the run of the first plan is ahead, whatever was really trained
    def choose(plan_items_PI, natural_items_CI, *, objective_I, value_D):
        size = len(plan_items_PI)
        return 0, np.array([0.5] + [0.0] * (size - 1)), np.full(size, 0.01)

    monkeypatch.setattr("dmix.mixing.effects.plan.checked_choice", choose)
    call = ("mix", "plan", "--probe", "c", "--out", str(tmp_path / "m.yaml"), *files, "--samples", "128")
    before = json.loads(dmix(*call[:6], "--samples", "128", "--pull", "0.05", "--json")[1])
    code, shown, _ = dmix(*call, "--check", "--json")
    found = json.loads(shown)
    assert code == 0 and found["mixture"] == before["mixture"]
    # the promise is the one from before: the runs did not write it again
    assert found["objectives"] == before["objectives"] and found["utility"] == before["utility"]
    assert found["measured"]["utility"] == 0.5 and set(found["measured"]["objectives"]) == {
        "general",
        "target",
    }
    assert before["measured"] is None
    assert "check run: +0.500 (standard error 0.010)" in (tmp_path / "m.yaml").read_text()


def test_a_second_round_probes_around_the_checked_mixture_and_says_its_price(
    dmix, probed, files, tmp_path, monkeypatch
):
    out = tmp_path / "m.yaml"
    call = ("mix", "plan", "--probe", "c", "--out", str(out), *files, "--samples", "128")
    code, _, err = dmix(*call[:6], "--second-round")
    assert code == 2 and "--check" in err
    call = (*call, "--check", "--second-round")
    code, _, err = dmix(*call, "--dry-run")
    assert code == 0 and "6 runs" in err and "together as long as" in err and not out.exists()
    code, shown, _ = dmix(*call, "--json")
    assert code == 0
    found = json.loads(shown)
    assert "second round" in found["checked"] and sum(found["mixture"].values()) == pytest.approx(1)
    runs = sorted(path.stem for path in dmix.warehouse.effects("c").glob("checks/*/round-*/*.parquet"))
    assert "around-01" in runs and "again-01" in runs
    # finished probes are kept
    monkeypatch.setattr("dmix.training.farm.probe.train", None)
    assert dmix(*call)[0] == 0


def test_a_check_needs_a_model(dmix, probed, tmp_path):
    code, _, err = dmix("mix", "plan", "--out", str(tmp_path / "m.yaml"), "--check")
    assert code == 2 and "--model" in err


def test_counts_relative_to_a_model_that_knows_nothing_are_counts(dmix, probed, environment_file, files):
    call = ("mix", "probe", "--environment", str(environment_file), *files[:2], "--name", "r", "--json")
    code, out, _ = dmix(*call)
    assert code == 0 and best_fields(json.loads(out)) == {"general": "source", "target": "target"}
    manifest = json.loads((dmix.warehouse.effects("r") / "effects.json").read_text())
    assert manifest["model"] == "model.yaml" and all(0 < alpha <= 1 for alpha in manifest["alpha"])
