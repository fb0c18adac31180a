"""Code of one's own that steers runs (`python:` controllers): which of it this user trusts.

A run's `config.yaml` may come from someone else. So the digest of a controller's code is kept in the
user's own configuration when the user names it on a command line, and a resume runs the code of a
`config.yaml` only if its digest is there, or if the user says so.
"""

import json
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dmix.mixing.controllers.custom import code_digest
from dmix.warehouse_schema.errors import InputError, StorageError
from dmix.warehouse_schema.files.layout import publish_json
from dmix.warehouse_schema.files.names import from_home

logger = logging.getLogger(__name__)


def trust_file() -> Path:
    """Where this user's trusted digests are: `$XDG_CONFIG_HOME/dmix`, by default `~/.config/dmix`."""
    base = os.environ.get("XDG_CONFIG_HOME")
    folder = Path(base) if base else from_home("~/.config")
    return folder / "dmix" / "trusted-controllers.json"


def trust_controllers(specs: Iterable[str]) -> None:
    """Remembers the code of controllers that this user names. Does nothing for those that dmix brings."""
    known = _trusted()
    new = {digest: spec for spec, digest in _digests(specs).items() if digest not in known}
    if new:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entries = {digest: {"controller": spec, "trusted_at": now} for digest, spec in new.items()}
        try:
            publish_json(trust_file(), {**known, **entries})
            trust_file().chmod(0o600)
        except (OSError, StorageError) as error:
            logger.warning("to resume this run, you will need --trust-controller: %s", error)


def require_trusted(specs: Iterable[str], *, origin: str) -> None:
    """Returns if this user trusts the code of all these controllers.

    Args:
        specs: Controllers as a configuration names them.
        origin: Where they are named, for the message.

    Raises:
        InputError: If one is of unknown code; nothing of it was run.
    """
    known = _trusted()
    for spec, digest in _digests(specs).items():
        if digest not in known:
            raise InputError(
                f"{origin} contains the controller {spec}, but you never started a run with its code "
                f"(SHA-256 {digest[:16]}). Read the code. If you trust the code, add --trust-controller"
            )


def _digests(specs: Iterable[str]) -> dict[str, str]:
    found = {spec: code_digest(spec) for spec in specs if spec}
    return {spec: digest for spec, digest in found.items() if digest is not None}


def _trusted() -> dict[str, Any]:
    """The known digests; none if the file is missing, damaged, or not this user's alone to write."""
    path = trust_file()
    with suppress(OSError, ValueError):
        found = path.stat()
        value = json.loads(path.read_bytes())
        if found.st_uid == os.getuid() and not found.st_mode & 0o022 and isinstance(value, dict):
            return value
    return {}
