"""A student of three made-up topics, and of real news sections; and how it is used with a fallback."""

import gzip
import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
from tests.etl import conftest as _etl
from tests.etl.classifiers import test_nvidia as _nvidia

from dmix.etl.classifiers.registry import classifier_spec, make_classifier
from dmix.etl.classify.classify import classify_corpora
from dmix.etl.classify.plan import CorpusRequest
from dmix.etl.classify.settings import ClassifySettings
from dmix.etl.distilling import distil as distil_module
from dmix.etl.distilling.distil import DistilReport, distil, find_report
from dmix.etl.distilling.labelled_sample import draw_sample, label_counts
from dmix.etl.distilling.settings import DistilSettings
from dmix.etl.text.tokens import load_tokenizer
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import CorpusVersion
from dmix.warehouse_schema.taxonomy import Taxonomy

QUICK = DistilSettings(documents_per_label=250, epochs=4)
TOPICS = {
    "Games": "dragon wizard dungeon quest potion sword",
    "News": "minister parliament election vote treaty summit",
    "Science": "electron molecule telescope enzyme galaxy theorem",
}


def quiet(line):
    """Progress that nobody wants to hear."""


def fast(warehouse):
    """The classifier `fast` of a warehouse."""
    spec = classifier_spec("distilled:fast", taxonomy=None, distilled=warehouse.classifiers)
    return make_classifier(spec)


def texts_of(rng, label, count):
    """Texts of common words with some of their topic."""
    common = np.array([f"common{i}" for i in range(400)])
    topic = np.array(TOPICS[label].split())
    return [" ".join([*rng.choice(common, 20), *rng.choice(topic, 3)]) for _ in range(count)]


COUNTS = {"Games": 400, "News": 300, "Science": 200}
TAXONOMY = Taxonomy("topics", tuple(TOPICS))


def make(warehouse, corpora, name="fast", settings=QUICK):
    return distil(warehouse, name=name, corpora=corpora, settings=settings, progress=quiet)


@dataclass
class Taught:
    """A warehouse with a labelled corpus and a classifier `fast` that was distilled from it."""

    warehouse: Warehouse
    corpus: CorpusVersion
    report: DistilReport


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """Not to be changed."""
    warehouse = Warehouse.at(tmp_path_factory.mktemp("taught") / "warehouse")
    rng = np.random.default_rng(0)
    documents = [(label, text) for label, count in COUNTS.items() for text in texts_of(rng, label, count)]
    corpus = _etl.write_corpus(warehouse, "main-source", "source", [documents], taxonomy=TAXONOMY)
    return Taught(warehouse, corpus, make(warehouse, [corpus]))


def test_student_gives_the_labels_of_its_teacher(taught):
    report = taught.report
    assert report.agreement > 0.95
    assert (report.teacher, report.corpora) == (("column:label",), ("main-source@v1",))
    assert [row.domain for row in report.domains] == ["Games", "News", "Science"]
    assert report.training_documents + report.held_out_documents < 250 + 250 + 200
    classifier = fast(taught.warehouse)
    new = {label: texts_of(np.random.default_rng(1), label, 20) for label in TOPICS}
    found = classifier.classify([text for texts in new.values() for text in texts], {})
    given = [TAXONOMY.labels[index] for index in found.index]
    assert np.mean([a == b for a, b in zip(given, np.repeat(list(TOPICS), 20), strict=True)]) > 0.95
    assert classifier.name == "distilled:fast"


def test_distilling_again_does_nothing(taught):
    said = []
    again = distil(
        taught.warehouse, name="fast", corpora=[taught.corpus], settings=QUICK, progress=said.append
    )
    assert again == taught.report == find_report(taught.warehouse.classifiers / "fast")
    assert said == ["classifier fast exists already with these settings; nothing to do"]


def test_a_kill_before_the_last_step_is_made_good_with_the_same_bytes(taught, tmp_path):
    warehouse = Warehouse.at(shutil.copytree(taught.warehouse.root, tmp_path / "copy"))
    folder = warehouse.classifiers / "fast"
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "report.json").unlink()
    assert make(warehouse, [taught.corpus]) == taught.report
    assert (folder / "model.safetensors").read_bytes() == weights


def test_a_taken_name_is_refused(taught):
    with pytest.raises(
        InputError, match=r"'fast' exists already, made from main-source@v1 .* another --name"
    ):
        make(taught.warehouse, [taught.corpus], settings=DistilSettings(documents_per_label=100))


