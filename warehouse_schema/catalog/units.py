"""The files that a catalog is an index of, and what the tables hold of each.

A unit is one published file. Its readers turn it into rows for tables of the schema `store`;
they are pure but for reading, and know nothing of DuckDB.
"""

import dataclasses
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmix.warehouse_schema.catalog.run_facts import fold_events, utc
from dmix.warehouse_schema.files.events import read_events
from dmix.warehouse_schema.files.layout import PUBLISHED_FILES, Warehouse, read_json
from dmix.warehouse_schema.files.manifests import CorpusVersion, DatasetManifest, load_manifest
from dmix.warehouse_schema.files.screenings import load_screening
from dmix.warehouse_schema.taxonomy import Taxonomy, slug

logger = logging.getLogger(__name__)

Row = dict[str, Any]
Rows = dict[str, list[Row]]

# Kinds whose files exist only if a manifest lies beside them.
_MANIFEST_OF = {
    "trajectories": "set.json",
    "duplicates": "manifest.json",
    "contamination": "manifest.json",
    "effects": "effects.json",
}

RUN_TABLES = ("runs", "run_steps", "run_feedback", "run_events")


@dataclass(frozen=True)
class Unit:
    """One published file.

    Attributes:
        path: Below the root of the warehouse, with forward slashes.
        kind: Key of `PUBLISHED_FILES`, or `rejects`.
        size_bytes: Its size; with the time of change it tells whether it has changed.
        mtime_ns: Time of its last change.
    """

    path: str
    kind: str
    size_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, warehouse: Warehouse, path: Path, kind: str) -> "Unit":
        """The unit of a file that exists."""
        found = path.stat()
        return cls(path.relative_to(warehouse.root).as_posix(), kind, found.st_size, found.st_mtime_ns)

    @property
    def folder(self) -> str:
        """Name of the file's folder: its corpus, dataset, set, agent or run."""
        return self.path.split("/")[-2]


def published_units(warehouse: Warehouse, *kinds: str) -> dict[str, Unit]:
    """What the warehouse shows now, by path; all kinds by default.

    Files with hidden names are under way, and parts of a set without its `set.json` do not exist.
    """
    units = {}
    for kind in kinds or PUBLISHED_FILES:
        for path in sorted(warehouse.root.glob(PUBLISHED_FILES[kind])):
            if _is_published(path, kind):
                unit = Unit.of(warehouse, path, kind)
                units[unit.path] = unit
    return units


def _is_published(path: Path, kind: str) -> bool:
    owner = path.parents[1 if kind == "evaluation" else 0].name
    # a folder of a name that dmix never gives is a copy or a stranger's; hidden ones are under way
    if path.name.startswith(".") or slug(owner) != owner or not path.is_file():
        return False
    if (
        path.is_symlink()
        or path.parent.is_symlink()
        or (kind == "evaluation" and path.parents[1].is_symlink())
    ):
        logger.warning("the catalog leaves out %s: its path has a link", path)
        return False
    if kind == "corpus":
        return re.fullmatch(r"v[1-9][0-9]*\.json", path.name) is not None
    manifest = _MANIFEST_OF.get(kind)
    return manifest is None or (path.parent / manifest).is_file()


def read_unit(warehouse: Warehouse, unit: Unit) -> Rows:
    """Rows by table of a unit that is not Parquet.

    Raises:
        DmixError, OSError, LookupError, TypeError, ValueError: If the file is damaged.
    """
    rows = _READERS[unit.kind](warehouse.root / unit.path, unit)
    return {table: [{"unit": unit.path, **row} for row in found] for table, found in rows.items()}


def _corpus_rows(path: Path, unit: Unit) -> Rows:
    version: CorpusVersion = load_manifest(CorpusVersion, path)
    key = {"corpus": version.corpus, "version": version.version}
    corpus = {
        **key,
        "field": version.field,
        "taxonomy": version.taxonomy.name,
        "synthetic": version.synthetic,
        "documents": version.documents,
        "rejected": version.rejected,
        "classifier": version.classifier,
        "classifier_fingerprint": version.classifier_fingerprint,
        "created_at": utc(version.created_at),
    }
    reject_files = [
        {**key, "path": f"rejects/{version.corpus}/{part.fingerprint}/{file.name}"}
        for part in version.parts
        for file in part.reject_files
    ]
    used_by = f"{version.corpus}@v{version.version}"
    return {
        "corpora": [corpus],
        "generations": [{**key, **version.generation}] if version.generation else [],
        "reject_files": reject_files,
        "taxonomies": _taxonomy_rows(version.taxonomy, used_by),
    }


def _taxonomy_rows(taxonomy: Taxonomy, used_by: str) -> list[Row]:
    return [
        {
            "taxonomy": taxonomy.name,
            "used_by": used_by,
            "domain_index": index,
            "domain": label,
            "slug": slug(label),
        }
        for index, label in enumerate(taxonomy.labels)
    ]


