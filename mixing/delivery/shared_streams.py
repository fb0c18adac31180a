"""Opening and closing a StreamingDataset that is read by id and never iterated.

Of Streaming we use the index, the shared record of which shards are on disk, downloads and
eviction. Its own sampling, threads and epochs stay unused. What stands here besides are the
workarounds that streaming 0.13.0 needs; each names its cause.
"""

import atexit
import hashlib
import os
import shlex
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import streaming.base.dataset as streaming_dataset
import streaming.base.shared.array as streaming_array
import streaming.base.shared.prefix as streaming_prefix
from numpy.typing import NDArray
from streaming import Stream, StreamingDataset
from streaming.base.constant import BARRIER_FILELOCK, CACHE_FILELOCK, LOCALS, SHM_TO_CLEAN
from streaming.base.shared import SharedMemory as UntrackedSharedMemory
from streaming.base.shared.prefix import _get_path, _unpack_locals
from torch import distributed

from dmix.warehouse_schema.errors import InputError, StorageError, VerificationError
from dmix.warehouse_schema.files.layout import publish_json, read_json
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.names import plain_name, refuse_links
from dmix.warehouse_schema.files.processes import is_alive, start_tracker, this_process

_START_TIMEOUT_SECONDS = 300.0
_DOWNLOAD_RETRIES = 4
INDEX = "index.json"
CACHE_WAIT_SECONDS = 30.0
"""Loader workers of a killed run notice within seconds and hold its cache until then."""


class OpenStreams:
    """A StreamingDataset over some folders, with everything that has to be given back.

    Args:
        folders: One folder a stream, relative to `local` and, if given, to `remote`.
        local: Folder of the shards, or the cache of remote ones.
        remote: URL of the shards; None if they are in `local` for good.
        cache_limit: Most bytes to keep in the cache, a number or text such as "20gb".
        cache_wait_seconds: How long to wait for a cache that another run uses.
        index_sha256: SHA-256 of the index of each folder, where it is known. A cached index that is
            another one is downloaded again.

    Raises:
        VerificationError: If an index is another one.
        LockHeldError: If another run uses the same cache.
        InputError: If the cache limit is smaller than Streaming can work with.
        StorageError: If an index cannot be read or downloaded.
    """

    def __init__(
        self,
        folders: Sequence[str],
        *,
        local: Path,
        remote: str | None = None,
        cache_limit: str | int | None = None,
        cache_wait_seconds: float = CACHE_WAIT_SECONDS,
        index_sha256: Mapping[str, str] | None = None,
    ) -> None:
        folder_paths = [str((local / folder).absolute()) for folder in folders]
        try:
            streams = [
                Stream(
                    local=path,
                    remote=None if remote is None else f"{remote}/{folder}",
                    download_retry=1 if remote is None else _DOWNLOAD_RETRIES,
                )
                for path, folder in zip(folder_paths, folders, strict=True)
            ]
        except ValueError as error:  # before anything is made: a scheme that Streaming does not know
            raise InputError(
                f"dmix cannot download streams from {remote}: {error}; give a folder, or a URL such as "
                "s3://bucket/streams, in streams_url"
            ) from error
        for stream in streams[1:]:
            # One client instead of one a stream: making one takes about 50 ms with boto3.
            stream._downloader = streams[0]._downloader
        self._held = ExitStack()
        with ExitStack() as starting:
            if os.environ.get("LOCAL_RANK", "0") == "0":
                starting.enter_context(_starting_alone())
                _remove_orphans()
                if remote is not None:
                    owned = _owned_cache(local, folders, folder_paths, wait_seconds=cache_wait_seconds)
                    self._held.enter_context(owned)
                    _drop_other_indexes(folders, local, index_sha256 or {})
                for folder in folders:
                    _check_index(local / folder / INDEX)
            _barrier()
            start_tracker()  # before Streaming's first block does
            starting.enter_context(_shard_search())
            self._blocks = starting.enter_context(_recorded_blocks())
            try:
                self.dataset = StreamingDataset(streams=streams, cache_limit=cache_limit, batch_size=1)
            except Exception as error:
                self._give_back(self._blocks)
                self._held.close()
                kind = InputError if isinstance(error, ValueError) else StorageError
                raise kind(
                    f"dmix cannot open the streams in {remote or local}: {error}; run 'dmix etl verify' "
                    "to check them"
                ) from error
            self._owner = _own_blocks(self.dataset._shm_prefix_int, folder_paths)
            self._check_indexes(folders, local, index_sha256 or {}, downloaded=remote is not None)
            _barrier()
        own = _get_path(self.dataset._shm_prefix_int, "")
        self._give_back([block for block in self._blocks if not block.shm.name.startswith(own)])
        self.forget_connections()

    def _check_indexes(
        self, folders: Sequence[str], local: Path, index_sha256: Mapping[str, str], *, downloaded: bool
    ) -> None:
        """Raises an error if an index names files elsewhere, or is not the manifest's: one that exchanges
        the names of two shards gives every sample of theirs another text."""
        kind = "downloaded index" if downloaded else "index"
        try:
            for folder in folders:
                path = local / folder / INDEX
                _check_index(path)
                found = hashlib.sha256(path.read_bytes()).hexdigest()
                if folder in index_sha256 and found != index_sha256[folder]:
                    raise VerificationError(
                        f"the {kind} of {folder} differs from the manifest (SHA-256 {found[:16]}…, not "
                        f"{index_sha256[folder][:16]}…); run 'dmix etl verify'"
                    )
        except BaseException:
            self._give_back(self._blocks)
            self._held.close()
            raise

    def forget_connections(self) -> None:
        """Drops open connections, which forked workers would otherwise share and garble."""
        self.dataset.streams[0]._downloader.clean_up()

    def close(self) -> None:
        """Gives back shared memory, its descriptors and the cache; calling it again does nothing."""
        if not self._blocks:
            return
        self._give_back(self._blocks)
        if self._owner is not None:
            self._owner.unlink(missing_ok=True)
        if self.dataset._unique_rank_world.is_local_leader:
            for name in (BARRIER_FILELOCK, CACHE_FILELOCK):
                path = Path(tempfile.gettempdir(), _get_path(self.dataset._shm_prefix_int, name))
                path.unlink(missing_ok=True)
        self._held.close()

    def _give_back(self, blocks: list[UntrackedSharedMemory]) -> None:
        """Closes blocks of shared memory, and removes those that this process made.

        Streaming leaves that to the end of the process, when the name of a block may belong to
        another run.
        """
        for block in list(blocks):
            block.cleanup()
            atexit.unregister(block.cleanup)
            self._blocks.remove(block)


