"""Effects by counts on the tiny dataset: found once, and at most so many tokens of an item."""

import pytest

from dmix.cli.workflows.effects import counts as module
from dmix.cli.workflows.effects.counts import probe_counts
from dmix.warehouse_schema.errors import InputError


def test_the_same_question_is_counted_once(tiny_warehouse, environment_file, monkeypatch):
    lines = []
    first = probe_counts(tiny_warehouse, environment=environment_file, name="twice", progress=lines.append)
    assert "scored tokens of 8 items" in lines[0]
    monkeypatch.setattr("dmix.mixing.effects.counting.count_model", pytest.fail)
    again = probe_counts(tiny_warehouse, environment=environment_file, name="twice", progress=lines.append)
    assert again.name == first.name == "twice" and "nothing to do" in lines[-1]
    assert (again.effects.effect_ND == first.effects.effect_ND).all()


def test_other_items_under_the_same_name_are_refused(tiny_warehouse, environment_file, tmp_path):
    probe_counts(tiny_warehouse, environment=environment_file, name="taken", progress=str)
    (tmp_path / "general.jsonl").write_text('{"id": "g", "text": "dcba dcba"}\n')
    other = tmp_path / "environment.yaml"
    other.write_text(
        "objectives:\n- {name: general, role: general, kind: continuation, path: general.jsonl}\n"
    )
    with pytest.raises(InputError, match="'taken' exist already"):
        probe_counts(tiny_warehouse, environment=other, name="taken", progress=str)


def test_long_items_are_cut(tiny_warehouse, environment_file, monkeypatch):
    monkeypatch.setattr(module, "ITEM_TOKENS", 4)
    found = probe_counts(tiny_warehouse, environment=environment_file, name="cut", progress=str)
    assert found.facts["items"] == [4, 4] and found.facts["scored_tokens"] <= 8 * 4