def _dataset_rows(path: Path, unit: Unit) -> Rows:
    manifest: DatasetManifest = load_manifest(DatasetManifest, path)
    dataset = {
        "dataset": manifest.dataset,
        "name": manifest.name,
        "taxonomy": manifest.taxonomy.name,
        "tokenizer": manifest.tokenizer.name,
        "seq_len": manifest.seq_len,
        "seed": manifest.seed,
        "corpora": [f"{reference.corpus}@v{reference.version}" for reference in manifest.corpora],
        "created_at": utc(manifest.created_at),
        "drops_duplicates": "duplicates" in manifest.settings,
        "items_sha256": manifest.settings.get("contamination"),
    }
    streams = [
        {
            "dataset": manifest.dataset,
            "domain_index": manifest.taxonomy.index(stream.domain),
            "field": stream.field,
            "domain": stream.domain,
            "documents": stream.documents,
            "samples": stream.samples,
            "tokens": stream.tokens,
            "tail_tokens": stream.tail_tokens,
            "shards": stream.shards,
            "bytes": stream.size_bytes,
        }
        for stream in manifest.streams
    ]
    return {
        "datasets": [dataset],
        "streams": streams,
        "taxonomies": _taxonomy_rows(manifest.taxonomy, manifest.dataset),
    }


def _screening_rows(path: Path, unit: Unit) -> Rows:
    screening = load_screening(path)
    row = dataclasses.asdict(screening) | {
        "corpora": list(screening.corpora),
        "created_at": utc(screening.created_at),
    }
    del row["files"]
    return {"screenings": [row]}


def _set_rows(path: Path, unit: Unit) -> Rows:
    settings = read_json(path)
    row = {
        "set_name": unit.folder,
        "dataset": settings.get("dataset"),
        "preset": settings.get("preset"),
        "fields": [field for field, _ in settings["space"]],
        "domains": [domain for _, domain in settings["space"]],
        "created_at": utc(settings.get("created_at")),
    }
    return {"sets": [row]}


def _agent_rows(path: Path, unit: Unit) -> Rows:
    config = read_json(path)
    row = {
        "agent": unit.folder,
        "preset": config.get("preset"),
        "set_name": config.get("set_name"),
        "trained_at": utc(config.get("trained_at")),
        "parameters": config.get("parameters"),
        "config": json.dumps(config, ensure_ascii=False, sort_keys=True),
    }
    return {"agents": [row]}


def _run_rows(path: Path, unit: Unit) -> Rows:
    return fold_events(unit.folder, read_events(path)).tables()


def _evaluation_rows(path: Path, unit: Unit) -> Rows:
    content = read_json(path)
    common = {
        "run_id": unit.path.split("/")[-3],
        "step": content["step"],
        "few_shot": content.get("few_shot"),
        "evaluated_at": utc(content.get("evaluated_at")),
    }
    names = ("task", "metric", "value", "stderr", "items")
    return {"evaluations": [{**common, **{name: row[name] for name in names}} for row in content["scores"]]}


def _start_state_rows(path: Path, unit: Unit) -> Rows:
    content = read_json(path)
    labels = Taxonomy.from_json(content["taxonomy"]).labels
    key = {"name": content["name"], "dataset": content["dataset"]}
    estimate = {
        **key,
        "taxonomy": content["taxonomy"]["name"],
        "created_at": utc(content["created_at"]),
        **{name: content[name] for name in _ESTIMATE_COLUMNS},
    }
    domains = [
        {**key, "domain_index": labels.index(domain["domain"]), **domain} for domain in content["domains"]
    ]
    curve = [{**key, **point} for point in content["curve"]]
    return {"start_state_estimates": [estimate], "start_state_domains": domains, "start_state_curves": curve}


def _effect_set_rows(path: Path, unit: Unit) -> Rows:
    content = read_json(path)
    row = {
        "name": unit.folder,
        "created_at": utc(content["created_at"]),
        **{name: content[name] for name in ("estimator", "dataset", "model", "environment")},
    }
    columns = ("objective", "role", "signal", "noise", "reliability", "telling")
    objectives = [
        {"name": unit.folder, **{name: objective[name] for name in columns}}
        for objective in content["objectives"]
    ]
    return {"effect_sets": [row], "effect_objectives": objectives}


_ESTIMATE_COLUMNS = (
    "model",
    "classifier",
    "seed",
    "max_tokens",
    "generated",
    "empty",
    "capped",
    "kl_bound",
    "confidence",
    "divergence_bound",
    "converged",
)

_READERS: dict[str, Callable[[Path, Unit], Rows]] = {
    "corpus": _corpus_rows,
    "dataset": _dataset_rows,
    "duplicates_screening": _screening_rows,
    "contamination_screening": _screening_rows,
    "set": _set_rows,
    "agent": _agent_rows,
    "run": _run_rows,
    "evaluation": _evaluation_rows,
    "model_start_state": _start_state_rows,
    "effect_set": _effect_set_rows,
}
