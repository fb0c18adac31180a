"""Which corpora make a dataset, what they may share, and what its id follows from."""

import dataclasses

import pytest
from tests.etl.conftest import SMALL, shard_here, words, write_corpus

from dmix.etl.screening.ngrams import EvaluationItem
from dmix.etl.shard.plan import (
    estimated_tokens,
    manifest_id,
    plan_dataset,
    published_dataset,
    resolve_corpora,
    shared_inputs,
)
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.taxonomy import Taxonomy

FILES = [[("News", words(0, 40)), ("Games", words(1, 40))]]


@pytest.fixture
def pair(warehouse):
    source = write_corpus(warehouse, "main-source", "source", FILES)
    return source, write_corpus(warehouse, "main-target", "target", [[("News", words(2, 40))]])


def test_the_only_pair_needs_no_name(warehouse, pair):
    assert [corpus.corpus for corpus in resolve_corpora(warehouse, ())] == ["main-source", "main-target"]
    write_corpus(warehouse, "third", "source", FILES)
    with pytest.raises(InputError, match=r"has 3 corpora .*with --corpus"):
        resolve_corpora(warehouse, ())


def test_a_version_is_named_behind_an_at_sign(warehouse, pair):
    write_corpus(warehouse, "main-source", "source", [[("News", "newer")]], version=2)
    named = resolve_corpora(warehouse, ["main-source", "main-source@v1"])
    assert [corpus.version for corpus in named] == [2, 1]
    with pytest.raises(InputError, match=r"'main-source@1'.*NAME@vK"):
        resolve_corpora(warehouse, ["main-source@1"])
    with pytest.raises(NotFoundError, match="no version 9"):
        resolve_corpora(warehouse, ["main-source@v9"])


def test_an_empty_warehouse_says_what_to_run(warehouse):
    warehouse.root.mkdir()
    with pytest.raises(InputError, match=r"has 0 corpora \(none; run 'dmix etl classify' first\)"):
        resolve_corpora(warehouse, ())


def test_the_id_depends_on_content_and_settings_alone(warehouse, pair):
    plan = plan_dataset(warehouse, corpora=pair, settings=SMALL)
    again = plan_dataset(warehouse, corpora=pair[::-1], settings=dataclasses.replace(SMALL, name="n"))
    assert plan.dataset == again.dataset and len(plan.dataset) == 16
    assert [corpus.field for corpus in again.corpora] == ["source", "target"]
    for changed in ({"seed": 7}, {"seq_len": 8}, {"drop_duplicates": not SMALL.drop_duplicates}):
        other = plan_dataset(warehouse, corpora=pair, settings=dataclasses.replace(SMALL, **changed))
        assert other.dataset != plan.dataset, changed


def test_items_that_are_kept_out_are_part_of_the_id_and_of_the_record(warehouse, pair):
    asked = {"objective": "math", "question": "one and one", "answer": "two"}
    items = [EvaluationItem(item_id=str(i), **asked) for i in range(2)]
    plan = plan_dataset(warehouse, corpora=pair, settings=SMALL, items=items)
    assert plan.dataset != plan_dataset(warehouse, corpora=pair, settings=SMALL).dataset
    assert len(plan.kept_out) == 1  # the same question and answer, twice
    marked = dataclasses.replace(SMALL, contaminated="report")
    assert plan_dataset(warehouse, corpora=pair, settings=marked, items=items).kept_out == ()


def test_estimates_count_every_document_end(warehouse, pair):
    found = estimated_tokens(plan_dataset(warehouse, corpora=pair, settings=SMALL))
    assert set(found) == {("source", "News"), ("source", "Games"), ("target", "News")}
    assert all(tokens >= 2 for tokens in found.values())


def test_corpora_that_do_not_fit_together_are_refused(warehouse, pair):
    source, target = pair
    other = write_corpus(warehouse, "other", "target", [[("x", "y")]], taxonomy=Taxonomy("one", ("x",)))
    twin = write_corpus(warehouse, "twin", "source", FILES)
    empty = dataclasses.replace(target, parts=())
    newer = write_corpus(warehouse, "main-source", "source", [[("News", "newer")]], version=2)
    for versions, said in (
        ((), "--corpus"),
        ((source, other), "taxonom.*'main-source' has 'three' .3 labels., 'other' has 'one'"),
        ((source, empty), "corpus 'main-target' version 1 has no documents"),
        ((source, dataclasses.replace(twin, parts=source.parts)), "same documents"),
        ((source, newer), "two versions of corpus 'main-source'"),
        ((source, dataclasses.replace(source, corpus="t", field="target")), "same files"),
    ):
        with pytest.raises(InputError, match=said):
            plan_dataset(warehouse, corpora=versions, settings=SMALL)


def test_files_in_both_fields_are_warned_of(pair):
    source, target = pair
    assert shared_inputs(pair) == []
    both = dataclasses.replace(target, parts=(*target.parts, *source.parts))
    [warning] = shared_inputs((source, both))
    assert "1 file (0.jsonl)" in warning and "'main-source'" in warning and "'main-target'" in warning


@pytest.mark.parametrize("name", ["0123456789abcdef", "a/b", ".."])
def test_a_name_that_is_an_id_or_a_path_is_refused(warehouse, pair, name):
    with pytest.raises(InputError):
        plan_dataset(warehouse, corpora=pair, settings=dataclasses.replace(SMALL, name=name))


def test_a_dataset_that_is_there_is_found_and_its_name_kept(warehouse, pair):
    plan = plan_dataset(warehouse, corpora=pair, settings=SMALL)
    assert published_dataset(warehouse, plan) is None
    shard_here(warehouse, pair)
    found = published_dataset(warehouse, plan)
    assert found.dataset == plan.dataset == manifest_id(found)
    with pytest.raises(InputError, match=r"exists already .*--name other"):
        published_dataset(warehouse, dataclasses.replace(plan, name="other"))
    assert manifest_id(dataclasses.replace(found, seed=found.seed + 1)) != found.dataset
