"""Local copies of the small, often-read files of a warehouse whose data are in a remote folder.

The remote manifest is the one that publishes. Its copy here, with rejects and tokenizers, lets the
catalog, `dmix sql` and training work as they do on local data, and without the network where they
need no text and no samples.
"""

from pathlib import PurePosixPath

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes, store_data_url
from dmix.warehouse_schema.files.manifests import CorpusVersion, DatasetManifest, manifest_from_bytes
from dmix.warehouse_schema.files.names import inner_path
from dmix.warehouse_schema.files.storage import RemotePath

_PUBLISHED = ("labels/*/v*.json", "streams/*/manifest.json")
_PARTS = 3


def use_data_url(warehouse: Warehouse, url: str | None) -> None:
    """Makes a remote folder the place of labels and streams, with all that is published there.

    Args:
        url: The folder; None leaves everything as it is.

    Raises:
        InputError: If the warehouse keeps labels or streams elsewhere already.
        StorageError: If the store cannot be reached, or the warehouse cannot be written.
    """
    if store_data_url(warehouse, url):
        copy_published(warehouse)


def copy_rejects(warehouse: Warehouse, version: CorpusVersion) -> None:
    """Copies the reject files of a version to the local folder, if they are remote.

    Raises:
        StorageError: If the store cannot be reached, or the disk is full.
    """
    data, here = warehouse.reject_data(version.corpus), warehouse.rejects(version.corpus)
    if not isinstance(data, RemotePath):
        return
    for part in version.parts:
        for file in part.reject_files:
            local = here / part.fingerprint / file.name
            if not local.exists():
                publish_bytes(local, (data / part.fingerprint / file.name).read_bytes())


def copy_published(warehouse: Warehouse) -> int:
    """Brings everything here that others published in the remote folder of a warehouse.

    Returns:
        Number of versions and datasets that were not known here.

    Raises:
        StorageError: If the store cannot be reached, or the disk is full.
    """
    if not isinstance(warehouse.data, RemotePath):
        return 0
    new = 0
    for folder in ("labels", "streams"):
        for file in (warehouse.data / folder).files():
            name = PurePosixPath(file.path.relative_to(warehouse.data))
            # a pattern is matched from the right, and a key of a store may hold `..`
            if len(name.parts) != _PARTS or not any(name.match(pattern) for pattern in _PUBLISHED):
                continue
            local = warehouse.root / inner_path(str(name), what="file", where=warehouse.data)
            if local.exists():
                continue
            content, version = file.path.read_bytes(), None
            # what a stranger published is looked at before anything of it comes here
            if folder == "labels":
                version = manifest_from_bytes(CorpusVersion, content, file.path)
                _check_named(version.corpus, local.parent.name, file.path)
            else:
                manifest = manifest_from_bytes(DatasetManifest, content, file.path)
                _check_named(manifest.dataset, local.parent.name, file.path)
                tokenizer = file.path.parent / "tokenizer.json"
                publish_bytes(local.parent / tokenizer.name, tokenizer.read_bytes())
            if version is not None:
                copy_rejects(warehouse, version)
            publish_bytes(local, content)
            new += 1
    return new


def _check_named(name: str, folder: str, where: RemotePath) -> None:
    if name != folder:
        raise InputError(
            f"{where} belongs to {name!r}, not to {folder!r}; restore this file, or remove it from the store"
        )
