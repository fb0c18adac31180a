"""`runs/<run_id>/events.jsonl`: the facts of a run, one JSON object per line, append only.

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
| checkpoint_saved | step, file, fingerprint: a checkpoint that is on disk, see `checkpoint_files.py` |
| content_changed | step, what, before, after, detail: see `files/changes.py`; precedes its run_started |
| note | step, kind, detail; kinds: fallback, alarm, guard, shadow, supply, non_finite_loss, … |
| … | … microbatch_size, whose value is the samples of a forward pass that auto found |
| run_done, run_failed, run_stopped | step, detail; stopped: by a signal, after it saved its state |
| … | … rank_lost of run_failed: another rank was killed or stopped, so the next attempt may end otherwise |

A decision is on disk before its step starts. When an attempt resumes, its lines supersede the
older ones of the same step: readers take, for each step and kind, the last line of the file.
"""

import errno
import json
import logging
import os
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.event_shapes import is_complete, is_event
from dmix.warehouse_schema.files.layout import storage_errors
from dmix.warehouse_schema.files.names import spelled_halves, without_credentials
from dmix.warehouse_schema.files.processes import this_process
from dmix.warehouse_schema.sizes import num_text

logger = logging.getLogger(__name__)

Event = dict[str, Any]

_BLOCK_BYTES = 2**16


class EventLog:
    """Appends events of one attempt of a run; each is on disk when `write` returns.

    Opening a damaged file repairs it (`repair_events`) and logs a warning.

    Args:
        path: The `events.jsonl` of the run.
        run_id: The run.
        attempt: 1 for the first start, one more for each resume; None takes the next one.
    """

    def __init__(self, path: Path, *, run_id: str, attempt: int | None = None) -> None:
        self.path, self.run_id = path, run_id
        path.parent.mkdir(parents=True, exist_ok=True)
        damage = repair_events(path)
        if damage:
            logger.warning("%s", damage)
        self.attempt = last_attempt(path) + 1 if attempt is None else attempt

    def write(self, event: str, **values: Any) -> Event:
        """Appends one line and syncs it; returns what was written.

        Raises:
            StorageError: If the disk is full or the folder cannot be written. The file then ends with
                the line before.
        """
        record = {
            "event": event,
            "run_id": self.run_id,
            "attempt": self.attempt,
            "time": datetime.now(UTC).isoformat(),
            **(this_process() if event == "run_started" else {}),
            **values,
        }
        if isinstance(record.get("detail"), str):  # an error of a library may hold the URL that failed
            record["detail"] = without_credentials(record["detail"])
        line = json.dumps(record, ensure_ascii=False, allow_nan=True) + "\n"
        _append_whole(self.path, spelled_halves(line).encode())
        return record


def repair_events(path: Path) -> str:
    """Cuts a damaged event file after its last whole line before the damage.

    A power cut or a full disk leaves zeros, halves of lines, or two lines joined into one; a failing disk
    or an editor leaves lines that are JSON and no events, or in another order. What stands behind the
    first such line is moved to `<name>.damaged`; a line under way at the end is dropped.

    Returns:
        A sentence about what was moved; empty if nothing but a line under way was wrong.
    """
    if not path.is_file():
        return ""
    with open(path, "rb+") as file:
        whole_bytes, lines = _whole(file)
        file.seek(whole_bytes)
        rest = file.read()
        if b"\n" not in rest and b"\0" not in rest:  # at most a line under way
            if rest:
                file.truncate(whole_bytes)
            return ""
        aside = path.with_name(path.name + ".damaged")
        with open(aside, "ab") as kept:
            kept.write(rest)
            kept.flush()
            os.fsync(kept.fileno())
        file.truncate(whole_bytes)
        os.fsync(file.fileno())
    return (
        f"{path} was damaged after line {lines}. dmix moved the {num_text(len(rest), 'byte')} after this "
        f"line to {aside.name}"
    )


def is_whole_log(path: Path) -> bool:
    """Whether `repair_events` would leave an event file as it is."""
    with open(path, "rb") as file:
        return _whole(file)[0] == path.stat().st_size


def _whole(file: BinaryIO) -> tuple[int, int]:
    """Bytes and lines of an event file before its first line that is damaged."""
    whole_bytes, lines, order = 0, 0, _Order()
    for line in file:
        event = _event_of(line) if line.endswith(b"\n") else None
        if event is None or not is_complete(event) or not order.takes(event):
            break
        whole_bytes, lines = whole_bytes + len(line), lines + 1
    return whole_bytes, lines


