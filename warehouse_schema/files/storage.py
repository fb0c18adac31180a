"""Files by URL: `s3://`, `gs://` and `hdfs://` through `pyarrow.fs`, beside local paths.

A `RemotePath` has the few methods of `pathlib.Path` that readers of manifests and shards need,
so that most code does not ask where a file lies. An object store has no rename; what it has is
that an upload is seen whole or not at all, which is all that the commit protocol needs.

Who may read and write is the business of the usual variables and files of each store
(`AWS_ACCESS_KEY_ID`, `~/.aws`, `GOOGLE_APPLICATION_CREDENTIALS`, `HADOOP_CONF_DIR`);
`S3_ENDPOINT_URL` (or `AWS_ENDPOINT_URL`) names an S3 server that is not Amazon's, and
`STORAGE_EMULATOR_HOST` one that speaks like Google's and asks for no credentials.
"""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import urlsplit

from dmix.warehouse_schema.errors import InputError, StorageError, first_line
from dmix.warehouse_schema.files.names import refuse_credentials

if TYPE_CHECKING:  # the paths of a warehouse must not cost a quarter of a second of imports
    from pyarrow.fs import FileSystem

SCHEMES = ("s3", "gs", "hdfs")
ENDPOINT_VARIABLES = ("S3_ENDPOINT_URL", "AWS_ENDPOINT_URL")
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
GS_ENDPOINT_VARIABLE = "STORAGE_EMULATOR_HOST"
FORWARDED_VARIABLES = (*ENDPOINT_VARIABLES, *REGION_VARIABLES, GS_ENDPOINT_VARIABLE)
"""What workers take over from the driver; credentials stay where they are."""

_COPY_BYTES = 8 << 20
_CONNECT_SECONDS = 10
_REQUEST_SECONDS = 60

_WHAT_TO_CHECK = {
    "s3": f"check the address, {ENDPOINT_VARIABLES[0]} and the credentials",
    "gs": "check the bucket's name and the credentials (GOOGLE_APPLICATION_CREDENTIALS)",
    "hdfs": "check the address, and the paths of Java and of Hadoop's native library (JAVA_HOME, "
    "HADOOP_HOME or ARROW_LIBHDFS_DIR, CLASSPATH=$(hadoop classpath --glob))",
}


def is_url(path: object) -> bool:
    """True if `path` names a remote file or folder."""
    return str(path).partition("://")[0] in SCHEMES and "://" in str(path)


@dataclass(frozen=True, order=True)
class RemotePath:
    """A file or folder of a remote store; behaves like a `Path` where both can.

    Attributes:
        url: Without a slash at its end.
    """

    url: str

    def __post_init__(self) -> None:
        refuse_credentials(self.url, what="a remote folder or file")

    @classmethod
    def at(cls, url: str) -> "RemotePath":
        """The path of a URL as a user writes it.

        Raises:
            InputError: If the scheme is not one that dmix knows, or no bucket or host is named.
        """
        refuse_credentials(url, what="a remote folder or file")
        behind = url.partition("://")[2]
        if not is_url(url) or not behind.strip("/") or (behind[0] == "/" and not url.startswith("hdfs")):
            known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise InputError(
                f"{url!r} is not a remote folder; write for example s3://bucket/folder ({known})"
            )
        return cls(url.rstrip("/"))

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.url}/{name}")

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> "RemotePath":
        return RemotePath(self.url.rpartition("/")[0])

    def relative_to(self, other: "RemotePath") -> str:
        """The path below `other/`."""
        return self.url.removeprefix(other.url).lstrip("/")

    def is_file(self) -> bool:
        return self.size_bytes is not None

    @property
    def size_bytes(self) -> int | None:
        """Size of the file; None if there is no such file."""
        info = self._info()
        return int(info.size) if info.is_file else None

    def mtime_ns(self) -> int:
        return int(self._info().mtime_ns or 0)

    def open(self) -> BinaryIO:
        """The file for reading at any place; every read is a request, so read large blocks.

        Raises:
            FileNotFoundError: If there is no such file.
            StorageError: If the store cannot be reached or refuses.
        """
        with remote_errors(self.url):
            system, path = _filesystem(self.url)
            return cast(BinaryIO, system.open_input_file(path))

    def read_bytes(self) -> bytes:
        with self.open() as file, remote_errors(self.url):
            return bytes(file.read())

    def write_bytes(self, content: bytes) -> None:
        """Makes the file appear, or replaces it, in one step."""
        with remote_errors(self.url):
            system, path = _filesystem(self.url)
            self._with_folder(system, path)
            with system.open_output_stream(path) as stream:
                stream.write(content)

    def upload(self, local: Path) -> None:
        """Copies a local file; it appears whole or not at all."""
        with remote_errors(self.url), local.open("rb") as source:
            system, path = _filesystem(self.url)
            self._with_folder(system, path)
            with system.open_output_stream(path) as stream:
                while block := source.read(_COPY_BYTES):
                    stream.write(block)

    def unlink(self) -> None:
        """Removes the file, if it is there."""
        with remote_errors(self.url):
            system, path = _filesystem(self.url)
            with suppress(FileNotFoundError):
                system.delete_file(path)

    def files(self) -> Iterator["RemoteFile"]:
        """All files below this folder, in the order of their names; none if it does not exist."""
        from pyarrow import fs

        with remote_errors(self.url):
            system, path = _filesystem(self.url)
            found = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
        root = self.url.removesuffix(path)
        files = (info for info in found if info.is_file)
        for info in sorted(files, key=lambda info: info.path):
            # hdfs names files by their path from the root, the others without a slash in front
            url = root + ("/" if path.startswith("/") else "") + info.path.lstrip("/")
            yield RemoteFile(RemotePath(url), info.size, int(info.mtime_ns or 0))

    def check_reachable(self) -> None:
        """Returns if files can be read and written here; tried with a small file if there is none yet.

        Raises:
            StorageError: If the store cannot be reached, has no such bucket, or refuses.
        """
        if next(self.files(), None) is None:
            trial = self / f".dmix-trial-{os.getpid()}"
            trial.write_bytes(b"dmix")
            trial.unlink()

    def _info(self) -> Any:
        with remote_errors(self.url):
            system, path = _filesystem(self.url)
            return system.get_file_info(path)

    def _with_folder(self, system: "FileSystem", path: str) -> None:
        if system.type_name == "hdfs":  # object stores have no folders to be made
            system.create_dir(path.rpartition("/")[0], recursive=True)