@contextmanager
def _starting_alone() -> Iterator[None]:
    """Keeps other runs of this user from opening streams at the same moment.

    Streaming takes the first free names for its shared memory, and two runs that look at once
    find the same ones.
    """
    # not below TMPDIR: names in shared memory are the same for runs whose temporary folders differ
    folder = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())
    path = folder / f"dmix-streams-{os.getuid()}.lock"
    with held_lock(path, what="the shared memory of this machine", timeout_seconds=_START_TIMEOUT_SECONDS):
        yield


def make_cache_folder(folder: Path) -> None:
    """Makes a folder for caches of datasets, unless it is there and holds nothing else.

    A received run may name it, so nothing is written among files of other programs.

    Raises:
        InputError: If it cannot be made, is a link, someone else's, others may write into it or exchange it,
            or it has files that dmix did not make.
    """
    _make_private(folder, is_own=_is_cache)


@contextmanager
def _owned_cache(
    local: Path, folders: Sequence[str], folder_paths: Sequence[str], *, wait_seconds: float
) -> Iterator[None]:
    """Holds the cache of a dataset for this run, cleared of what a killed run left in shared memory.

    The folder is this user's alone: others could put shards of their own there.

    Raises:
        InputError: As of `make_cache_folder`.
    """
    own = {".lock", ".lock.holder", *(folder.split("/")[0] for folder in folders)}
    _make_private(local, is_own=lambda path: path.name in own)
    refuse_links(local)
    with held_lock(local / ".lock", what=f"the cache folder {local}", timeout_seconds=wait_seconds):
        _remove_stale(folder_paths)
        yield


