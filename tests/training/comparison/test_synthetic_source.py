"""A setting whose runs replay what the base model writes: preparation, and a guided run at the end of it."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from tests.training.comparison.conftest import MODEL, SETTING, TRAINING, write_lines

from dmix.cli.workflows.data.comparison import DatasetBuilder, prepare_comparison
from dmix.etl.demo.corpus import source_texts, target_texts
from dmix.etl.synthetic.synthesize import SUMMARY
from dmix.training.comparison.data.corpora import choose_text
from dmix.training.comparison.data.settings import load_setting
from dmix.training.comparison.data.text import CorpusText
from dmix.training.comparison.pages.page import write_page
from dmix.training.comparison.runs.comparison import Request, publish, study_of
from dmix.training.comparison.runs.study import make_unit
from dmix.training.comparison.units.agents import make_agent
from dmix.training.comparison.units.run_unit import run_unit
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import read_json
from dmix.warehouse_schema.files.manifests import read_corpus_version, read_dataset_manifest
from dmix.warehouse_schema.settings import read_yaml

pytestmark = [pytest.mark.timeout(1200), pytest.mark.long]

ORIGINS = ("essays_a", "essays_b")
SPOKEN = {"name": "spoken", "base_of": "toy.yaml", "synthetic_source": True, "synthetic_quality": "none"}
REAL = {"source_supply": 1.5, "base_tokens": 32_768}


@pytest.fixture(scope="module")
def many_texts(tmp_path_factory):
    """Enough short documents of two origins to teach a classifier, and a target of two."""
    folder = tmp_path_factory.mktemp("many-texts")
    essays = [text[:160] for _, text in itertools.islice(source_texts(seed=0, stream=2), 1000)]
    problems = list(itertools.islice(target_texts(seed=0, stream=3), 600))
    for name, part in zip(ORIGINS, (essays[::2], essays[1::2]), strict=True):
        write_lines(folder / "source" / f"{name}.jsonl", [{"text": text} for text in part])
    for domain in ("Games", "Food_and_Drink"):
        texts = [{"text": text} for label, text in problems if label == domain]
        write_lines(folder / "target" / f"{domain}.jsonl", texts)
    asked = itertools.islice(target_texts(seed=1, stream=4), 40)
    items = [dict(zip(("question", "answer"), text.split("\n", 1), strict=True)) for _, text in asked]
    write_lines(
        folder / "items" / "problems.jsonl", [{"id": f"q{i}", **item} for i, item in enumerate(items)]
    )
    return folder


@pytest.fixture(scope="module")
def setting_files(tmp_path_factory):
    """The toy setting, and one that differs in who writes the source text of the runs."""
    folder = tmp_path_factory.mktemp("spoken-setting")
    files = {"model": MODEL, "base-training": TRAINING, "training": TRAINING}
    files |= {"toy": SETTING | REAL, "spoken": SETTING | REAL | SPOKEN}
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture(scope="module")
def prepared(many_texts, setting_files, tmp_path_factory):
    """Both settings prepared, one after the other: studies by name, and the lines of the second."""
    folder = tmp_path_factory.mktemp("spoken")
    studies, lines = {}, []
    for name in ("toy", "spoken"):
        lines.clear()
        loaded = load_setting(str(setting_files / f"{name}.yaml"))
        request = Request(
            tier="smoke", stages=(), data=many_texts, work=folder / "w", results=folder / "r", workers=1
        )
        studies[name] = study_of(loaded, request, lines.append)
        prepare_comparison(studies[name], master=None)
    return studies, lines


def streams(study, field):
    manifest = read_dataset_manifest(study.paths.warehouse, "run")
    return {s.domain: s.samples for s in manifest.streams if s.field == field and s.samples}


def test_the_base_model_of_the_same_text_is_not_trained_again(prepared):
    studies, lines = prepared
    weights = [study.paths.warehouse.model("base-0") / "model.safetensors" for study in studies.values()]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert any("base model base-0: copied from" in line for line in lines), lines
    assert not studies["spoken"].paths.kept_base("base-0").exists()


def test_source_text_is_what_the_base_model_wrote_and_marked_so(prepared):
    paths = prepared[0]["spoken"].paths
    written = read_corpus_version(paths.warehouse, "run-source")
    assert written.synthetic
    assert written.generation["models"] == ["base-0"]
    manifest = read_dataset_manifest(paths.warehouse, "run")
    assert {(c.field, c.synthetic) for c in manifest.corpora} == {("source", True), ("target", False)}
    sync(paths.warehouse)
    with Catalog.open_reader(paths.warehouse) as catalog:
        assert catalog.query("select corpus, models from synthetic")[1] == [("run-source", ["base-0"])]


def test_the_results_say_what_was_written_kept_and_how_it_got_domains(prepared):
    studies, _ = prepared
    for study in studies.values():
        publish(study, tier="smoke")
    assert "written_source" not in read_json(studies["toy"].paths.facts)
    found = read_json(studies["spoken"].paths.facts)["written_source"]
    paths = studies["spoken"].paths
    blocks = read_yaml(paths.text("run", "source") / SUMMARY)
    counts = ("generated", "kept", "empty", "capped", "tokens", "tokens_kept", "max_tokens", "quality")
    assert {name: found[name] for name in counts} == {name: blocks[name] for name in counts}
    assert (found["models"], found["classifier"]) == (["base-0"], "distilled:real-source")
    assert 0.5 < found["agreement"] <= 1
    # a page is made of the results alone
    write_page(paths.facts.parent.parent, paths.work / "pages")
    page = (paths.work / "pages" / "spoken.md").read_text()
    assert f"`base-0` wrote the source text of the runs: {blocks['generated']:,} documents" in page


def test_written_text_has_the_amount_and_the_domains_of_the_source(prepared):
    study = prepared[0]["spoken"]
    # 1.5 * 3 steps * 16 samples, less what is cut off at the end of each domain
    assert sum(streams(study, "source").values()) >= 72 - len(ORIGINS)
    assert set(streams(study, "source")) <= set(ORIGINS)


def test_target_text_and_items_are_those_of_the_real_setting(prepared):
    toy, spoken = (prepared[0][name] for name in ("toy", "spoken"))
    assert streams(spoken, "target") == streams(toy, "target")
    for objective in ("essays", "problems"):
        items = [study.paths.items("feedback", objective).read_text() for study in (toy, spoken)]
        assert items[0] == items[1]


def test_a_second_preparation_finds_all_of_it_done(prepared):
    study, lines = prepared[0]["spoken"], []
    before = read_dataset_manifest(study.paths.warehouse, "run")
    blocks = {path: path.stat().st_mtime_ns for path in study.paths.text("run", "source").glob("block-*")}
    prepare_comparison(replace(study, progress=lines.append), master=None)
    assert read_dataset_manifest(study.paths.warehouse, "run") == before
    assert {path: path.stat().st_mtime_ns for path in blocks} == blocks
    assert not any("wrote" in line for line in lines), lines


def test_a_guided_run_trains_on_written_text_and_is_scored_on_real_items(prepared):
    study = prepared[0]["spoken"]
    agent = make_agent(study.paths.warehouse, "sft", seed=0, tier=study.tier, progress=str)
    unit = make_unit(
        study,
        stage="screening",
        part="controller",
        kind="controller",
        controller="sft",
        spec=f"agent:{agent}",
        seed=1,
        base=0,
    )
    result = run_unit(unit, study.paths, study.loaded)
    assert result.facts["source_samples"] > 0
    assert result.facts["target_samples"] > 0
    manifest = read_dataset_manifest(study.paths.warehouse, "run")
    labels = manifest.taxonomy.labels
    for step in result.steps:
        source_N = np.array(step["mixture"][: len(labels)])
        assert {labels[i] for i in np.flatnonzero(source_N)} <= set(ORIGINS)
    truth = {json.loads(line)["id"] for line in _lines(study.paths.items("feedback", "essays"))}
    scored = {r["item_id"] for r in result.items if (r["layer"], r["objective"]) == ("feedback", "essays")}
    assert scored == truth


def _lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_another_recipe_means_another_base_model(prepared):
    study = prepared[0]["spoken"]
    loaded = study.loaded
    assert loaded.base_of.base_recipe == loaded.base_recipe
    other = replace(loaded, settings=replace(loaded.settings, base_tokens=1))
    assert loaded.base_of.base_recipe != other.base_recipe


def test_who_lends_the_base_model_changes_no_hash(setting_files):
    loaded = load_setting(str(setting_files / "spoken.yaml"))
    alone = replace(loaded, settings=replace(loaded.settings, base_of=None), base_of=None)
    assert alone.digest == loaded.digest


def test_text_that_is_to_be_written_has_no_small_pools(setting_files):
    settings = load_setting(str(setting_files / "spoken.yaml")).settings
    pools = replace(settings, small_pools={"essays_a": 0.1})
    corpora = [_corpus(name, "source") for name in ORIGINS]
    with pytest.raises(InputError, match="small pool 'essays_a' is a source corpus"):
        choose_text(corpora, pools)


def _corpus(name, field):
    return CorpusText(name, field, [{"id": f"{name}-1", "text": "a"}], np.full(1, 1e6))


def test_a_filter_that_keeps_nothing_is_named(prepared, tmp_path):
    study = prepared[0]["spoken"]
    # documents of one token have fewer than eight words, or repeat themselves, and are Low by rule
    settings = replace(study.loaded.settings, synthetic_quality="embedded", seq_len=2)
    builder = DatasetBuilder(study.paths.warehouse, settings, master=None, progress=str)
    with pytest.raises(InputError, match=r"dropped all .* by base-0; set synthetic_quality: none"):
        builder.write(study.paths.warehouse.model("base-0"), tmp_path / "written", tokens=100)
