"""What a run that has ended records of content that changed since."""

from dmix.training.run.resuming.differences import recorded_content
from dmix.training.run.resuming.ended import record_changes
from dmix.warehouse_schema.files.changes import changes_between
from dmix.warehouse_schema.files.events import EventLog, has_ended, is_whole_log, read_events


def test_accepted_content_is_an_attempt_that_ends_as_the_run_did(tmp_path):
    path, before, now = tmp_path / "events.jsonl", {"the items of x": "1"}, {"the items of x": "2"}
    log = EventLog(path, run_id="r")
    log.write("run_started", config={}, space=[], kind="baseline", controller="natural", content=before)
    log.write("run_done", step=3, detail="all steps are done")
    written = path.read_bytes()
    record_changes(EventLog(path, run_id="r"), (), before)
    assert path.read_bytes() == written
    record_changes(EventLog(path, run_id="r"), changes_between(before, now), now)
    change, started, done = list(read_events(path))[2:]
    assert (change["event"], change["before"], change["after"]) == ("content_changed", "1", "2")
    assert (started["attempt"], started["resumed_from_step"], started["controller"]) == (2, 3, "natural")
    assert (done["step"], done["detail"]) == (3, "all steps are done")
    assert recorded_content(path) == now and is_whole_log(path)
    assert has_ended(path, tmp_path) and not has_ended(path, tmp_path / "gone") and not has_ended(path, None)
