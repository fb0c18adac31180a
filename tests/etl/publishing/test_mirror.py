"""Copies of what others published in a remote folder; `test_remote.py` tries it on a store."""

from types import SimpleNamespace

import pytest

from dmix.etl.publishing import mirror
from dmix.etl.publishing.mirror import _check_named, copy_published, copy_rejects, use_data_url
from dmix.warehouse_schema.errors import InputError


def test_a_local_warehouse_has_nothing_to_copy(warehouse, make_corpus):
    version = make_corpus("main-source", "source", [[("News", "text")]])
    assert copy_published(warehouse) == 0
    copy_rejects(warehouse, version)
    assert not warehouse.rejects("main-source").exists()


@pytest.mark.parametrize(("stored", "copied"), [(True, 1), (False, 0)])
def test_what_is_published_is_copied_when_the_place_is_new(warehouse, monkeypatch, stored, copied):
    calls = []
    monkeypatch.setattr(mirror, "store_data_url", lambda *_: stored)
    monkeypatch.setattr(mirror, "copy_published", calls.append)
    use_data_url(warehouse, "s3://bucket")
    assert len(calls) == copied


def test_a_manifest_in_the_folder_of_another_is_refused():
    _check_named("main", "main", SimpleNamespace())
    with pytest.raises(InputError, match="belongs to 'main', not to 'other'"):
        _check_named("main", "other", "s3://bucket/labels/other/v1.json")
