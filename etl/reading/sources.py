"""What a user gave becomes a list of input files, found and named.

Known endings only: a compressed file that is read as text becomes one row of noise without any
error (Spark does that with .xz), so everything else is refused with the fix. What the files hold
is looked at in `dmix.etl.reading.inspection`.

| form | endings | compressed |
|---|---|---|
| JSON Lines | .jsonl .ndjson .json | .gz .zst .bz2 |
| text, one document a file | .txt .md | .gz .zst .bz2 |
| Parquet | .parquet | inside the file |

Inputs are local paths or URLs (`dmix.warehouse_schema.files.storage`).
"""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from dmix.etl.reading.blocks import reading
from dmix.etl.reading.walking import engine_part, hidden_part, refuse_tables, walk
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.names import from_home
from dmix.warehouse_schema.files.storage import SCHEMES, RemotePath, is_url
from dmix.warehouse_schema.sizes import num_text

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".txt": "text",
    ".md": "text",
    ".parquet": "parquet",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
ENDINGS = {compression: ending for ending, compression in COMPRESSIONS.items()}
REFUSED = (".xz", ".lzma", ".lz4", ".zip", ".7z", ".br", ".snappy", ".z", ".tar", ".tgz")
KNOWN = "known endings: .jsonl, .ndjson, .json, .txt, .md (each also with .gz, .zst or .bz2) and .parquet"


@dataclass(frozen=True, kw_only=True)
class FoundFile:
    """A file that will be read.

    Attributes:
        path: Absolute path, or URL.
        name: Path below the folder or glob that the user gave; unique among the inputs.
        format: `jsonl`, `text` or `parquet`.
        compression: `none`, `gzip`, `zstd` or `bz2`.
        stamp: What changes when the content does: size, times in ns (of change and of modification),
            inode; of a remote file size and time of modification.
    """

    path: str
    name: str
    size_bytes: int
    format: str
    compression: str
    stamp: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FoundFiles:
    """Everything that was found, in the order of the names.

    Attributes:
        skipped: Number of files (and of what engines and links left) in folders that were left out, by
            ending or by name.
    """

    files: tuple[FoundFile, ...]
    skipped: Mapping[str, int]


_MOST_KINDS = 5
"""Kinds of files that a message lists."""


def conversion(skipped: Mapping[str, int]) -> str:
    """How to convert files that were left out, as an addition to a line; empty if dmix knows no way."""
    tables = {".csv": "", ".tsv": ", sep='\\t'"}
    found = next((ending for ending in tables if ending in skipped), None)
    if found is None:
        return ""
    call = f"pandas.read_csv('FILE{found}'{tables[found]}).to_parquet('FILE.parquet')"
    return f'; to read a {found} file, convert it: python -c "import pandas; {call}"'


def check_local(pattern: str) -> None:
    """Refuses a path or glob that `find_files` would refuse; URLs are not asked for.

    Raises:
        NotFoundError: If a path does not exist or a glob matches nothing.
        InputError: If a file's ending is not known, or a folder holds no file with a known one.
    """
    if not is_url(pattern):
        next(_expanded(pattern, Counter(), None))


def find_files(
    given: Sequence[str], *, taken: Mapping[str, str] | None = None, not_below: Path | None = None
) -> FoundFiles:
    """The files that paths, folders and globs name.

    In folders, hidden files are left out and links are followed (`dmix.etl.reading.walking`). A file
    that is reached twice counts once, under the name that is no link, or else the first. Two files
    with one name get as much of their path in front of it as tells them apart.

    Args:
        given: What the user named: paths, globs of local paths, URLs of files and folders.
        taken: Names that other inputs of the corpus have already, with their paths.
        not_below: A folder whose files are left out: the warehouse, which may lie among them.

    Raises:
        NotFoundError: If a path does not exist or a glob matches nothing.
        InputError: If a file's ending is not known, a folder holds no file with a known one or may not
            be read, or a link leads nowhere.
        StorageError: If a remote store cannot be reached or refuses.
    """
    roots: dict[str, PurePath] = {}
    skipped: Counter[str] = Counter()
    stamps: dict[str, tuple[int, ...]] = {}
    for pattern in given:
        if is_url(pattern):
            expanded = _remote(RemotePath.at(pattern), skipped, stamps)
        else:
            expanded = _expanded(pattern, skipped, not_below and not_below.resolve())
        for path, root in expanded:
            roots.setdefault(path, root)
    for path, kept in _other_names(roots).items():
        del roots[path]
        skipped[f"{PurePath(path).name} (another name of {PurePath(kept).name})"] += 1
    names = _unique_names(roots, taken or {})
    files = []
    for path, name in sorted(names.items(), key=lambda item: item[1]):
        kind = file_kind(path)
        assert kind is not None
        if not _is_unicode(name):
            raise InputError(f"the file name {name!r} is not Unicode; rename the file")
        stamp = stamps.get(path) or _stamp(path)
        files.append(
            FoundFile(
                path=path,
                name=name,
                size_bytes=stamp[0],
                format=kind[0],
                compression=kind[1],
                stamp=stamp,
            )
        )
    return FoundFiles(files=tuple(files), skipped=dict(sorted(skipped.items())))


