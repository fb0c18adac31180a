"""Content that changed under a run, a farm or the evaluations of a run, and that a user accepted.

Runs, farms and evaluations keep digests of what they read elsewhere: items of objectives, code of
controllers, weights of the model that they start from, samples of the dataset. Another content is refused,
since what was measured before and after cannot be compared; `--accept-changes` goes on and keeps both
digests: as an event `content_changed` of a run, under `changes` in `farm.json` and in the file of an
evaluation.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dmix.warehouse_schema.errors import DmixError, InputError
from dmix.warehouse_schema.files.layout import Warehouse, read_json
from dmix.warehouse_schema.text_files import parse_json, refuse_pipe

EVENT = "content_changed"
SAMPLES = "the manifest of the dataset"
"""How its samples are called; their digest is `dmix.warehouse_schema.files.manifests.samples_digest`."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing whose content changed.

    Attributes:
        what: The thing, for people: "the items of objective math".
        before: Its SHA-256 until then.
        after: Its SHA-256 from then on.
        time: When the change was accepted, ISO 8601 in UTC.
    """

    what: str
    before: str
    after: str
    time: str

    @property
    def digests(self) -> str:
        """A sentence with the beginnings of both digests."""
        return f"{self.what} changed from {self.before[:12]} to {self.after[:12]}"

    def to_json(self) -> dict[str, str]:
        """Plain values, as `changes` holds them."""
        return asdict(self)


def changes_between(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[Change, ...]:
    """What has another digest than before; what only one of both knows is left out."""
    time = datetime.now(UTC).isoformat()
    return tuple(
        Change(what=what, before=old, after=now[what], time=time)
        for what, old in before.items()
        if what in now and now[what] != old
    )


def require_accepted(changes: Iterable[Change], *, of: str, accepted: bool) -> None:
    """Returns if nothing changed, or the user accepted it.

    Args:
        changes: From `changes_between`.
        of: Run, farm or evaluation, for people.
        accepted: Whether `--accept-changes` was given.

    Raises:
        InputError: Otherwise; it names what changed.
    """
    names = ", ".join(change.what for change in changes)
    if names and not accepted:
        raise InputError(
            f"{of}: {names} changed since the last time; restore the earlier version, or add "
            "--accept-changes, which also records both digests"
        )


def accepted_changes(warehouse: Warehouse) -> Iterator[tuple[str, Change]]:
    """(run, farm or evaluation, change) of everything that was accepted; damaged files are left out."""
    for path in sorted(warehouse.root.glob("runs/*/events.jsonl")):
        yield from ((f"run {path.parent.name}", change) for change in _of_run(path))
    for path in sorted(warehouse.root.glob("feedback/*/farm.json")):
        yield from ((f"farm {path.parent.name}", change) for change in _of_file(path))
    for path in sorted(warehouse.root.glob("runs/*/evaluations/*.json")):
        place = f"evaluation {path.stem} of run {path.parents[1].name}"
        yield from ((place, change) for change in _of_file(path))


def _of_run(path: Path) -> list[Change]:
    """Changes of a run; the other events are not parsed, since a log may hold 10,000 steps."""
    start = f'{{"event": "{EVENT}"'.encode()
    try:
        refuse_pipe(path)
        with path.open("rb") as file:
            return [_change(parse_json(line)) for line in file if line.startswith(start)]
    except (OSError, LookupError, TypeError, ValueError):
        return []


def _of_file(path: Path) -> list[Change]:
    try:
        return [_change(value) for value in read_json(path).get("changes", [])]
    except (DmixError, OSError, LookupError, TypeError, AttributeError):
        return []


def _change(value: Mapping[str, Any]) -> Change:
    return Change(**{name: str(value[name]) for name in ("what", "before", "after", "time")})
