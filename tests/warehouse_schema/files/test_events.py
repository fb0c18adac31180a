import json
import os
import resource
import signal

import pytest

from dmix.warehouse_schema.errors import InputError, StorageError
from dmix.warehouse_schema.files.events import (
    EventLog,
    is_whole_log,
    last_attempt,
    read_events,
    read_events_backwards,
    repair_events,
)


def test_an_event_is_on_disk_when_write_returns(tmp_path):
    log = EventLog(tmp_path / "runs" / "r" / "events.jsonl", run_id="r", attempt=2)
    log.write("note", step=1, kind="k", detail="ä")
    [event] = read_events(log.path)
    assert (event["event"], event["run_id"], event["attempt"], event["detail"]) == ("note", "r", 2, "ä")
    assert event["time"].endswith("+00:00")
    assert last_attempt(log.path) == 2


def test_a_start_names_the_process_that_wrote_it(tmp_path):
    event = EventLog(tmp_path / "e.jsonl", run_id="r", attempt=1).write("run_started")
    assert event["pid"] == os.getpid()
    assert {"host", "process_started"} <= event.keys()


def test_a_line_under_way_is_left_out_and_cut_by_the_next_attempt(tmp_path):
    path = tmp_path / "e.jsonl"
    EventLog(path, run_id="r", attempt=1).write("note", step=1)
    with open(path, "ab") as file:
        file.write(b'{"event": "decis')
    assert len(list(read_events(path))) == 1
    EventLog(path, run_id="r", attempt=2).write("note", step=2)
    assert [event["step"] for event in read_events(path)] == [1, 2]


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 10**6])
@pytest.mark.parametrize("under_way", [b"", b"{", b'{"event": "note", "step": 9}' * 5])
def test_backwards_gives_the_same_complete_lines(tmp_path, monkeypatch, block_bytes, under_way):
    monkeypatch.setattr("dmix.warehouse_schema.files.events._BLOCK_BYTES", block_bytes)
    path = tmp_path / "e.jsonl"
    lines = b"".join(b'{"event": "note", "attempt": 3, "step": %d}\n' % step for step in range(5))
    for complete in (lines, lines[:43], b""):
        path.write_bytes(complete + under_way)
        assert list(read_events_backwards(path)) == list(read_events(path))[::-1]
        assert last_attempt(path) == (3 if complete else 0)
        EventLog(path, run_id="r", attempt=4)
        assert path.read_bytes() == complete
    assert list(read_events_backwards(tmp_path / "none.jsonl")) == []


def test_a_damaged_line_is_named_by_its_number_from_the_end(tmp_path):
    path = tmp_path / "e.jsonl"
    path.write_bytes(b"[1]\n" + json.dumps({"event": "note"}).encode() + b"\n")
    with pytest.raises(InputError, match=r"e\.jsonl, line 2 from the end is not an event"):
        list(read_events_backwards(path))


def test_nan_scores_survive(tmp_path):
    log = EventLog(tmp_path / "e.jsonl", run_id="r", attempt=1)
    log.write("feedback", step=0, scores={"math": float("nan")})
    [event] = read_events(log.path)
    assert event["scores"]["math"] != event["scores"]["math"]


def test_a_missing_file_has_no_events(tmp_path):
    assert list(read_events(tmp_path / "none.jsonl")) == []
    assert last_attempt(tmp_path / "none.jsonl") == 0


@pytest.mark.parametrize("line", [b"\0\0\0\n", b"[1]\n", b'{"step": 1}\n'])
def test_a_damaged_line_is_named_by_its_number(tmp_path, line):
    path = tmp_path / "e.jsonl"
    path.write_bytes(json.dumps({"event": "note"}).encode() + b"\n" + line)
    with pytest.raises(InputError, match=r"e\.jsonl, line 2 is not an event"):
        list(read_events(path))


