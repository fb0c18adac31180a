import dataclasses

import pytest

from dmix.etl.classify.parts import part_fingerprint, plan_parts
from dmix.warehouse_schema.files.manifests import InputFile, LabelPart


def source(name, size_bytes=1, content="0"):
    return InputFile(
        path=f"/raw/{name}",
        name=name,
        size_bytes=size_bytes,
        sha256=content,
        format="jsonl",
        compression="none",
    )


def fingerprint(inputs, piece=None):
    return part_fingerprint(inputs, piece, settings_digest="s")


def planned(inputs, last=()):
    """(names of kept parts, names of new parts), with parts of at most 10 bytes."""
    kept, plans = plan_parts(inputs, last=last, fingerprint=fingerprint, part_bytes=10, pieces={})
    return [[s.name for s in part.inputs] for part in kept], [[s.name for s in plan.inputs] for plan in plans]


def published(*groups):
    return [
        LabelPart(fingerprint=fingerprint(group), inputs=tuple(group), files=(), rejected={})
        for group in groups
    ]


def test_large_inputs_stand_alone_and_small_ones_share_in_order_of_their_names():
    inputs = [source("d", 4), source("b", 4), source("c", 10), source("a", 4), source("e", 400)]
    assert planned(inputs) == ([], [["c"], ["a", "b"], ["e"], ["d"]])
    assert planned(list(reversed(inputs))) == planned(inputs)


def test_no_inputs_need_no_parts():
    assert planned([]) == ([], [])


def test_new_file_leaves_old_parts_alone():
    last = published([source("b"), source("c")], [source("d", 50)])
    assert planned([source("a"), source("b"), source("c"), source("d", 50)], last) == (
        [["b", "c"], ["d"]],
        [["a"]],
    )


def test_changed_or_removed_file_redoes_its_own_part_alone():
    last = published([source("a"), source("b")], [source("c"), source("d")])
    changed = [source("a"), source("b", content="1"), source("c"), source("d")]
    assert planned(changed, last) == ([["c", "d"]], [["a", "b"]])
    assert planned([source("b"), source("c"), source("d")], last) == ([["c", "d"]], [["b"]])


def test_part_of_other_settings_is_not_kept():
    last = [dataclasses.replace(published([source("a")])[0], fingerprint="other settings")]
    assert planned([source("a")], last) == ([], [["a"]])


def test_file_that_moved_keeps_its_part_and_gets_its_new_path():
    last = published([source("a")])
    moved = dataclasses.replace(source("a"), path="/elsewhere/a")
    kept, plans = plan_parts([moved], last=last, fingerprint=fingerprint, part_bytes=10, pieces={})
    assert (kept[0].inputs[0].path, plans) == ("/elsewhere/a", [])


@pytest.mark.parametrize("change", [{"name": "z"}, {"sha256": "1"}, {"format": "text"}, {"size_bytes": 2}])
def test_fingerprint_follows_content_name_and_settings(change):
    changed = dataclasses.replace(source("a"), **change)
    assert fingerprint([source("a")]) != fingerprint([changed])
    assert fingerprint([source("a")]) != part_fingerprint([source("a")], settings_digest="t")
    assert fingerprint([source("a")]) == fingerprint([dataclasses.replace(source("a"), path="/x")])