def file_kind(path: str) -> tuple[str, str] | None:
    """(format, compression) by the ending; None if it is not one that dmix reads.

    Raises:
        InputError: If the file is compressed in a way that dmix does not read, since leaving it
            out in silence would lose documents.
    """
    lower = PurePath(path.lower())
    if lower.suffix in REFUSED:
        raise InputError(
            f"{path}: dmix does not read {lower.suffix} files; decompress it, or compress it with"
            " 'zstd' or 'gzip' instead"
        )
    if lower.suffix in COMPRESSIONS:
        inner = FORMATS.get(PurePath(lower.stem).suffix)
        if inner == "parquet":
            raise InputError(
                f"{path}: dmix reads Parquet files only without outer compression; decompress it to .parquet"
            )
        return (inner, COMPRESSIONS[lower.suffix]) if inner else None
    form = FORMATS.get(lower.suffix)
    return (form, "none") if form else None


def _stamp(path: str) -> tuple[int, ...]:
    with reading(path):
        stat = Path(path).stat()
    return stat.st_size, stat.st_ctime_ns, stat.st_mtime_ns, stat.st_ino


def _remote(
    given: RemotePath, skipped: Counter[str], stamps: dict[str, tuple[int, ...]]
) -> Iterator[tuple[str, PurePath]]:
    """(URL, prefix that names are relative to) of a remote file, or of all files below a folder."""
    if glob.has_magic(given.url):
        raise InputError(
            f"{given}: glob patterns work only for local paths; give a remote file or a remote folder"
        )
    size_bytes = given.size_bytes
    if size_bytes is not None:
        stamps[given.url] = (size_bytes, given.mtime_ns())
        yield _required(given.url), PurePath(given.parent.url)
        return
    count = total = 0
    files = list(given.files())
    refuse_tables([PurePath(file.path.relative_to(given)) for file in files], where=given.url)
    for file in files:
        total += 1
        url = file.path.url
        parts = file.path.relative_to(given).split("/")
        if any(part.startswith(".") for part in parts):
            hidden = hidden_part(parts, is_folder=False, wanted=_is_wanted)
            skipped.update([hidden] if hidden else [])
            continue
        left_by = engine_part(parts)
        if left_by is not None:
            skipped[left_by] += 1
            continue
        if file_kind(url) is None:
            skipped[PurePath(url).suffix or PurePath(url).name] += 1
            continue
        count += 1
        stamps[url] = (file.size_bytes, file.mtime_ns)
        yield url, PurePath(given.url)
    if not total:
        raise NotFoundError(f"input {given} does not exist or is empty; check the bucket and the folder")
    if not count:
        raise _nothing_to_read(str(given), skipped)


def _expanded(pattern: str, skipped: Counter[str], not_below: Path | None) -> Iterator[tuple[str, PurePath]]:
    """(absolute path, folder that names are relative to) of everything that one argument means."""
    path = _local_path(pattern)
    with reading(pattern):
        is_file, is_folder = path.is_file(), path.is_dir()
    if is_file:
        # folders are resolved, so that a file has one path; the file is not, since the name that
        # a link gives it is the one that counts (the hub's cache links names to hashes)
        parent = path.absolute().parent.resolve()
        yield _required(str(parent / path.name)), parent
        return
    if is_folder:
        root = path.resolve()
        yield from _files_below([root], root=root, skipped=skipped, given=pattern, not_below=not_below)
        return
    if path.exists():
        raise InputError(f"{pattern} is neither a file nor a folder; give regular files")
    if path.is_symlink():
        raise InputError(
            f"the target of link {pattern} does not exist ({path.readlink()}); restore the target"
        )
    if not glob.has_magic(pattern):
        raise NotFoundError(f"input {pattern} does not exist; give a file, a folder or a glob pattern")
    parts = path.absolute().parts
    magic = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:magic]).resolve()
    if not root.is_dir():
        raise NotFoundError(f"no file matches {pattern}; check the pattern and its quotes")
    _check_readable(root, None if "**" in parts else len(parts) - magic)
    matches = [
        root / match for match in sorted(glob.glob(str(Path(*parts[magic:])), root_dir=root, recursive=True))
    ]
    if not matches:
        raise NotFoundError(f"no file matches {pattern}; check the pattern and its quotes")
    named = []
    for match in matches:
        left_by = engine_part([part for part in match.relative_to(root).parts if part not in parts[magic:]])
        if left_by is None:
            named.append(match)
        else:
            skipped[left_by] += 1
    yield from _files_below(named, root=root, skipped=skipped, given=pattern, not_below=not_below)


