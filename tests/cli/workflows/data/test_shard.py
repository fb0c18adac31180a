"""A dataset as it is shown, and one that is there already."""

from types import SimpleNamespace

import pytest
from tests.manifests import dataset_manifest

from dmix.cli.workflows.data import shard
from dmix.cli.workflows.data.shard import dataset_result, make_dataset
from dmix.etl.shard import plan as plans
from dmix.etl.shard import shard as shards
from dmix.warehouse_schema.files.layout import Warehouse


def test_rows_are_domains_with_documents_and_fields_follow():
    result = dataset_result(dataset_manifest([6, 2, 0, 4], name="small"), existed=True)
    assert result.facts["existed"] and len(result.facts["domains"]) == 4
    rows = result.df()
    assert list(rows["samples"]) == [6, 2, 4] and list(rows["sample share"]) == [0.75, 0.25, 1.0]
    assert [field["field"] for field in result.facts["fields"]] == ["source", "target"]
    assert "existed" not in dataset_result(dataset_manifest([1, 1])).facts


@pytest.mark.parametrize(
    ("there", "items", "made"), [(False, (), True), (True, (), False), (True, ("item",), True)]
)
def test_a_dataset_is_made_unless_it_is_there_and_nothing_is_to_be_looked_for(
    tmp_path, monkeypatch, there, items, made
):
    calls = []
    found = SimpleNamespace(dataset="d") if there else None
    monkeypatch.setattr(plans, "resolve_corpora", lambda *_: ())
    monkeypatch.setattr(plans, "plan_dataset", lambda *_, **__: None)
    monkeypatch.setattr(plans, "published_dataset", lambda *_: found)
    monkeypatch.setattr(shards, "shard_dataset", lambda *_, **given: calls.append(given["items"]) or "made")
    got = make_dataset(
        Warehouse.at(tmp_path), corpus=(), settings=None, items=items, executor=None, progress=str
    )
    assert got == (("made" if made else found), there) and len(calls) == made


@pytest.mark.parametrize(("tokenizer", "loaded"), [("embedded", 1), ("some/checkpoint", 0)])
def test_only_the_tokenizer_of_dmix_is_loaded_beforehand(monkeypatch, tokenizer, loaded):
    calls = []
    monkeypatch.setattr("dmix.etl.text.tokens.load_tokenizer", calls.append)
    shard._load(SimpleNamespace(tokenizer=tokenizer))
    assert len(calls) == loaded
