import json

import pytest

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.changes import EVENT, accepted_changes, changes_between, require_accepted
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.files.layout import Warehouse, publish_json


def test_only_what_both_know_can_have_changed():
    (change,) = changes_between({"a": "1", "b": "2", "gone": "3"}, {"a": "1", "b": "x", "new": "4"})
    assert (change.what, change.before, change.after) == ("b", "2", "x")


def test_a_change_is_refused_by_name_unless_it_is_accepted():
    changes = changes_between({"the items": "1"}, {"the items": "2"})
    require_accepted(changes, of="run r", accepted=True)
    require_accepted([], of="run r", accepted=False)
    with pytest.raises(InputError, match=r"run r: the items changed .* --accept-changes"):
        require_accepted(changes, of="run r", accepted=False)


def test_accepted_changes_are_found_wherever_they_were_accepted(tmp_path):
    warehouse = Warehouse.at(tmp_path)
    (change,) = changes_between({"the items": "1"}, {"the items": "2"})
    log = EventLog(warehouse.run("r") / "events.jsonl", run_id="r")
    log.write(EVENT, step=0, detail=change.digests, **change.to_json())
    publish_json(warehouse.feedback("f") / "farm.json", {"changes": [change.to_json()]})
    publish_json(warehouse.run("r") / "evaluations/step1-t.json", {"changes": [change.to_json()]})
    assert list(accepted_changes(warehouse)) == [
        ("run r", change),
        ("farm f", change),
        ("evaluation step1-t of run r", change),
    ]


@pytest.mark.parametrize("content", ["[]", '{"changes": 3}', '{"changes": [{}]}', "{", json.dumps({})])
def test_damaged_records_hide_nothing_else(content, tmp_path):
    warehouse = Warehouse.at(tmp_path)
    warehouse.feedback("f").mkdir(parents=True)
    (warehouse.feedback("f") / "farm.json").write_text(content)
    warehouse.run("r").mkdir(parents=True)
    (warehouse.run("r") / "events.jsonl").write_text(f'{{"event": "{EVENT}"' + "\n")
    assert list(accepted_changes(warehouse)) == []