def _make_private(folder: Path, *, is_own: Callable[[Path], bool]) -> None:
    """Makes a folder that is this user's alone, or returns if it is one with nothing but what `is_own`."""
    try:
        _refuse_exchangeable(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_unsafe(folder, is_own=is_own)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a ValueError for a path that no system can have
        raise InputError(
            f"dmix cannot make the cache folder {str(folder)!r}: {getattr(error, 'strerror', error)}; set "
            "another cache_folder in the training file"
        ) from error


def _refuse_exchangeable(folder: Path) -> None:
    """Raises an InputError if others may exchange a folder, by the nearest one above it that is there."""
    above = next((parent for parent in folder.absolute().parents if parent.exists()), Path("/"))
    found = above.stat()
    open_to_all = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
    if found.st_uid not in (0, os.getuid()) or open_to_all:
        raise InputError(
            f"the folder {above} belongs to another user or may be written by all (mode"
            f" {found.st_mode & 0o7777:04o}), who could exchange the cache in it; set another cache_folder in"
            " the training file"
        )


def _refuse_unsafe(folder: Path, *, is_own: Callable[[Path], bool]) -> None:
    """Raises an InputError unless a folder of caches is this user's alone, and all in it is of dmix."""
    found, fix = folder.lstat(), "set another cache_folder in the training file"
    if folder.is_symlink():
        raise InputError(f"the cache folder {folder} is a link to {folder.resolve()}; {fix}")
    if found.st_uid != os.getuid():
        raise InputError(
            f"the cache folder {folder} belongs to the user with the id {found.st_uid}, not to you; {fix}"
        )
    if found.st_mode & 0o022:
        raise InputError(
            f"others may write to the cache folder {folder} (mode {found.st_mode & 0o777:03o}); run "
            f"{shlex.join(['chmod', 'go-w', str(folder)])}, or {fix}"
        )
    foreign = sorted(path.name for path in folder.iterdir() if not is_own(path))
    if foreign:
        raise InputError(
            f"the cache folder {folder} has files of other programs ({foreign[0]}); {fix}, one that is empty "
            "or does not exist yet"
        )


def _is_cache(path: Path) -> bool:
    """Whether dmix made what is in a cache folder: the cache of a dataset, with a lock once it is used."""
    if path.name == "lost+found":  # of a file system that is nothing but a cache
        return True
    if path.is_symlink() or not path.is_dir():
        return False
    with os.scandir(path) as entries:
        names = {entry.name for entry in entries}
    return not names or ".lock" in names


def _drop_other_indexes(folders: Sequence[str], local: Path, index_sha256: Mapping[str, str]) -> None:
    """Removes cached indexes that are not those of the manifest, so that they are downloaded again."""
    for folder in folders:
        path = local / folder / INDEX
        wanted = index_sha256.get(folder)
        if wanted and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            path.unlink()


def _check_index(path: Path) -> None:
    """Raises an InputError if an index names files that lie elsewhere, or shards of kinds that dmix never
    writes: compressed ones expand without a bound, and other columns have decoders of their own."""
    if not path.is_file():
        return  # it will be downloaded, or be missed by Streaming
    index = read_json(path)
    try:
        for shard in index["shards"]:
            kinds = {str(encoding).partition(":")[0] for encoding in shard["column_encodings"]}
            if shard["format"] != "mds" or shard["compression"] or shard["zip_data"] or kinds != {"ndarray"}:
                raise InputError(
                    f"index {path} names shards that are compressed or of other columns than token ids"
                    f" ({', '.join(sorted(kinds))[:200]}), which dmix does not read; run 'dmix etl shard'"
                )
            plain_name(shard["raw_data"]["basename"], what="shard", where=path)
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"index {path} is damaged ({error!r}); run 'dmix etl verify', or empty the cache folder"
        ) from None


def _owners_folder() -> Path:
    """Where this user's processes say which blocks of shared memory are theirs; private to the user.

    Raises:
        StorageError: If somebody else made it.
    """
    folder = Path(tempfile.gettempdir(), f"dmix-blocks-{os.getuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StorageError(
            f"{folder} belongs to another user; remove this folder, or set TMPDIR to your own folder"
        )
    return folder


