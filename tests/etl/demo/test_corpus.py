"""The corpus that dmix makes itself: same bytes for a seed, many domains, nothing seen twice."""

import json
import re
from itertools import islice

import numpy as np
import pytest

from dmix.etl.classifiers.embedded import EmbeddedClassifier
from dmix.etl.classifiers.keywords import domain_words
from dmix.etl.demo.corpus import EVALUATION_ITEMS, fixed_quality, source_texts, write_demo_corpus
from dmix.mixing.trajectories.objectives import load_environment, read_items
from dmix.warehouse_schema.taxonomy import NVIDIA_26

DOCUMENTS = 400


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    write_demo_corpus(folder, seed=3, documents=DOCUMENTS)
    return folder


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def all_bytes(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_same_seed_gives_the_same_bytes(demo, tmp_path):
    write_demo_corpus(tmp_path, seed=3, documents=DOCUMENTS)
    assert all_bytes(tmp_path) == all_bytes(demo)


def test_other_seed_gives_other_text(demo, tmp_path):
    write_demo_corpus(tmp_path, seed=4, documents=DOCUMENTS)
    ours, theirs = all_bytes(demo), all_bytes(tmp_path)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] == theirs[name]] == ["environment.yaml"]


def test_both_fields_have_the_documents_that_were_asked_for(demo):
    for field in ("source", "target"):
        documents = records(demo / field / "demo.jsonl")
        assert len(documents) == len({document["id"] for document in documents}) == DOCUMENTS
        assert all(document["text"].strip() for document in documents)


def test_classifier_spreads_source_and_target_over_many_domains(demo):
    classifier = EmbeddedClassifier()
    for field, least in (("source", 12), ("target", 6)):
        documents = records(demo / field / "demo.jsonl")
        labels = classifier.classify([document["text"] for document in documents], {})
        counts = np.bincount(labels.index, minlength=len(NVIDIA_26))
        assert (counts >= 3).sum() >= least, field
        right = [NVIDIA_26[i] == d["domain"] for i, d in zip(labels.index, documents, strict=True)]
        assert np.mean(right) > 0.95, field


def test_items_are_held_out(demo):
    trained = "\n".join(
        document["text"]
        for field in ("source", "target")
        for document in records(demo / field / "demo.jsonl")
    )
    assert not any(item["text"] in trained for item in records(demo / "evaluation" / "general.jsonl"))
    assert not any(item["question"] in trained for item in records(demo / "evaluation" / "target.jsonl"))


def test_environment_file_loads_with_all_items(demo):
    environment = load_environment(demo / "environment.yaml")
    assert [(o.role, o.kind) for o in environment.objectives] == [
        ("general", "continuation"),
        ("target", "qa"),
    ]
    for objective in environment.objectives:
        assert len(read_items(objective, demo)) == EVALUATION_ITEMS


def test_things_keep_their_quality_whatever_the_seed():
    words = domain_words()["Sports"]
    assert fixed_quality("medal", words) == fixed_quality("medal", words)
    said = re.compile(r'asked the .*?\. "Yes, the (.+?) is (.+?)," said')
    facts = {}
    for seed in (0, 1):
        for _, text in islice(source_texts(seed=seed, stream=9), 300):
            for thing, quality in said.findall(text):
                facts.setdefault(thing, set()).add(quality)
    assert len(facts) > 50
    # a thing of two domains, such as a sequel, may have two qualities
    assert np.mean([len(qualities) == 1 for qualities in facts.values()]) > 0.95


def test_unknown_texts_are_left_out():
    first = [text for _, text in islice(source_texts(seed=0, stream=5), 3)]
    without = [text for _, text in islice(source_texts(seed=0, stream=5, avoid={first[0]}), 2)]
    assert without == first[1:]
