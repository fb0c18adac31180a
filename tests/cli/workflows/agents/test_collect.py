"""What is said of a farm before it is trained."""

from types import SimpleNamespace

import pytest

from dmix.cli.workflows.agents import collect
from dmix.cli.workflows.agents.collect import _announce, collect_farm
from dmix.mixing.trajectories import store
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


def farm(**changes):
    values = {"changes": (), "done": 1, "todo": (1, 2), "tokens": 5000, "variations": {}, "warning": ""}
    return SimpleNamespace(**values | changes)


def announced(**changes):
    lines = []
    _announce("farm", farm(**changes), lines.append)
    return lines


def test_done_and_missing_trajectories_are_counted():
    assert announced() == ["set farm: 1 of 3 trajectories have feedback; at most 5,000 tokens of training"]


def test_changes_variations_and_warnings_are_said_in_order():
    lines = announced(
        changes=(SimpleNamespace(digests="items a to b"),), variations={"width*0.5": 2}, warning="R differs"
    )
    assert lines[0] == "accepted: items a to b"
    assert (
        lines[2].startswith("varied proxies: 2 with width*0.5. These differ") and "agent learns" in lines[2]
    )
    assert lines[3:] == ["warning: R differs"]


@pytest.mark.parametrize(("in_process", "refused"), [(False, True), (True, False)])
def test_spark_connect_is_refused_where_spark_is_needed(monkeypatch, tmp_path, in_process, refused):
    for name in ("check_set", "check_environment", "check_kept_out", "base_of_proxies"):
        monkeypatch.setattr(collect, name, lambda *_, **__: None)
    monkeypatch.setattr(store, "read_set", lambda *_: SimpleNamespace(dataset="d"))
    given = {"set_name": "s", "environment": tmp_path / "none.yaml", "master": "sc://host", "progress": str}
    with pytest.raises(InputError if refused else Exception) as raised:
        collect_farm(Warehouse.at(tmp_path), in_process=in_process, **given)
    assert ("Spark Connect" in str(raised.value)) == refused
