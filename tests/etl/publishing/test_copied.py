"""Lines of a copy say where they come from, in forms that are checked."""

import pytest

from dmix.etl.publishing.copied import copied_document, copied_reject, origin_of, reject_of
from dmix.etl.publishing.rejects import Reject

REJECT = Reject("notes/a.txt", 3, "empty_text", "0 characters", "")


def test_what_is_written_is_read():
    record = copied_document("7", "a text", path="notes/a.txt", position=3)
    assert (record["id"], record["text"]) == ("7", "a text")
    assert origin_of(record) == ("notes/a.txt", 3) and reject_of(record) is None
    assert reject_of(copied_reject(REJECT)) == REJECT


@pytest.mark.parametrize(
    "changes",
    [
        {"path": ""},
        {"path": 1},
        {"path": "half a pair \ud800"},
        {"position": 0},
        {"position": True},
        {"position": 1.0},
        {"position": 2**63},
        {"reason": "of my own"},
        {"reason": ["empty_text"]},
        {"detail": None},
        {"prefix": "half a pair \ud800"},
    ],
)
def test_what_is_not_well_formed_is_no_origin_and_no_reject(changes):
    found = {**REJECT._asdict(), **changes}
    assert reject_of({"dmix_reject": found}) is None
    if changes.keys() & {"path", "position"}:
        assert origin_of({"id": "7", "text": "a text", "dmix_origin": found}) is None
    assert origin_of({"dmix_origin": "a.txt"}) is None and reject_of({"dmix_reject": None}) is None


def test_only_records_of_the_form_of_a_copy_count():
    record = copied_document("7", "a text", path="notes/a.txt", position=3)
    assert origin_of({**record, "title": "more"}) is None
    assert origin_of({**record, "id": ""}) is None
    # without an id of its own, documents that name one place would get one id
    assert origin_of({name: value for name, value in record.items() if name != "id"}) is None
    assert reject_of({**copied_reject(REJECT), "text": "a text that a reject would hide"}) is None