def test_a_sample_has_at_most_so_many_documents_of_a_label(taught):
    sample = draw_sample(
        taught.warehouse,
        [taught.corpus],
        taxonomy=TAXONOMY,
        documents_per_label=250,
        seed=0,
        tokenizer=load_tokenizer("embedded"),
    )
    assert np.bincount(sample.labels_N).tolist() == [250, 250, 200]
    assert len(sample.features) == 700
    assert len(sample.of_parts(range(10))) == 700
    assert 0 < len(sample.of_parts([0])) < 350
    assert label_counts([taught.corpus], TAXONOMY).tolist() == [400, 300, 200]


def test_a_rare_label_is_weighted_as_the_corpus_has_it(taught):
    rows = zip(taught.report.domains, COUNTS.values(), strict=True)
    by_hand = sum(row.agreement * count for row, count in rows) / 900
    assert taught.report.agreement == pytest.approx(by_hand, abs=1e-3)


def test_a_label_without_documents_is_never_given(warehouse, make_corpus):
    more = Taxonomy("more", ("Absent", *TOPICS))
    rng = np.random.default_rng(0)
    documents = [(label, text) for label in TOPICS for text in texts_of(rng, label, 200)]
    make(warehouse, [make_corpus("main-source", "source", [documents], taxonomy=more)])
    found = fast(warehouse).classify(["Absent", "", "dragon"], {})
    assert "Absent" not in [more.labels[index] for index in found.index]


def test_too_few_documents_and_mixed_labels_are_refused(warehouse, make_corpus, monkeypatch):
    few = make_corpus("few-source", "source", [[("Games", "a b c")] * 30], taxonomy=TAXONOMY)
    with pytest.raises(InputError, match=r"30 documents with 1 label, expected at least 500"):
        make(warehouse, [few])
    other = make_corpus("few-target", "target", [[("A", "x")]], taxonomy=Taxonomy("mine", ("A", "B")))
    with pytest.raises(InputError, match="have different labels"):
        make(warehouse, [few, other])
    monkeypatch.setattr(distil_module, "MOST_LABELS", 1)
    with pytest.raises(InputError, match="has 2 labels, expected at most 1"):
        make(warehouse, [other])


def test_an_unknown_classifier_names_those_that_are_there(taught):
    folder = taught.warehouse.classifiers
    with pytest.raises(NotFoundError, match=r"'slow' is not in .* \(available: fast\)"):
        classifier_spec("distilled:slow", taxonomy=None, distilled=folder)
    with pytest.raises(InputError, match="not the labels of 'weborganizer-topics'"):
        classifier_spec("distilled:fast", taxonomy="weborganizer-topics", distilled=folder)
    with pytest.raises(InputError, match="have different labels"):
        classifier_spec("distilled:fast", taxonomy=None, distilled=folder, fallback="embedded")


def test_unsure_documents_go_to_the_big_model_and_are_counted(workers, taught, tmp_path):
    warehouse = Warehouse.at(shutil.copytree(taught.warehouse.root, tmp_path / "copy"))
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    _nvidia.write_checkpoint(checkpoint, TAXONOMY.labels[::-1])
    rng = np.random.default_rng(2)
    unsure = [" ".join(rng.choice(_nvidia.WORDS, 12)) for _ in range(10)]
    texts = [*texts_of(rng, "Games", 30), *unsure]
    path = tmp_path / "new.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    (outcome,) = classify_corpora(
        workers,
        warehouse,
        [CorpusRequest(corpus="new-target", field="target", inputs=(str(path),))],
        settings=ClassifySettings(classifier="distilled:fast", fallback=f"nvidia:{checkpoint}", margin=0.5),
        progress=quiet,
    )
    version = outcome.version
    low = int((fast(warehouse).classify(texts, {}).margin < 0.5).sum())
    assert [part.fallback_documents for part in version.parts] == [low]
    assert 0 < low < 40
    assert version.classifier == f"distilled:fast, nvidia:{checkpoint} below 0.5"


def test_sections_of_a_newspaper_are_learned(warehouse, make_corpus, test_data):
    path = test_data / "corpora" / "source" / "bbc_news.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    labels = Taxonomy("sections", tuple(sorted({record["label"] for record in records})))
    documents = [(record["label"], record["text"]) for record in records]
    corpus = make_corpus("bbc-source", "source", [documents], taxonomy=labels)
    report = make(warehouse, [corpus], settings=DistilSettings(documents_per_label=400, epochs=4))
    assert report.agreement > 0.9
    rows = {row.margin: row for row in report.margins}
    assert rows[0.5].kept_agreement > rows[0.0].kept_agreement
    assert rows[0.5].sent < 0.3
