"""`runs/<run_id>/events.jsonl`: the facts of a run, one JSON object a line, append only.

A run never needs the catalog once it has started; whoever asks later (the catalog, the
report, a resumed attempt) reads these lines. A vector has one number for each (field, domain)
pair, in the order of the `space` of the last `run_started` line. Steps count from 1; step 0 is
the model before any training.

| event | keys beside event, run_id, attempt, time |
|---|---|
| run_started | kind, dataset, controller, config, space [[field, domain], …], resumed_from_step, … |
| … | … host, pid, process_started: the writing process, added by `EventLog` |
| decision | step, asked_N, planned_N, planned_samples_N, reasons {"index": text}, scores seen, … |
| … | … decided_to: the last step that any attempt has decided so far; remarks [{kind, detail}] |
| step_done | step, delivered_samples_N, delivered_tokens_N, passes_N, digest, chain, loss, seconds, … |
| … | … loss_sum_N and loss_tokens_N: training loss in nats and the tokens it was summed over |
| feedback | step, scores {objective: score} |
| note | step, kind, detail; kinds: fallback, alarm, guard, shadow, supply, non_finite_loss |
| run_done, run_failed | step, detail |

A decision is on disk before its step starts. When an attempt resumes, its lines supersede the
older ones of the same step: readers take, for each step and kind, the last line of the file.
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.processes import this_process

Event = dict[str, Any]

_BLOCK_BYTES = 2**16


class EventLog:
    """Appends events of one attempt of a run; each is on disk when `write` returns.

    Args:
        path: The `events.jsonl` of the run.
        run_id: The run.
        attempt: 1 for the first start, one more for each resume.
    """

    def __init__(self, path: Path, *, run_id: str, attempt: int) -> None:
        self.path, self.run_id, self.attempt = path, run_id, attempt
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_partial_line(path)

    def write(self, event: str, **values: Any) -> Event:
        """Appends one line and syncs it; returns what was written."""
        record = {
            "event": event,
            "run_id": self.run_id,
            "attempt": self.attempt,
            "time": datetime.now(UTC).isoformat(),
            **(this_process() if event == "run_started" else {}),
            **values,
        }
        line = json.dumps(record, ensure_ascii=False, allow_nan=True) + "\n"
        with open(self.path, "ab", buffering=0) as file:
            file.write(line.encode())
            os.fsync(file.fileno())
        return record


def read_events(path: Path) -> Iterator[Event]:
    """The complete lines of an event file, in order; a line under way at the end is left out.

    Raises:
        InputError: If a complete line is not a JSON object.
    """
    if not path.is_file():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                yield _parsed(line, path, number)


def read_events_backwards(path: Path) -> Iterator[Event]:
    """The complete lines of an event file, last one first; it is read as far as they are taken.

    Raises:
        InputError: If a complete line is not a JSON object.
    """
    if not path.is_file():
        return
    with open(path, "rb") as file:
        for lines_back, line in enumerate(_lines_backwards(file), start=1):
            yield _parsed(line, path, f"{lines_back} from the end")


def last_attempt(path: Path) -> int:
    """The number of the attempt that wrote last; 0 if there is none."""
    return next((event["attempt"] for event in read_events_backwards(path)), 0)


def _parsed(line: bytes, path: Path, number: int | str) -> Event:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict) or "event" not in event:
        raise InputError(
            f"{path}, line {number} is not an event: {line[:60]!r};"
            " restore the file, or delete the folder of the run"
        )
    return event


def _lines_backwards(file: BinaryIO) -> Iterator[bytes]:
    """The complete lines of a file, last one first."""
    position, head = file.seek(0, os.SEEK_END), b""
    under_way = True
    while position:
        size_bytes = min(position, _BLOCK_BYTES)
        position = file.seek(position - size_bytes)
        head, *lines = (file.read(size_bytes) + head).split(b"\n")
        if lines and under_way:
            lines.pop()  # what stands after the last newline
            under_way = False
        yield from reversed(lines)
    if not under_way:
        yield head


def _cut_partial_line(path: Path) -> None:
    """Removes what a killed writer left after the last newline."""
    if not path.is_file():
        return
    with open(path, "rb+") as file:
        end = complete = file.seek(0, os.SEEK_END)
        while complete:
            start = file.seek(max(0, complete - _BLOCK_BYTES))
            newline = file.read(complete - start).rfind(b"\n")
            complete = start + newline + 1
            if newline >= 0:
                break
        if complete != end:
            file.truncate(complete)
