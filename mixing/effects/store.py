"""Effects on disk: `effects/<name>/`, published in one step by `effects.json`, which comes last.

    effects.parquet   field, domain, objective, effect, stderr: what the view `effects` shows
    errors.parquet    the error matrices of the objectives: objective, weights
    items.parquet     of probes: the score of every item by every probe, log-probability per token
    tokens.parquet    of counts: scored tokens with their probability by each domain and by a model
    effects.json      what was measured: digests of dataset, environment and model, the environment
                      itself, signal, noise and reliability of each objective, hashes of the files

Nothing that is stored is changed: the same question finds its answer, another one takes another name.
"""

import hashlib
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dmix.mixing.effects.counts import CountModel, ScoredTokens
from dmix.mixing.effects.effects import ESTIMATORS, Effects
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.plain_values import counts_of, floats_of
from dmix.mixing.trajectories.objectives import (
    Environment,
    changed_objectives,
    environment_to_json,
    items_digests,
    read_items,
)
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes, publish_json, read_json
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifest_json import FORMAT, digest_of, with_digest
from dmix.warehouse_schema.files.names import refuse_links
from dmix.warehouse_schema.settings import settings_from
from dmix.warehouse_schema.text_files import read_json_object

MANIFEST = "effects.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredEffects:
    """What a folder of effects holds.

    Attributes:
        effects: The effects.
        counts: The model behind them, if they are counts.
        environment: The objectives, with the scales and weights that the file gave.
        facts: What else was measured, by name: plain values.
        created_at: UTC, ISO 8601.
        item_digests: What each objective measured, as `items_digests` gives it; empty in older files.
        items: Scores of items by probe, to be stored; not read back.
    """

    effects: Effects
    counts: CountModel | None
    environment: Environment
    facts: Mapping[str, Any]
    created_at: str = ""
    item_digests: Mapping[str, str] = field(default_factory=dict)
    items: pa.Table | None = None

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.effects.name


def environment_digest(environment: Environment) -> str:
    """Hash of what is scored: names, kinds and items; weights and scales do not matter to effects."""
    rows = [
        [
            objective.name,
            objective.role,
            objective.kind,
            [
                [item.item_id, item.prompt, item.answer, *item.choices]
                for item in read_items(objective, environment.folder)
            ],
        ]
        for objective in environment.objectives
    ]
    return digest_of(rows)[:16]


def effect_names(warehouse: Warehouse) -> list[str]:
    """Names of all stored effects, the newest last."""
    names = [n for n in warehouse.names("effects", MANIFEST) if (warehouse.effects(n) / MANIFEST).is_file()]
    manifests = [read_json_object(warehouse.effects(name) / MANIFEST) for name in names]
    stamps = [str(manifest.get("created_at", "")) for manifest in manifests]
    return [name for _, name in sorted(zip(stamps, names, strict=True))]