def _own_blocks(prefix: int, folder_paths: Sequence[str]) -> Path | None:
    """Writes down that the blocks of a prefix are this process's; None on ranks that do not own them."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return None
    path = _owners_folder() / f"{prefix:06}.json"
    publish_json(path, {**this_process(), "folders": list(folder_paths)})
    return path


def _remove_orphans() -> None:
    """Removes the blocks of this user's processes that were killed; only who starts alone may call it.

    A job that is killed as a whole leaves them, since nobody is left to clean up.
    """
    for path in _owners_folder().glob("*.json"):
        try:
            owner = read_json(path)
            prefix, folders = int(path.stem), owner["folders"]
        except (InputError, KeyError, TypeError, ValueError):
            path.unlink(missing_ok=True)
            continue
        if is_alive(owner) is not False:
            continue
        # the name may belong to others by now, so the block itself has to name the same folders
        if _folders_of(prefix) == folders:
            _unlink(prefix)
            for name in (BARRIER_FILELOCK, CACHE_FILELOCK):
                Path(tempfile.gettempdir(), _get_path(prefix, name)).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _folders_of(prefix: int) -> list[str] | None:
    """The folders that a block of shared memory names; None if there is no such block."""
    try:
        shared = UntrackedSharedMemory(_get_path(prefix, LOCALS), create=False, auto_cleanup=False)
    except (FileNotFoundError, PermissionError):
        return None
    folders, _ = _unpack_locals(bytes(shared.buf))
    shared.cleanup()
    return list(folders)


class _ShardSearch:
    """Stands in for Streaming's Spanner, which needs 8 bytes a sample and a list entry per 1,024."""

    def __init__(self, shard_sizes: NDArray[np.int64]) -> None:
        self._begins = shard_sizes.cumsum() - shard_sizes
        self._samples = int(shard_sizes.sum())

    def __getitem__(self, index: int) -> tuple[int, int]:
        if not 0 <= index < self._samples:
            raise IndexError(f"sample {index} of {self._samples}")
        shard = int(np.searchsorted(self._begins, index, side="right")) - 1
        return shard, int(index - self._begins[shard])


@contextmanager
def _shard_search() -> Iterator[None]:
    """Lets StreamingDataset build a `_ShardSearch` instead of its Spanner.

    It makes the Spanner in its constructor and offers no other way to replace it.
    """
    original = streaming_dataset.Spanner
    streaming_dataset.Spanner = _ShardSearch
    try:
        yield
    finally:
        streaming_dataset.Spanner = original


@contextmanager
def _recorded_blocks() -> Iterator[list[UntrackedSharedMemory]]:
    """Collects the blocks of shared memory that Streaming makes or opens.

    Its search for a free name opens the blocks of every dataset on the machine, one after the
    other, and keeps them open.
    """
    blocks: list[UntrackedSharedMemory] = []

    class Recorded(UntrackedSharedMemory):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            blocks.append(self)

    users = (streaming_prefix, streaming_array)
    for module in users:
        module.SharedMemory = Recorded
    try:
        yield blocks
    finally:
        for module in users:
            module.SharedMemory = UntrackedSharedMemory


def _barrier() -> None:
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()


def _remove_stale(folder_paths: Sequence[str]) -> None:
    """Removes shared memory that a killed run left behind for the same cache folders.

    Streaming refuses to open a cache that such a block names. Only the holder of the cache's
    lock may call this, so no living run can own those blocks. Streaming's own clean-up removes
    the blocks of every run on the machine, living ones included.
    """
    for prefix in count():
        try:
            # Streaming's class, because Python's own hands every block that it merely attaches to
            # over to a tracker, which removes it when this process ends.
            shared = UntrackedSharedMemory(_get_path(prefix, LOCALS), create=False, auto_cleanup=False)
        except FileNotFoundError:
            locks = (_get_path(prefix, name) for name in (BARRIER_FILELOCK, CACHE_FILELOCK))
            if any(Path(tempfile.gettempdir(), lock).exists() for lock in locks):
                continue
            return
        except PermissionError:
            continue
        owners, _ = _unpack_locals(bytes(shared.buf))
        shared.cleanup()
        if not set(owners).isdisjoint(folder_paths):
            _unlink(prefix)


def _unlink(prefix: int) -> None:
    for name in SHM_TO_CLEAN:
        try:
            shared = SharedMemory(_get_path(prefix, name))
        except FileNotFoundError:
            continue
        shared.close()
        shared.unlink()
