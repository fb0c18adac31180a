"""Files and folders that no manifest names, and their removal; `gc`, `verify` and `shard` share it."""

import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dmix.etl.publishing.publish import STAGING
from dmix.warehouse_schema.files.layout import storage_errors
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.files.names import links_below
from dmix.warehouse_schema.files.storage import Place, RemotePath

# Names of files that dmix writes for corpora, datasets, screenings, start states and effects, and for a
# while beside them.
_OWN_FILE = re.compile(
    r"shard\.[\w.]+\.mds|[\w.-]+\.parquet|(index|manifest|tokenizer|estimate|probes|v\d+|[0-9a-f]{16,})\.json"
    r"|\.[\w.-]+\.(json|parquet|mds)\.\w+"
)


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """One local file or folder, or one remote file, that no manifest names."""

    path: Place
    size_bytes: int


def unnamed_streams(folder: Place, manifest: DatasetManifest) -> list[Place]:
    """What a dataset's folder holds in its fields' folders, or hidden, beside the named files."""
    if isinstance(folder, RemotePath):
        kept = {folder / stream.path / file.name for stream in manifest.streams for file in stream.files}
        return remote_less(folder, kept | {folder / "manifest.json", folder / "tokenizer.json"})
    named = {folder / stream.path / file.name for stream in manifest.streams for file in stream.files}
    fields = sorted({folder / stream.field for stream in manifest.streams})
    return [*(path for field in fields for path in unnamed_below(field, named)), *hidden(folder)]


def remove_unnamed_streams(folder: Place, manifest: DatasetManifest) -> None:
    """Removes the staging folder of a dataset that has just been published, and strays."""
    collected(unnamed_streams(folder, manifest), dry_run=False)


def unnamed_below(folder: Path, named: set[Path]) -> list[Path]:
    """Topmost files and folders below `folder` that hold none of `named`."""
    return list(outside(folder, needed_by(named)))


def needed_by(named: Iterable[Path]) -> set[Path]:
    """Files and all folders above them; made once for a whole tree, as its size is that of the tree."""
    needed = set(named)
    for path in named:
        for parent in path.parents:
            if parent in needed:
                break
            needed.add(parent)
    return needed


def outside(folder: Path, needed: set[Path]) -> Iterator[Path]:
    """Topmost entries below `folder` that are not `needed`, in the order of their names."""
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir()):
        if entry not in needed:
            yield entry
        elif entry.is_dir() and not entry.is_symlink():
            yield from outside(entry, needed)


def hidden(folder: Path) -> list[Path]:
    """Staging folders, and temporary files of a killed publication."""
    return sorted(folder.glob(".*")) if folder.is_dir() else []


def remote_less(folder: RemotePath, named: set[RemotePath]) -> list[Place]:
    """Remote files below `folder` that are not among `named`."""
    return [file.path for file in folder.files() if file.path not in named]


def collected(paths: Iterable[Place], *, dry_run: bool) -> list[Garbage]:
    """What of the paths has a name that dmix gives, with its size; removes it unless `dry_run`.

    Never a link, nor what lies behind one.
    """
    own = [place for path in paths for place in _made_here(path)]
    garbage = [Garbage(path=path, size_bytes=_size(path)) for path in own]
    if not dry_run:
        for entry in garbage:
            with storage_errors(str(entry.path)):
                _remove(entry.path)
    return garbage


def _made_here(place: Place) -> list[Place]:
    """What of a file, or of a folder and all below it, has a name that dmix gives; never a link.

    The folder itself, if that is all of it.
    """
    if isinstance(place, RemotePath):
        ours = STAGING in place.url.split("/") or _OWN_FILE.fullmatch(place.name)
        return [place] if ours else []
    if place.is_symlink():
        return []
    if not place.is_dir():
        return [place] if place.exists() and _OWN_FILE.fullmatch(place.name) else []
    if place.name == STAGING:
        return [] if any(links_below(place)) else [place]
    inner = sorted(place.iterdir())
    found = [_made_here(path) for path in inner]
    if all(own == [path] for path, own in zip(inner, found, strict=True)):
        return [place]
    return [path for own in found for path in own]


def _remove(path: Place) -> None:
    """Removes a file or a folder; what a zombie of a killed job still writes stays for next time."""
    if isinstance(path, RemotePath):
        path.unlink()
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _size(path: Place) -> int:
    if isinstance(path, RemotePath):
        return path.size_bytes or 0
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(_size(entry) for entry in path.iterdir())
        return path.lstat().st_size
    except FileNotFoundError:  # a zombie of a killed job still moves its files
        return 0
