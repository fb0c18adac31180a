"""What an update makes of files, from their texts and digests alone."""

import json

import pytest

from dmix.cli.workflows.start.project import (
    RECORD,
    Project,
    changes,
    check_same_text,
    digests_of,
    digests_of_texts,
    free_number,
    is_project,
    read_project,
)
from dmix.etl.templates.settings import TextSettings
from dmix.warehouse_schema.errors import InputError


def project(**texts):
    return Project(
        data="/text",
        model=None,
        hours=2.0,
        steps=None,
        reading=TextSettings(text_column=("title", "body")),
        number=2,
        digests=digests_of_texts({"run.sh": "old\n", **texts}),
    )


def test_a_record_is_read_as_it_was_written(tmp_path):
    assert read_project(tmp_path) is None and not is_project(tmp_path)
    project().write(tmp_path)
    assert read_project(tmp_path) == project()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"format": 2}, "newer"),
        ({"hours": "two"}, "damaged"),
        ({"number": None}, "damaged"),
        ({"x": 1}, "damaged"),
    ],
)
def test_a_record_that_cannot_be_used_is_refused_with_its_name(tmp_path, changed, said):
    project().write(tmp_path)
    values = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps({**values, **changed}))
    with pytest.raises(InputError, match=rf"\.init\.json.*{said}"):
        read_project(tmp_path)


@pytest.mark.parametrize(
    ("found", "new", "write_to", "words"),
    [
        (None, "new\n", "run.sh", "new"),
        ("old\n", "old\n", None, "stays as it is"),
        ("old\n", "new\n", "run.sh", "changes"),
        ("mine\n", "old\n", None, "stays as it is, with your edits"),
        ("old\n", "# about 3 s\nold   # fast\n", None, "stays as it is"),
        ("mine\n", "new\n", "run.sh.new", "stays, since it may have your edits"),
        ("new\n", "new\n", None, "stays as it is"),
    ],
)
def test_a_file_that_somebody_edited_is_never_replaced(tmp_path, found, new, write_to, words):
    if found is not None:
        (tmp_path / "run.sh").write_text(found)
    (change,) = changes(tmp_path, {"run.sh": new}, project())
    assert (change.name, change.write_to) == ("run.sh", write_to) and change.words.startswith(words)
    if found is not None and write_to is not None:
        assert {f"-{found.strip()}", "+new"} <= set(change.lines)
    if found == "old\n" and new == "new\n":  # of an earlier dmix, whose texts are not known
        (change,) = changes(tmp_path, {"run.sh": new}, None)
        assert change.write_to == "run.sh.new"


def test_long_differences_are_cut(tmp_path):
    (tmp_path / "run.sh").write_text("old\n" * 100)
    (change,) = changes(tmp_path, {"run.sh": "new\n"}, None)
    assert len(change.lines) == 41 and "more lines" in change.lines[-1]


def test_items_and_text_stay_those_of_the_project(tmp_path):
    names = ("data/source/documents.jsonl", "items/source.jsonl")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("{}\n")
    drawn = digests_of(tmp_path)
    assert set(drawn) == set(names)
    made = Project(data="", model=None, hours=1.0, steps=None, reading=TextSettings(), digests=drawn)
    (tmp_path / "items/source.jsonl").write_text("edited by hand\n")
    check_same_text(tmp_path, drawn, made)
    with pytest.raises(InputError, match=r"data/source/documents\.jsonl would differ"):
        check_same_text(tmp_path, {**drawn, "data/source/documents.jsonl": "other"}, made)
    # an earlier dmix left no record, and copied text in another form
    with pytest.raises(InputError, match=r"items/source\.jsonl would differ"):
        check_same_text(tmp_path, {**drawn, "data/source/documents.jsonl": "other"}, None)
    check_same_text(tmp_path, {**digests_of(tmp_path), "data/source/documents.jsonl": "other"}, None)


def test_a_warehouse_with_a_dataset_is_not_used_for_other_sizes(tmp_path):
    (tmp_path / "warehouse" / "labels").mkdir(parents=True)
    assert free_number(tmp_path, 1) == 1
    for name in ("warehouse", "warehouse-2"):
        (tmp_path / name / "streams" / "a").mkdir(parents=True)
        (tmp_path / name / "streams" / "a" / "manifest.json").write_text("{}")
    assert free_number(tmp_path, 1) == free_number(tmp_path, 2) == 3
