"""Files of a warehouse whose values have other types than dmix writes, or that are links and folders."""

import json

import pytest

from dmix.etl.maintenance.gc import collect_garbage
from dmix.etl.maintenance.verify import verify_warehouse
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import rebuild
from dmix.warehouse_schema.errors import CatalogError, InputError
from dmix.warehouse_schema.files.locks import held_lock, is_held
from dmix.warehouse_schema.files.manifest_json import with_digest
from dmix.warehouse_schema.files.manifests import read_corpus_version
from dmix.warehouse_schema.files.names import printable
from dmix.warehouse_schema.files.screenings import Screening, find_screening, write_screening

ODD = ["x", -1, True, 1.5, None, [], {"a": 1}, 2**70, 0.0]


def no_progress(_):
    pass


def problems(warehouse):
    return verify_warehouse(warehouse, dataset=None, progress=no_progress).problems


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_a_count_that_is_none_is_a_damaged_manifest(full_warehouse, odd):
    path = next(full_warehouse.root.glob("labels/*/v1.json"))
    before = json.loads(path.read_text())

    def places(value):
        yield value, "version"
        yield value["parts"][0], "rejected"
        yield value["parts"][0]["files"][0], "size_bytes"
        yield value["parts"][0]["files"][0]["domains"][0], "documents"

    for index in range(4):
        value = json.loads(json.dumps(before))
        holder, name = list(places(value))[index]
        if name == "rejected" and odd == {"a": 1}:
            continue
        holder[name] = odd
        path.write_text(json.dumps(with_digest({k: v for k, v in value.items() if k != "digest"})))
        with pytest.raises(InputError, match=r"damaged|belongs to corpus"):
            read_corpus_version(full_warehouse, path.parent.name)
        assert any(problem.kind == "manifest" for problem in problems(full_warehouse))


@pytest.mark.parametrize("content", ["[]", '{"url": 5}', "3"])
def test_a_data_file_without_a_url_is_named(warehouse, content):
    warehouse.data_settings.write_text(content)
    with pytest.raises(InputError, match=r"data\.json contains no URL"):
        _ = warehouse.data


@pytest.mark.parametrize("content", ["[]", "3", '{"files": ["a"]}', '{"files": null}'])
def test_gc_and_verify_survive_a_manifest_of_effects_of_another_shape(warehouse, content):
    folder = warehouse.effects("odd")
    folder.mkdir(parents=True)
    (folder / "effects.json").write_text(content)
    assert any("effects.json" in str(problem) for problem in problems(warehouse))
    if content.startswith("{"):
        assert collect_garbage(warehouse, dry_run=False).found == ()
    else:
        with pytest.raises(InputError, match="expected a JSON object"):
            collect_garbage(warehouse, dry_run=False)
    assert (folder / "effects.json").is_file()


def test_an_edited_manifest_of_effects_or_of_a_screening_is_found(warehouse):
    folder = warehouse.effects("edited")
    folder.mkdir(parents=True)
    value = with_digest({"format": 1, "files": {}, "objectives": [{"reliability": 0.1}]})
    (folder / "effects.json").write_text(json.dumps(value))
    screening = Screening(
        kind="duplicates",
        screening="0" * 16,
        corpora=("a@v1",),
        documents=9,
        found=1,
        files={},
        created_at="2026-01-01T00:00:00+00:00",
    )
    path = write_screening(warehouse, screening)
    assert find_screening(warehouse, "duplicates", "0" * 16) == screening
    assert not any("edited the file after" in problem.detail for problem in problems(warehouse))
    value["objectives"][0]["reliability"] = 0.99
    (folder / "effects.json").write_text(json.dumps(value))
    path.write_text(path.read_text().replace('"found": 1', '"found": 0'))
    rebuild(warehouse)
    found = [problem for problem in problems(warehouse) if "edited the file after" in problem.detail]
    assert len(found) == 2


def test_a_lock_file_that_is_a_link_is_refused_and_its_target_stays(warehouse, tmp_path):
    target = tmp_path / "target"
    target.write_text("of the user")
    warehouse.lock.symlink_to(target)
    with pytest.raises(InputError, match="is a link or a folder"), held_lock(warehouse.lock, what="it"):
        pass
    assert not is_held(warehouse.lock)
    assert target.read_text() == "of the user"


def test_a_folder_of_locks_that_is_a_link_is_refused_and_its_target_stays_empty(warehouse, tmp_path):
    (target := tmp_path / "elsewhere").mkdir()
    (warehouse.root / ".locks").symlink_to(target)
    with pytest.raises(InputError, match="is a link, expected a folder"):
        with held_lock(warehouse.lock_of("corpus", "main-source"), what="it"):
            pass
    assert not any(target.iterdir())


def test_folders_in_the_place_of_catalog_files_are_named(warehouse):
    (warehouse.root / ".catalog-1").mkdir()
    rebuild(warehouse)
    warehouse.catalog.unlink()
    warehouse.catalog.mkdir()
    with pytest.raises(CatalogError, match="is a folder"):
        rebuild(warehouse)
    with pytest.raises(CatalogError):
        Catalog.open_reader(warehouse)


def test_what_a_terminal_would_obey_is_spelled_out():
    assert printable("a\x1b[2J\x9b\r\u202eb\x7f\n\tक्ष שלום") == "a\\x1b[2J\\x9b\\r\\u202eb\\x7f\n\tक्ष שלום"
