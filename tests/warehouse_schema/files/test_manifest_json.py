"""Records from JSON: types are checked, whatever a file says."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pytest

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifest_json import (
    altered,
    digest_of,
    manifest_from_json,
    manifest_to_json,
    record_from_json,
)


@dataclass(frozen=True)
class Shelf:
    name: str
    books: int = 0


@dataclass(frozen=True)
class Library:
    name: str
    shelves: tuple[Shelf, ...]
    lent: Mapping[str, int]
    public: bool = True
    annex: Shelf | None = None
    hours: tuple[str, ...] | None = None


FULL = Library("city", (Shelf("a", 2), Shelf("b")), {"a": 1}, annex=Shelf("c"), hours=("8-12",))
BARE = Library("village", (), {})


@pytest.mark.parametrize("library", [FULL, BARE])
def test_a_record_comes_back_from_its_plain_form(library):
    value = manifest_to_json(library)
    assert manifest_from_json(Library, value, "here", check=lambda *_: None) == library
    assert record_from_json(Library, asdict(library)) == library


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": 7}, "name is 7, expected str"),
        ({"public": 1}, "public is 1, expected bool"),
        ({"shelves": [{"name": "a", "books": -1}]}, "books is -1, expected int"),
        ({"shelves": [{"name": "a", "books": 2**63}]}, "expected int"),
        ({"shelves": [{"name": "a", "books": True}]}, "books is True, expected int"),
        ({"shelves": "ab"}, "shelves is 'ab', expected a list"),
        ({"shelves": ["ab"]}, "'ab' is no Shelf"),
        ({"shelves": None}, "shelves is None, expected a list"),
        ({"hours": [8]}, "hours is 8, expected str"),
        ({"lent": [1]}, r"lent is \[1\], expected names with values"),
        ({"lent": {"a": "1"}}, "lent is '1', expected int"),
        ({"annex": []}, r"\[\] is no Shelf"),
        ({"cellar": 1}, "cellar"),
    ],
)
def test_a_value_of_another_type_is_damage_that_the_message_shows(changed, said):
    value = {**manifest_to_json(FULL), **changed}
    with pytest.raises(InputError, match=rf"shelf\.json is damaged \(.*{said}"):
        manifest_from_json(Library, value, "shelf.json", check=lambda *_: None)


def test_a_missing_field_is_damage_unless_it_has_a_default():
    value = manifest_to_json(FULL)
    del value["annex"]
    assert manifest_from_json(Library, value, "here", check=lambda *_: None).annex is None
    del value["lent"]
    with pytest.raises(InputError, match=r"is damaged .*lent"):
        manifest_from_json(Library, value, "here", check=lambda *_: None)


def test_what_the_check_refuses_is_refused():
    def check(library, where):
        raise InputError(f"{where}: {library.name} is closed; wait")

    with pytest.raises(InputError, match="here: city is closed"):
        manifest_from_json(Library, manifest_to_json(FULL), "here", check=check)


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_what_is_no_object_is_no_manifest(value):
    with pytest.raises(InputError, match=f"contains a {type(value).__name__}, expected a manifest"):
        manifest_from_json(Library, value, "here", check=lambda *_: None)


def test_the_digest_does_not_depend_on_key_order_and_notices_an_edit(tmp_path):
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    path, value = tmp_path / "m.json", manifest_to_json(FULL)
    path.write_text(json.dumps(value))
    assert not altered(path)
    path.write_text(json.dumps({**value, "name": "town"}))
    assert altered(path)
    del value["digest"]
    path.write_text(json.dumps(value))
    assert not altered(path)