def test_an_event_that_the_disk_takes_in_part_is_refused_and_leaves_no_trace(tmp_path):
    log = EventLog(tmp_path / "e.jsonl", run_id="r", attempt=1)
    log.write("decision", step=1)
    before = log.path.read_bytes()
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, limits[1]))
        with pytest.raises(StorageError, match="free some space"):
            log.write("feedback", step=1, scores={"a": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert log.path.read_bytes() == before
    log.write("decision", step=2)
    assert [event["step"] for event in read_events(log.path)] == [1, 2]


@pytest.mark.parametrize(
    "damage", [b"\0" * 4096, b'{"event": "fe{"event": "decision", "step": 2}\n', b"[1]\n"]
)
def test_a_damaged_file_is_cut_after_its_last_whole_line_and_says_so(tmp_path, caplog, damage):
    path = tmp_path / "e.jsonl"
    whole = b'{"event": "note", "attempt": 4}\n' * 3
    path.write_bytes(whole + damage + (b'{"event": "note"}\n' if damage.endswith(b"\n") else b""))
    damaged = path.read_bytes()
    log = EventLog(path, run_id="r")
    assert path.read_bytes() == whole and log.attempt == 5
    assert path.with_name("e.jsonl.damaged").read_bytes() == damaged[len(whole) :]
    assert "damaged after line 3" in caplog.text
    assert repair_events(path) == "" == repair_events(tmp_path / "none.jsonl")


def test_text_that_has_no_utf8_form_is_written_all_the_same(tmp_path):
    log = EventLog(tmp_path / "e.jsonl", run_id="r", attempt=1)
    log.write("note", detail="a\udcff b")
    log.path.write_bytes(
        log.path.read_bytes() + rb'{"event": "note", "attempt": 1, "detail": "a\ud800 b"}' + b"\n"
    )
    # the second line is as earlier versions wrote it; what is read has a UTF-8 form, as tables need
    assert [event["detail"] for event in read_events(log.path)] == [r"a\udcff b", r"a\ud800 b"]
    assert repair_events(log.path) == ""


_DECISION = {
    "event": "decision",
    "attempt": 1,
    "step": 2,
    "planned_N": [0.5, 0.5],
    "asked_N": [0.5, None],
    "planned_samples_N": [1, 2],
    "decided_to": 2,
    "remarks": [{"kind": "alarm", "detail": "a word"}],
}


@pytest.mark.parametrize(
    "change",
    [
        {"attempt": "x"},
        {"attempt": None},
        {"attempt": 0.5},
        {"step": "two"},
        {"step": 10**30},
        {"step": -1},
        {"decided_to": None},
        {"asked_N": "abc"},
        {"asked_N": {"a": 1}},
        {"planned_samples_N": [10**40, 1]},
        {"remarks": [{"x": 1}]},
        {"event": 7},
        {"event": "feedback", "scores": [1, 2]},
        {"event": "feedback"},
        {"event": "feedback", "scores": {"exam": "good"}},
        {"event": "run_started"},
        {"event": "run_started", "config": {}, "space": "x"},
        {"event": "run_started", "config": {}, "space": [], "content": [1]},
    ],
)
def test_json_that_is_no_event_is_damage_and_cut(change, tmp_path):
    path = tmp_path / "events.jsonl"
    line = json.dumps(_DECISION).encode() + b"\n"
    path.write_bytes(line + json.dumps({**_DECISION, **change}).encode() + b"\n" + line)
    assert "damaged after line 1" in repair_events(path)
    assert path.read_bytes() == line
    assert [event["step"] for event in read_events(path)] == [2]


@pytest.mark.parametrize("change", [{"attempt": 1, "step": 9}, {"step": 8, "attempt": 2}])
def test_lines_out_of_order_are_damage_and_cut(change, tmp_path):
    path = tmp_path / "events.jsonl"
    lines = [{**_DECISION, "attempt": 2, "step": 9}, {**_DECISION, "attempt": 2, "step": 9}]
    kept = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_text(kept + json.dumps({**_DECISION, **change}) + "\n")
    assert "damaged after line 2" in repair_events(path)
    assert path.read_text() == kept


_STEP_DONE = {
    **{"event": "step_done", "run_id": "r", "attempt": 1, "seconds": 1.0},
    **{"delivered_samples_N": [1, 2], "delivered_tokens_N": [2, 4]},
}
_STARTED = {"kind": "baseline", "controller": "natural", "config": {}, "space": []}


@pytest.mark.parametrize(
    ("first", "second", "whole"),
    [(0, 2, 0), (0, 1, 1), (1, 2, 1), (1, 3, 2), (2, 4, 2), (3, 5, 3), (1, None, 1), (3, None, 3)],
)
def test_lines_that_were_exchanged_or_left_out_are_damage_and_cut(first, second, whole, tmp_path):
    path = tmp_path / "events.jsonl"
    lines = [{"event": "run_started", "run_id": "r", "attempt": 1, **_STARTED}]
    for step in (1, 2, 3):
        lines += [{**_DECISION, "run_id": "r", "step": step}, {**_STEP_DONE, "step": step}]
    lines.append({"event": "run_started", "run_id": "renamed", "attempt": 2, **_STARTED})
    lines += [{**_DECISION, "run_id": "renamed", "step": 2, "attempt": 2}]
    texts = [json.dumps(line) + "\n" for line in lines]
    path.write_text("".join(texts))
    assert repair_events(path) == "" and is_whole_log(path)
    if second is None:
        del texts[first]
    else:
        texts[first], texts[second] = texts[second], texts[first]
    path.write_text("".join(texts))
    assert not is_whole_log(path)
    assert f"damaged after line {whole}" in repair_events(path)
    assert path.read_text() == "".join(texts[:whole])


def test_a_line_of_another_run_is_damage_and_cut(tmp_path):
    path = tmp_path / "events.jsonl"
    lines = [{**_DECISION, "run_id": run_id} for run_id in ("r", "q")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "damaged after line 1" in repair_events(path)


def test_a_bit_that_flipped_inside_a_line_is_repaired_by_the_next_attempt(tmp_path):
    path = tmp_path / "events.jsonl"
    whole = json.dumps(_DECISION).encode() + b"\n"
    path.write_bytes(whole + whole.replace(b"[0.5", b" 0.5"))
    with pytest.raises(InputError, match="line 2 is not an event"):
        list(read_events(path))
    EventLog(path, run_id="r")
    assert path.read_bytes() == whole


def test_an_event_without_its_attempt_is_named(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "decision", "step": 1}\n')
    with pytest.raises(InputError, match=r"events\.jsonl has the attempt .* restore the file"):
        last_attempt(path)


def test_a_line_of_many_blocks_is_read_backwards_in_one_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("dmix.warehouse_schema.files.events._BLOCK_BYTES", 3)
    path = tmp_path / "events.jsonl"
    for detail in ("a" * 1000, "b"):
        EventLog(path, run_id="r", attempt=1).write("note", detail=detail)
    assert [event["detail"] for event in read_events_backwards(path)] == ["b", "a" * 1000]


def test_credentials_in_the_detail_of_an_event_are_not_stored(tmp_path):
    log = EventLog(tmp_path / "events.jsonl", run_id="r")
    written = log.write("run_failed", step=1, detail="cannot read https://user:SECRET@host/x")
    assert written["detail"] == "cannot read https://…@host/x"
    assert "SECRET" not in (tmp_path / "events.jsonl").read_text()
