"""Errors that dmix shows to people.

    DmixError                      exit 1
    ├── InputError                 exit 2   bad usage, bad file, bad value (also a ValueError)
    │   └── NotFoundError          exit 2   a corpus, dataset, run, agent or path that is not there
    ├── LockHeldError              exit 3   another process writes the warehouse
    ├── VerificationError          exit 4   bytes or counts that do not agree
    ├── CatalogError               exit 1   the catalog cannot be opened, migrated or read
    ├── MissingDependencyError     exit 1   Java, a package or a tool that is not installed
    ├── StorageError               exit 1   no space left, a folder that vanished
    │   └── NotWritableError       exit 2   no permission, a read-only file system, a path that cannot be
    ├── ClusterError               exit 1   Spark that cannot be reached, or whose workers died
    ├── TrainingError              exit 1   a loss that is not finite, a farm task that failed
    └── InterruptedRunError        exit 130 a run that was asked to stop and can be resumed

Every message says what was got, what was wanted and what to do next. All of them survive
pickling, because Spark and data loader workers send them between processes.
"""


class DmixError(Exception):
    """Base of all errors that are meant for people.

    Args:
        message: One to three sentences; the last one names the fix.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InputError(DmixError, ValueError):
    """Something that the user gave does not fit."""

    exit_code = 2


class NotFoundError(InputError):
    """Something that the user named does not exist."""


class LockHeldError(DmixError):
    """Another process holds the warehouse; trying again later helps."""

    exit_code = 3


class VerificationError(DmixError):
    """Stored bytes or counts do not agree with what the manifests say."""

    exit_code = 4


class CatalogError(DmixError):
    """The catalog file cannot be used as it is."""


class MissingDependencyError(DmixError):
    """A program or package that this command needs is missing."""


class StorageError(DmixError):
    """The file system failed: full disk, vanished folder."""


class NotWritableError(StorageError):
    """The user's choice of a place cannot be written; the same command fails until this changes."""

    exit_code = 2


class ClusterError(DmixError):
    """Spark cannot be reached or started, or its workers died; trying again may help."""


class TrainingError(DmixError):
    """A model or its training went wrong: a loss that is not finite, a farm task that failed."""


class InterruptedRunError(DmixError):
    """A run was asked to stop and saved its state; it can be resumed."""

    exit_code = 130


def first_line(error: BaseException) -> str:
    """The first line of what an error of another library says, cut; its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
