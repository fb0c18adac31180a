"""Runs, folders that no manifest owns, links, and the catalog against the files."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from dmix.etl.maintenance.problems import Problem, problem_at
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.run_facts import fold_events
from dmix.warehouse_schema.errors import DmixError
from dmix.warehouse_schema.files.events import read_events
from dmix.warehouse_schema.files.layout import PUBLISHED_FILES, Warehouse
from dmix.warehouse_schema.files.locks import is_held
from dmix.warehouse_schema.files.manifest_json import altered
from dmix.warehouse_schema.files.manifests import CorpusVersion, DatasetManifest
from dmix.warehouse_schema.files.names import links_below, special_below, top_links
from dmix.warehouse_schema.files.weights import check_saved_model
from dmix.warehouse_schema.taxonomy import FIELDS, slug
from dmix.warehouse_schema.text_files import parse_yaml, read_text


def edited_manifests(
    warehouse: Warehouse,
    versions: Iterable[CorpusVersion],
    manifests: Iterable[DatasetManifest],
    *,
    whole: bool,
) -> Iterator[Problem]:
    """Manifests that say something else than when they were written; those of effects and screenings, too,
    if the `whole` warehouse is looked at."""
    paths = [warehouse.labels(version.corpus) / f"v{version.version}.json" for version in versions]
    paths += [warehouse.stream(manifest.dataset) / "manifest.json" for manifest in manifests]
    if whole:
        kinds = ("effect_set", "duplicates_screening", "contamination_screening")
        paths += [path for kind in kinds for path in sorted(warehouse.root.glob(PUBLISHED_FILES[kind]))]
    for path in paths:
        try:
            edited = path.is_file() and altered(path)
        except DmixError:
            continue  # one that cannot be read is named elsewhere
        if edited:
            yield problem_at(warehouse, "manifest", path, "somebody edited the file after dmix wrote it")


def run_problems(warehouse: Warehouse) -> Iterator[Problem]:
    """Runs whose chain of digests is broken, or whose steps delivered other samples than were planned."""
    for path in sorted(warehouse.root.glob("runs/*/events.jsonl")):
        try:
            facts = fold_events(path.parent.name, read_events(path))
        except (DmixError, LookupError, TypeError, ValueError, AttributeError) as error:
            yield problem_at(warehouse, "manifest", path, str(error))
            continue
        previous, last = "0" * 64, 0
        for row in facts.steps:
            step, digest, delivered = row["step"], row["digest"], row["delivered_samples"]
            if digest is None:
                continue
            if step == last + 1 and _next_link(previous, digest) != row["chain"]:
                yield problem_at(
                    warehouse, "hash", path, f"the chain of digests is wrong from step {step} on"
                )
            planned = row["planned_samples"]
            if planned is not None and list(delivered or []) != list(planned):
                detail = f"the delivered samples of step {step} differ from the planned samples"
                yield problem_at(warehouse, "count", path, detail)
            previous, last = row["chain"], step


def _next_link(previous: str, digest: str) -> str | None:
    """The chain of digests behind a step; None if one of them is no digest."""
    try:
        return hashlib.sha256(bytes.fromhex(previous) + bytes.fromhex(digest)).hexdigest()
    except (TypeError, ValueError):
        return None


# What a job that was cut off leaves for its next start; a folder that holds nothing else is its progress.
_PROGRESS = {"labels": {"parts"}, "streams": {*FIELDS, "tokenizer.json"}}


def ghost_problems(warehouse: Warehouse) -> Iterator[Problem]:
    """Folders of datasets and corpora without a manifest that hold files which no job of dmix writes, and
    those with one under a name that no command takes."""
    for first, manifest, kind in (("streams", "manifest.json", "dataset"), ("labels", "v*.json", "corpus")):
        for folder in sorted(warehouse.root.glob(f"{first}/[!.]*/")):
            name = folder.name
            if folder.is_symlink():
                continue  # named as a link
            if slug(name) != name:
                if any(folder.glob(manifest)):
                    detail = "dmix gives no folder such a name, so no command reads it; rename or remove it"
                    yield problem_at(warehouse, "orphan", folder, detail)
                continue
            if not _is_ghost(folder, first) or any(folder.glob(manifest)):
                continue
            if is_held(warehouse.lock_of(kind, name)):
                continue
            detail = "dmix did not make this folder, or its manifest is lost; restore the manifest, or remove"
            yield problem_at(warehouse, "orphan", folder, f"{detail} the folder")


def _is_ghost(folder: Path, kind: str) -> bool:
    """Whether a folder without a manifest has something in it that is no progress of a job."""
    started, files = False, 0
    for entry in folder.glob("[!.]*"):
        is_progress = entry.name in _PROGRESS[kind] and entry.is_file() == (entry.suffix == ".json")
        has_files = any(path.is_file() for path in (entry, *entry.rglob("*")))
        if has_files and not is_progress:
            return True
        started, files = started or is_progress, files + has_files
    return started and not files


def half_written(warehouse: Warehouse) -> Iterator[Problem]:
    """Folders of runs, agents, rejects, sets and effects that lack the file which makes them exist."""
    for folder in _folders(warehouse, "runs"):
        more = [path for path in folder.iterdir() if path.name not in _STARTING]
        if more and not (folder / "events.jsonl").is_file() and not is_held(folder / ".lock"):
            yield _ghost(warehouse, folder, "events.jsonl")
    for folder in _folders(warehouse, "agents"):
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                yield _ghost(warehouse, folder, name)
    for first, owner, name in _BELONGING:
        for folder in _folders(warehouse, first):
            if any(folder.glob("*.parquet")) and not (warehouse.root / owner / folder.name / name).is_file():
                yield _ghost(warehouse, folder, f"{owner}/{folder.name}/{name}")
    for folder in _folders(warehouse, "rejects") if isinstance(warehouse.data, Path) else ():
        if not (warehouse.root / "labels" / folder.name).is_dir():
            yield _ghost(warehouse, folder, f"labels/{folder.name}")


# What a run has before its first event.
_STARTING = {".lock", ".lock.holder", "config.yaml"}
# Folders whose files mean nothing without a file: (first level, where that file is, its name).
_BELONGING = (
    ("trajectories", "trajectories", "set.json"),
    ("feedback", "trajectories", "set.json"),
    ("effects", "effects", "effects.json"),
)


def model_problems(warehouse: Warehouse) -> Iterator[Problem]:
    """Saved models whose weights have other checksums, and configurations of runs that are damaged."""
    folders = (*warehouse.root.glob("models/[!.]*/"), *warehouse.root.glob("runs/[!.]*/model/"))
    for folder in sorted(folder for folder in folders if not folder.is_symlink()):
        try:
            check_saved_model(folder)
        except DmixError as error:
            yield problem_at(warehouse, "hash", folder, error.message)
    for path in sorted(warehouse.root.glob("runs/[!.]*/config.yaml")):
        try:
            fine = path.is_symlink() or isinstance(parse_yaml(read_text(path), where=str(path)), dict)
        except DmixError as error:
            yield problem_at(warehouse, "manifest", path, error.message)
        else:
            if not fine:
                yield problem_at(
                    warehouse, "manifest", path, "the file has no settings; restore it from a copy"
                )


def _folders(warehouse: Warehouse, first: str) -> list[Path]:
    """Folders of one kind that are no links and have something in them, by name."""
    found = sorted(warehouse.root.glob(f"{first}/[!.]*/"))
    return [folder for folder in found if not folder.is_symlink() and any(folder.iterdir())]


def _ghost(warehouse: Warehouse, folder: Path, lacking: str) -> Problem:
    detail = f"{lacking} is missing, so the folder is incomplete; restore it, or remove the folder"
    return problem_at(warehouse, "orphan", folder, detail)


def link_problems(warehouse: Warehouse) -> Iterator[Problem]:
    """Links below the first level, but not those inside of models; above, those of files. And pipes."""
    for link, target in top_links(warehouse.root):
        if not target.is_dir():
            yield problem_at(
                warehouse, "link", link, f"this is a link to {target}, and the target is not a folder"
            )
    for first in sorted(path for path in warehouse.root.iterdir() if path.is_dir()):
        for link in links_below(first):
            model = first / link.relative_to(first).parts[0]
            if first.name == "models" and link.resolve().is_relative_to(model.resolve()) and link != model:
                continue
            yield problem_at(
                warehouse, "link", link, "this is a link; a warehouse may have links only at its first level"
            )
        for path in special_below(first):
            yield problem_at(warehouse, "link", path, "this is a pipe, a socket or a device; remove it")


def catalog_problems(
    warehouse: Warehouse,
    versions: Iterable[CorpusVersion],
    manifests: Iterable[DatasetManifest],
    *,
    whole: bool,
) -> list[Problem]:
    """Counts in the catalog's views that differ from the manifests'."""
    expected: dict[tuple[str, ...], tuple[int, ...]] = {}
    for version in versions:
        expected["corpora", version.corpus, str(version.version)] = (version.documents, version.rejected)
    for manifest in manifests:
        for s in manifest.streams:
            key = ("domain_tokens", manifest.dataset, s.field, s.domain)
            expected[key] = (s.documents, s.samples, s.tokens, s.tail_tokens, s.shards)
    if not expected and not (whole and warehouse.catalog.exists()):
        return []
    try:
        found = _catalog_counts(warehouse)
    except DmixError as error:
        return [problem_at(warehouse, "catalog", warehouse.catalog, error.message)]
    ghosts = sorted(found.keys() - expected.keys()) if whole else []
    return [
        problem_at(
            warehouse,
            "catalog",
            warehouse.catalog,
            f"view {key[0]} has {'/'.join(key[1:])}, but no manifest has it",
        )
        for key in ghosts
    ] + [
        problem_at(
            warehouse,
            "catalog",
            warehouse.catalog,
            f"view {key[0]}, {'/'.join(key[1:])}: {found.get(key, 'no row')}, but the manifest says {counts}",
        )
        for key, counts in expected.items()
        if found.get(key) != counts
    ]


def _catalog_counts(warehouse: Warehouse) -> dict[tuple[str, ...], tuple[int, ...]]:
    queries = {
        "corpora": "select corpus, version, documents, rejected from corpora",
        "domain_tokens": "select dataset, field, domain, documents, samples, tokens, tail_tokens, shards"
        " from domain_tokens",
    }
    keys = {"corpora": 2, "domain_tokens": 3}
    counts = {}
    with Catalog.open_reader(warehouse) as catalog:
        for view, query in queries.items():
            _, rows = catalog.query(query)
            for row in rows:
                counts[view, *map(str, row[: keys[view]])] = tuple(row[keys[view] :])
    return counts