def has_ended(path: Path, result: Path | None) -> bool:
    """Whether a run is done and its model is there; False where its last event is damaged, which a resume
    repairs.

    Args:
        path: Its event file.
        result: Folder of the trained model; without one, only a checkpoint says that a run is done.
    """
    try:
        last = next(read_events_backwards(path), {"event": ""})
    except InputError:
        return False
    return last["event"] == "run_done" and result is not None and result.is_dir()


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


def read_complete_events(path: Path) -> Iterator[Event]:
    """As `read_events`, of events that have all that a resume or a summary needs of them.

    Raises:
        InputError: If one lacks something.
    """
    for number, event in enumerate(read_events(path), start=1):
        if not is_complete(event):
            raise InputError(_damaged(path, number, json.dumps(event).encode()))
        yield event


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
    """The number of the attempt that wrote last; 0 if there is none.

    Raises:
        InputError: If the last event does not say.
    """
    found = next((event.get("attempt") for event in read_events_backwards(path)), 0)
    if not isinstance(found, int):
        raise InputError(
            f"the last event of {path} has the attempt {found!r}, expected a number; restore the file "
            "from a copy, or delete the folder of the run"
        )
    return found


def _parsed(line: bytes, path: Path, number: int | str) -> Event:
    event = _event_of(line)
    if event is None:
        raise InputError(_damaged(path, number, line))
    return event


def _damaged(path: Path, number: int | str, line: bytes) -> str:
    return (
        f"{path}, line {number} is not an event: {line[:60]!r}; run '{resume_command(path.parent)}' "
        "to keep the earlier lines and train the rest again, or delete the folder of the run"
    )


def resume_command(run_folder: Path) -> str:
    """The command that resumes a run, quoted for a shell in any folder."""
    warehouse, run_id = run_folder.absolute().parent.parent, run_folder.name
    return shlex.join(["dmix", "train", "--warehouse", str(warehouse), "--run", run_id, "--resume"])


class _Order:
    """Whether events come as attempts write them: attempts ascend; each is of one run, starts before it
    decides, decides one step after the other, and ends the step that it decided last."""

    def __init__(self) -> None:
        self._attempt, self._run = 0, None
        self._decided = self._most = _NO_STEP

    def takes(self, event: Event) -> bool:
        kind, attempt = event["event"], event.get("attempt") or 0
        if attempt < self._attempt:
            return False
        if attempt > self._attempt:
            self._attempt, self._run, self._decided = attempt, event.get("run_id"), _NO_STEP
        if event.get("run_id", self._run) != self._run:
            return False
        if kind == "decision":
            return self._decides(event["step"])
        if kind == "step_done":
            return bool(event["step"] == self._decided)
        return kind != "run_started" or self._decided == _NO_STEP

    def _decides(self, step: int) -> bool:
        before = self._most if self._decided == _NO_STEP else self._decided
        if (before != _NO_STEP and step > before + 1) or step < self._decided:
            return False
        self._decided, self._most = step, max(step, self._most)
        return True


_NO_STEP = -1


def _event_of(line: bytes) -> Event | None:
    """The event of a line; None if it is damaged."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            event = json.loads(line)  # NaN, for a score that is missing
            if b"\\ud" in line.lower():  # half a surrogate pair, as earlier versions wrote
                event = json.loads(spelled_halves(json.dumps(event, ensure_ascii=False)))
        except (ValueError, RecursionError):
            return None
    return event if is_event(event) else None


def _lines_backwards(file: BinaryIO) -> Iterator[bytes]:
    """The complete lines of a file, last one first."""
    position, head = file.seek(0, os.SEEK_END), _Head()
    under_way = True
    while position:
        size_bytes = min(position, _BLOCK_BYTES)
        position = file.seek(position - size_bytes)
        first, *lines = file.read(size_bytes).split(b"\n")
        if lines:
            lines[-1] = head.after(lines[-1])
            if under_way:
                lines.pop()  # what stands after the last newline
                under_way = False
            yield from reversed(lines)
            head = _Head()
        head.blocks.append(first)
    if not under_way:
        yield head.after(b"")


class _Head:
    """The part of a line that was read so far, last block first; joined once, however long it is."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []

    def after(self, start: bytes) -> bytes:
        return b"".join((start, *reversed(self.blocks)))


def _append_whole(path: Path, line: bytes) -> None:
    """Appends a line and syncs it, or leaves the file as it was.

    A disk that fills up takes a part of a line and reports a short write, no error.
    """
    with storage_errors(str(path)), open(path, "ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            written = file.write(line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(before)
            raise