def _local_path(pattern: str) -> Path:
    """The local path or glob that an argument names.

    Raises:
        InputError: If it is empty, a URL of a scheme that dmix does not read, or of an unknown user.
    """
    if not pattern.strip():
        raise InputError("an input has an empty name; give a file, a folder, a glob pattern or a URL")
    scheme, _, behind = pattern.partition("://")
    if behind and scheme.isalnum():
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise InputError(
            f"input {pattern} has the URL scheme {scheme}://, expected {known} or a local path; copy the "
            "input to one of these"
        )
    return from_home(pattern)


def _check_readable(root: Path, depth: int | None) -> None:
    """Refuses folders that a glob would pass over in silence; looks `depth` levels deep."""

    def refuse(error: OSError) -> None:
        with reading(str(error.filename)):
            raise error

    for folder, folders, _ in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if depth is not None and len(PurePath(folder).relative_to(root).parts) + 1 >= depth:
            folders.clear()


def _files_below(
    paths: Iterable[Path], *, root: Path, skipped: Counter[str], given: str, not_below: Path | None
) -> Iterator[tuple[str, PurePath]]:
    """Files with known endings among `paths` and in the folders among them, hidden ones left out."""
    count = 0
    for path in paths:
        for file in walk(path, left_out=skipped, not_below=not_below, wanted=_is_wanted):
            if not_below is not None and file.is_relative_to(not_below):
                continue
            if file_kind(str(file)) is None:
                skipped[file.suffix or file.name] += 1
                continue
            count += 1
            yield str(file), root
    if not count:
        raise _nothing_to_read(given, skipped)


def _nothing_to_read(given: str, skipped: Counter[str]) -> InputError:
    """The error for a folder without a file that dmix reads, with the kinds of files that it has."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in skipped.most_common(_MOST_KINDS))
    other = num_text(sum(skipped.values()), "other file")
    seen = f", only {other} ({kinds}{', …' * (len(skipped) > _MOST_KINDS)})" if skipped else ""
    return InputError(f"{given} contains no file that dmix reads{seen}; {KNOWN}{conversion(skipped)}")


def _is_wanted(path: Path) -> bool:
    return path.suffix.lower() in REFUSED or file_kind(str(path)) is not None


def _other_names(roots: Iterable[str]) -> dict[str, str]:
    """Local paths that lead to a file which another path is kept for, with that one."""
    paths: dict[str, list[str]] = {}
    for path in roots:
        if not is_url(path):
            paths.setdefault(os.path.realpath(path), []).append(path)
    return {
        path: kept
        for real, group in paths.items()
        for kept in [real if real in group else group[0]]
        for path in group
        if path != kept
    }


def _required(path: str) -> str:
    if file_kind(path) is None:
        raise InputError(f"{path} has an ending that dmix does not read; {KNOWN}")
    return path


def _unique_names(roots: Mapping[str, PurePath], taken: Mapping[str, str]) -> dict[str, str]:
    """The shortest name of each path, at least the part below its root, that no other path has."""
    parts = {path: len(PurePath(path).relative_to(root).parts) for path, root in roots.items()}
    while True:
        names = {path: "/".join(PurePath(path).parts[-count:]) for path, count in parts.items()}
        counts = Counter(names.values())
        clashing = [path for path, name in names.items() if counts[name] > 1 or taken.get(name, path) != path]
        if not clashing:
            return names
        for path in clashing:
            if parts[path] >= len(PurePath(path).parts):
                raise InputError(f"dmix cannot distinguish {path} from another input; rename it")
            parts[path] += 1


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