@dataclass(frozen=True)
class RemoteFile:
    """What a listing says about one file."""

    path: RemotePath
    size_bytes: int
    mtime_ns: int


Place = Path | RemotePath
"""Where a file or folder lies."""


def open_place(path: str) -> BinaryIO:
    """A local or remote file for unbuffered reading at any place.

    Raises:
        FileNotFoundError: If there is no such file.
        StorageError: If a remote store cannot be reached or refuses.
    """
    if is_url(path):
        return RemotePath(path).open()
    return cast(BinaryIO, open(path, "rb", buffering=0))


def parquet_input(path: str) -> str | BinaryIO:
    """What `pyarrow.parquet` reads a local or remote file from.

    Raises:
        FileNotFoundError: If there is no such remote file.
        StorageError: If a remote store cannot be reached or refuses.
    """
    return RemotePath(path).open() if is_url(path) else path


def size_of(place: Place) -> int | None:
    """Size of a file in bytes; None if there is no such file."""
    if isinstance(place, RemotePath):
        return place.size_bytes
    try:
        return place.stat().st_size if place.is_file() else None
    except FileNotFoundError:
        return None


@contextmanager
def read_errors(path: str) -> Iterator[None]:
    """`remote_errors`, if the path is a URL."""
    with remote_errors(path) if is_url(path) else nullcontext():
        yield


@contextmanager
def remote_errors(url: str) -> Iterator[None]:
    """Turns what a store answers into an error for people; a missing file stays FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        what = _WHAT_TO_CHECK[url.partition("://")[0]]
        raise StorageError(
            f"dmix cannot reach {url}: {first_line(error)}; {what}, then run the same command again"
        ) from None


def _filesystem(url: str) -> tuple["FileSystem", str]:
    """The file system of a URL, and the path within it."""
    scheme, _, path = url.partition("://")
    if scheme == "s3":
        endpoint, region = (_first(names) for names in (ENDPOINT_VARIABLES, REGION_VARIABLES))
        return _s3(endpoint, region), path
    if scheme == "gs":
        return _gs(os.environ.get(GS_ENDPOINT_VARIABLE, "")), path
    name_node, _, path = path.partition("/")
    return _hdfs(name_node), f"/{path}"


@functools.lru_cache(maxsize=4)
def _s3(endpoint: str, region: str) -> "FileSystem":
    from pyarrow import fs

    options: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS, "request_timeout": _REQUEST_SECONDS}
    if endpoint:
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        options |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    return fs.S3FileSystem(**options, **({"region": region} if region else {}))


@functools.lru_cache(maxsize=4)
def _gs(endpoint: str) -> "FileSystem":
    from pyarrow import fs

    # the default is a quarter of an hour, also where there are no credentials to ask with
    options: dict[str, Any] = {"retry_time_limit": timedelta(seconds=_REQUEST_SECONDS)}
    if endpoint:
        parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        options |= {"endpoint_override": parts.netloc, "scheme": parts.scheme, "anonymous": True}
    return fs.GcsFileSystem(**options)


@functools.lru_cache(maxsize=4)
def _hdfs(name_node: str) -> "FileSystem":
    from pyarrow import fs

    system, _ = fs.FileSystem.from_uri(f"hdfs://{name_node}/")
    return system


def _first(names: tuple[str, ...]) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")