def write_effects(warehouse: Warehouse, stored: StoredEffects) -> Path:
    """Publishes effects under their name; equal ones that are there already stay.

    Raises:
        InputError: If other effects have the name.
        LockHeldError: If another process probes or writes under the name.
    """
    effects = stored.effects
    folder = warehouse.effects(effects.name)
    content = {"effects.parquet": _effects_bytes(effects), "errors.parquet": _errors_bytes(effects)}
    if stored.counts is not None:
        content["tokens.parquet"] = _tokens_bytes(stored.counts)
    if stored.items is not None:
        content["items.parquet"] = _table_bytes(stored.items)
    manifest = {
        "format": FORMAT,
        "name": effects.name,
        "estimator": effects.estimator,
        "dataset": effects.dataset,
        "model": effects.model,
        "environment": effects.environment,
        "environment_file": environment_to_json(stored.environment),
        "item_digests": _item_digests(stored),
        "space": [list(pair) for pair in effects.names],
        "natural": effects.natural_N.tolist(),
        "objectives": [
            {
                "objective": name,
                "role": role,
                "signal": float(effects.signal_D[i]),
                "noise": float(effects.noise_D[i]),
                "reliability": float(effects.reliability_D[i]),
                "telling": bool(effects.telling_D[i]),
            }
            for i, (name, role) in enumerate(zip(effects.objectives, effects.roles, strict=True))
        ],
        "alpha": None if stored.counts is None else stored.counts.alpha_D.tolist(),
        "facts": dict(stored.facts),
        "files": {
            name: {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in content.items()
        },
    }
    with held_lock(warehouse.lock_of("effects", effects.name), what=f"effects {effects.name}"):
        return _published(warehouse, folder, manifest, content)


def _item_digests(stored: StoredEffects) -> dict[str, str]:
    """What each objective measured; empty where its files are not what they were."""
    try:
        same = environment_digest(stored.environment) == stored.effects.environment
        return items_digests(stored.environment) if same else {}
    except (InputError, NotFoundError):
        return {}


def _published(
    warehouse: Warehouse, folder: Path, manifest: dict[str, Any], content: Mapping[str, bytes]
) -> Path:
    """The manifest on disk, after the files that it names; equal files that are there stay."""
    path, name = folder / MANIFEST, manifest["name"]
    if path.is_file():
        before = read_json_object(path)
        if before.get("files") == manifest["files"]:
            return path
        raise InputError(
            f"{warehouse.root} already has effects {name!r} with other inputs; choose another --name, or "
            f"remove {folder}"
        )
    for file, data in content.items():
        publish_bytes(folder / file, data)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    publish_json(path, with_digest({**manifest, "created_at": now}))
    return path


def read_effects(warehouse: Warehouse, name: str) -> StoredEffects:
    """The effects of a name.

    Raises:
        NotFoundError: If there are none.
        InputError: If a file is damaged.
    """
    folder = warehouse.effects(name)
    path = folder / MANIFEST
    if not path.is_file():
        known = ", ".join(effect_names(warehouse)[-5:]) or "none yet"
        raise NotFoundError(
            f"effects {name!r} are not in {warehouse.root} (available: {known}); run 'dmix mix probe'"
        )
    refuse_links(folder)
    manifest = read_json(path)
    try:
        return _from_manifest(folder, manifest)
    except (KeyError, TypeError, ValueError, IndexError, pa.ArrowException, OSError) as error:
        raise InputError(f"{folder} is damaged ({error}); remove it and run 'dmix mix probe' again") from None


def newest_effects(
    warehouse: Warehouse, *, dataset: str, environment: str | None = None, estimator: str | None = None
) -> StoredEffects:
    """The effects of a dataset that were stored last.

    Args:
        warehouse: Where they are.
        dataset: Id of the dataset.
        environment: Digest of the objectives that they must be about; None for any.
        estimator: One of `ESTIMATORS`; None for any.

    Raises:
        NotFoundError: If none fit.
    """
    for name in reversed(effect_names(warehouse)):
        manifest = read_json_object(warehouse.effects(name) / MANIFEST)
        fits = (
            manifest.get("dataset") == dataset
            and (environment is None or manifest.get("environment") == environment)
            and (estimator is None or manifest.get("estimator") == estimator)
        )
        if fits:
            return read_effects(warehouse, name)
    what = "" if environment is None else " and these objectives"
    raise NotFoundError(
        f"{warehouse.root} has no effects of dataset {dataset}{what}; run 'dmix mix probe --environment"
        " FILE' first"
    )


def fitting_effects(
    warehouse: Warehouse,
    space: DomainSpace,
    *,
    name: str | None = None,
    environment: Environment | None = None,
) -> StoredEffects:
    """The effects of a name, or the newest that are about these domains and objectives.

    Args:
        warehouse: Where they are.
        space: The domains and what each of them holds.
        name: Name of the effects; None for the newest that fit.
        environment: The objectives; None for any.

    Raises:
        NotFoundError: If there are none.
        InputError: If the named ones are about other domains or objectives.
    """
    if name is not None:
        stored = read_effects(warehouse, name)
        if not _about(stored, space):
            raise InputError(
                f"effects {name!r} have another dataset than the run; run 'dmix mix probe' with the "
                "dataset of the run"
            )
        if environment is not None:
            check_objectives(stored, environment)
        return stored
    digest, other = None if environment is None else environment_digest(environment), None
    for known in reversed(effect_names(warehouse)):
        stored = read_effects(warehouse, known)
        if _about(stored, space):
            if digest in (None, stored.effects.environment):
                return stored
            other = other or stored
    if environment is None or other is None:
        raise NotFoundError(
            f"{warehouse.root} has no effects of this dataset; run 'dmix mix probe --environment FILE' first"
        )
    raise NotFoundError(
        f"{warehouse.root} has effects of this dataset for other objectives only. "
        f"{_changed_since(other, environment)}"
    )


def check_objectives(stored: StoredEffects, environment: Environment, *, file: str = "FILE") -> None:
    """Refuses effects whose objectives or their items are not those of an environment; weights may differ.

    Args:
        stored: The effects.
        environment: The objectives that they are to be about.
        file: The environment file as the command that measures again names it, quoted for a shell.

    Raises:
        NotFoundError: If the environment names a file of items that does not exist.
        InputError: If they differ; it names what changed, and the command that measures again.
    """
    if stored.effects.environment != environment_digest(environment):
        raise InputError(
            f"effects {stored.name!r} are for other objectives than the environment file. "
            f"{_changed_since(stored, environment, file=file)}"
        )


def _changed_since(stored: StoredEffects, environment: Environment, *, file: str = "FILE") -> str:
    """What changed since effects were measured, and the command that measures again, as two sentences."""
    changed = changed_objectives(stored.environment, environment, items=stored.item_digests)
    return f"Changes since effects {stored.name!r}: {changed}. Measure again: {_probe_again(stored, file)}"


def _probe_again(stored: StoredEffects, file: str) -> str:
    """The command that measures such effects for another environment file."""
    effects = stored.effects
    words = [f"dmix mix probe --environment {file}", "--dataset", shlex.quote(effects.dataset)]
    if effects.estimator != "counts":
        words += ["--estimator", effects.estimator, "--model MODEL"]
    return " ".join(words)


def _about(stored: StoredEffects, space: DomainSpace) -> bool:
    effects = stored.effects
    return effects.names == space.names and np.allclose(effects.natural_N, space.natural_N)


def _from_manifest(folder: Path, manifest: Mapping[str, Any]) -> StoredEffects:
    if manifest["format"] != FORMAT or manifest["estimator"] not in ESTIMATORS:
        raise ValueError(f"format {manifest['format']!r}, estimator {manifest['estimator']!r}")
    names = tuple((str(field), str(domain)) for field, domain in manifest["space"])
    objectives = tuple(str(o["objective"]) for o in manifest["objectives"])
    errors = pq.read_table(folder / "errors.parquet", partitioning=None)
    number_K = errors["objective"].to_numpy()
    weights = errors["weights"].combine_chunks()
    weights_KN = weights.flatten().to_numpy().reshape(len(number_K), len(names)).astype(np.float64)
    table = pq.read_table(folder / "effects.parquet", partitioning=None)
    effects = Effects(
        name=str(manifest["name"]),
        estimator=manifest["estimator"],
        dataset=str(manifest["dataset"]),
        model=str(manifest["model"]),
        environment=str(manifest["environment"]),
        names=names,
        natural_N=floats_of(manifest["natural"], shape=(len(names),), what="natural mixing"),
        objectives=objectives,
        roles=tuple(str(o["role"]) for o in manifest["objectives"]),
        effect_ND=table["effect"].to_numpy().reshape(len(names), len(objectives)),
        errors=tuple(weights_KN[number_K == index] for index in range(len(objectives))),
    )
    counts = None
    if manifest["alpha"] is not None:
        alpha_D = floats_of(manifest["alpha"], shape=(len(objectives),), what="alpha")
        counts = _counts(folder / "tokens.parquet", len(names), alpha_D)
    environment = settings_from(Environment, manifest["environment_file"], where=str(folder / MANIFEST))
    return StoredEffects(
        effects=effects,
        counts=counts,
        environment=environment,
        facts=_checked_facts(manifest["facts"], names, objectives=len(objectives)),
        created_at=str(manifest["created_at"]),
        item_digests=dict(manifest.get("item_digests", {})),
    )


def _checked_facts(facts: Any, names: Sequence[tuple[str, str]], *, objectives: int) -> Mapping[str, Any]:
    """The facts of a manifest; those that predictions read have their shapes.

    Raises:
        ValueError: If they have others; or TypeError or KeyError.
    """
    if not isinstance(facts, Mapping):
        raise ValueError(f"facts are {repr(facts)[:40]}, expected names with values")
    for name in ("beta", "gamma", "q", "natural_gain") if "fit" in facts else ():
        floats_of(facts["fit"][name], shape=(objectives,), what=name)
    known = {"/".join(pair) for pair in names}
    for probe in facts.get("probes", ()):
        floats_of(probe["scores"], shape=(objectives,), what="scores of a probe")
        if not known.issuperset(probe["domains"]):
            raise ValueError(f"a probe is about unknown domains ({repr(probe['domains'])[:80]})")
        if probe["domains"]:
            floats_of(probe["dose"], shape=(), what="the dose of a probe")
    return facts


def _effects_bytes(effects: Effects) -> bytes:
    size, count = effects.effect_ND.shape
    return _parquet(
        {
            "field": pa.array(np.repeat([field for field, _ in effects.names], count).tolist(), pa.string()),
            "domain": pa.array(np.repeat([name for _, name in effects.names], count).tolist(), pa.string()),
            "objective": pa.array(list(effects.objectives) * size, pa.string()),
            "effect": effects.effect_ND.ravel(),
            "stderr": effects.stderr_ND.ravel(),
        }
    )


def _errors_bytes(effects: Effects) -> bytes:
    rows = np.concatenate(effects.errors)
    return _parquet(
        {
            "objective": np.repeat(np.arange(len(effects.errors)), [len(e) for e in effects.errors]),
            "weights": _lists(rows.astype(np.float32)),
        }
    )


def _tokens_bytes(counts: CountModel) -> bytes:
    tokens = counts.tokens
    size = len(tokens.token_R)
    return _parquet(
        {
            "objective": tokens.objective_R,
            "item": tokens.item_R,
            "previous": tokens.previous_R,
            "token": tokens.token_R,
            "weight": tokens.weight_R,
            "model": pa.nulls(size, pa.float64()) if counts.model_R is None else counts.model_R,
            "probabilities": _lists(counts.p_RA),
            "domains": pa.array([counts.active.tolist()] + [None] * (size - 1), pa.list_(pa.int64())),
        }
    )


def _counts(path: Path, size: int, alpha_D: np.ndarray) -> CountModel:
    table = pq.read_table(path, partitioning=None)
    tokens = ScoredTokens(
        objective_R=table["objective"].to_numpy(),
        item_R=table["item"].to_numpy(),
        previous_R=table["previous"].to_numpy(),
        token_R=table["token"].to_numpy(),
        weight_R=table["weight"].to_numpy(),
    )
    active = counts_of(table["domains"][0].as_py(), shape=(None,), what="domains of tokens")
    if len(active) and active.max() >= size:
        raise ValueError(f"tokens are of domain {active.max()}, but there are {size}")
    flat = table["probabilities"].combine_chunks().flatten().to_numpy()
    return CountModel(
        tokens=tokens,
        active=active,
        size=size,
        p_RA=flat.reshape(len(table), len(active)),
        model_R=None if table["model"].null_count else table["model"].to_numpy(),
        alpha_D=alpha_D,
    )


def _lists(rows: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(rows).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


def _parquet(columns: dict[str, Any]) -> bytes:
    return _table_bytes(pa.table(columns))


def _table_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
