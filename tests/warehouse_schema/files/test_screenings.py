"""Screenings on disk: published whole, read back, and damaged ones named."""

import json

import pytest

from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.screenings import Screening, find_screening, load_screening, write_screening

FOUND = Screening(
    kind="duplicates",
    screening="5" * 16,
    corpora=("main-source@v1",),
    documents=9,
    found=2,
    files={"a": 2},
    created_at="2026-01-02T03:04:05+00:00",
)


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path)


def test_a_screening_comes_back(warehouse):
    path = write_screening(warehouse, FOUND)
    assert find_screening(warehouse, FOUND.kind, FOUND.screening) == load_screening(path) == FOUND


def test_none_is_found_before_it_is_published(warehouse):
    assert find_screening(warehouse, "duplicates", "6" * 16) is None
    with pytest.raises(NotFoundError):
        load_screening(warehouse.screening("duplicates", "6" * 16) / "manifest.json")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": 2}, "format 2, but this dmix reads 1"),
        ({"format": None}, "format None"),
        ({"found": "two"}, "is damaged"),
        ({"unknown": 1}, "is damaged"),
    ],
)
def test_what_is_no_screening_of_this_version_is_named(warehouse, change, named):
    path = write_screening(warehouse, FOUND)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=named):
        load_screening(path)


def test_a_folder_with_a_link_is_refused(warehouse):
    path = write_screening(warehouse, FOUND)
    (path.parent / "a.parquet").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="link"):
        find_screening(warehouse, FOUND.kind, FOUND.screening)
