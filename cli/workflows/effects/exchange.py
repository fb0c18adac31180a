"""Probes for another trainer: mixtures that it trains, scores that it hands back."""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmix.cli.workflows.effects.measured import Measured
from dmix.cli.workflows.effects.names import effects_name
from dmix.cli.workflows.effects.probes import DESIGN, fitted_effects
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, json_bytes, written_together
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.manifests import read_dataset_manifest
from dmix.warehouse_schema.files.weights import readable
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.text_files import parse_json, read_json_object, read_text

if TYPE_CHECKING:
    from dmix.mixing.effects.probes import Probe
    from dmix.mixing.effects.store import StoredEffects
    from dmix.mixing.space.domains import DomainSpace

SCORES = "scores.csv"
# Rounding of weights on their way through JSON.
_MIXTURE_TOLERANCE = 1e-6
_LEAST_RUNS = 2


# ---- somebody else's trainer


def export_probes(
    warehouse: Warehouse,
    *,
    environment: Path,
    dataset: str | None,
    samples: int | None,
    groups: int | None,
    out: Path,
    dry_run: bool = False,
) -> "list[Probe]":
    """Writes probe mixtures for another trainer, and a table for its scores to be filled in.

    Args:
        warehouse: Where the dataset is.
        environment: Names the objectives.
        dataset: Id or name.
        samples: Samples of a probe; a quarter of the dataset when left out.
        groups: Most groups of domains.
        out: Folder for the files.
        dry_run: Only find the probes.
    """
    from dmix.cli.workflows.effects.mixture_files import mixture_file
    from dmix.mixing.effects.probes import MOST_GROUPS, design_probes
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.trajectories.objectives import load_environment

    manifest = read_dataset_manifest(warehouse.require(), dataset)
    space = DomainSpace.of_dataset(manifest)
    objectives = load_environment(environment).names
    size = max(1, int(space.samples_N.sum()) // 4) if samples is None else samples
    probes = design_probes(space, samples=size, most_groups=min(groups or MOST_GROUPS, MOST_GROUPS))
    if dry_run:
        return probes
    files = {
        f"{probe.probe_id}.yaml": mixture_file(
            probe.mixture_N,
            form="dmix",
            warehouse=warehouse,
            manifest=manifest,
            passes_N=probe.mixture_N * size / np.maximum(space.samples_N, 1),
            header=[
                f"{probe.probe_id}: train {num_text(size, 'sample')} on this mixture, then score every "
                "objective"
            ],
        ).encode()
        for probe in probes
    }
    rows = [f"{probe.probe_id},{name}," for probe in probes for name in objectives]
    files[SCORES] = ("probe,objective,score\n" + "\n".join(rows) + "\n").encode()
    design = {
        "dataset": manifest.dataset,
        "samples": size,
        "objectives": list(objectives),
        "probes": [{"domains_index": list(probe.domains), **probe.to_json(space.names)} for probe in probes],
    }
    with written_together(out.absolute()) as written:
        for name, content in (files | {DESIGN: json_bytes(design)}).items():
            (written / name).write_bytes(content)
    return probes


def import_scores(
    warehouse: Warehouse,
    *,
    environment: Path,
    scores: Path,
    dataset: str | None,
    name: str | None,
    dry_run: bool = False,
    progress: Progress,
) -> "StoredEffects":
    """Effects from the scores that somebody's own trainer gave for exported probes.

    Args:
        warehouse: Where the effects go.
        environment: Names the objectives.
        scores: Table (.csv, .jsonl or .parquet) of probe, objective and score; `probes.json` of the
            export lies beside it.
        dataset: Id or name.
        name: Name of the effects.
        dry_run: Find the effects without storing them.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If a file is not there.
        InputError: If a score is missing, given twice, or no number.
    """
    from dmix.mixing.effects.store import StoredEffects, environment_digest, write_effects
    from dmix.mixing.space.domains import DomainSpace
    from dmix.mixing.trajectories.objectives import load_environment

    manifest = read_dataset_manifest(warehouse.require(), dataset)
    space = DomainSpace.of_dataset(manifest)
    objectives = load_environment(environment)
    design = read_json_object(scores.absolute().parent / DESIGN)
    if design.get("dataset") != manifest.dataset:
        raise InputError(
            f"{scores.absolute().parent / DESIGN} is for dataset {design.get('dataset')}, not for "
            f"{manifest.dataset}; add --dataset {design.get('dataset')}"
        )
    try:
        about, probes = tuple(map(str, design["objectives"])), _exported_probes(design["probes"], space)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(
            f"{scores.absolute().parent / DESIGN} is damaged ({error!r}); export the probes again with "
            "'dmix mix probe --export'"
        ) from None
    if about != objectives.names:
        raise InputError(
            f"the exported probes have the objectives {', '.join(about)}, but the environment file has "
            f"{', '.join(objectives.names)}; give the environment file of the export"
        )
    table = read_scores(scores)
    means = {}
    for probe in probes:
        missing = [o for o in objectives.names if (probe.probe_id, o) not in table]
        if missing:
            raise InputError(
                f"{scores} has no score of {probe.probe_id} on {', '.join(missing)}; add these rows"
            )
        means[probe.probe_id] = np.array([table[probe.probe_id, o] for o in objectives.names])
    found = Measured(
        warehouse=warehouse,
        manifest=manifest,
        space=space,
        environment=objectives,
        digest=environment_digest(objectives),
        model="",
        model_name="own trainer",
    )
    chosen = effects_name("probe", manifest, digest_of(sorted(map(str, table.items()))), name)
    effects, facts = fitted_effects(found, probes, means, name=chosen)
    stored = StoredEffects(effects=effects, counts=None, environment=objectives, facts=facts)
    if not dry_run:
        write_effects(warehouse, stored)
    progress(f"{num_text(len(table), 'score')} of {num_text(len(probes), 'probe')}")
    return stored


def read_scores(path: Path) -> dict[tuple[str, str], float]:
    """(probe, objective) -> score of a table.

    Raises:
        NotFoundError: If it is not there.
        InputError: If it cannot be read, lacks a column, or has a row twice or with no finite score.
    """
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist; give the table of scores with --scores")
    readers: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
        ".csv": lambda p: list(csv.DictReader(read_text(p).splitlines(keepends=True))),
        ".jsonl": lambda p: [parse_json(line) for line in read_text(p).split("\n") if line.strip()],
        ".parquet": _parquet_rows,
    }
    if path.suffix not in readers:
        raise InputError(f"{path} ends in {path.suffix!r}, expected one of {', '.join(readers)}")
    with readable(path, what="a table of scores", fix="write it again"):
        rows = readers[path.suffix](path)
    found: dict[tuple[str, str], float] = {}
    for number, row in enumerate(rows, start=1):
        try:
            key, score = (str(row["probe"]), str(row["objective"])), float(row["score"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise InputError(
                f"{path}, row {number} is {str(row)[:200]}; expected probe, objective and a number as score"
            ) from None
        if key in found or not math.isfinite(score):
            what = "comes twice" if key in found else f"has the score {score}"
            raise InputError(f"{path}, row {number}: {' on '.join(key)} {what}; give one finite score")
        found[key] = score
    return found


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path, partitioning=None).to_pylist()
    return rows


def _exported_probes(entries: Any, space: "DomainSpace") -> "list[Probe]":
    """The probes of a design, if an export can hold them; what raises is a KeyError, TypeError, ValueError,
    OverflowError or AttributeError."""
    from dmix.mixing.effects.probes import Probe, probe_mixture

    index = {"/".join(pair): i for i, pair in enumerate(space.names)}
    probes = []
    for entry in entries:
        mixture_N = np.zeros(len(space))
        for domain, weight in entry["mixture"].items():
            mixture_N[index[domain]] = float(weight)
        domains = tuple(index[domain] for domain in entry["domains"])
        probe_id, dose = str(entry["probe"]), float(entry["dose"])
        with np.errstate(all="ignore"):  # domains may be empty
            expected_N = probe_mixture(space.natural_N, domains, dose=dose) if domains else space.natural_N
        if not np.allclose(mixture_N, expected_N, rtol=0, atol=_MIXTURE_TOLERANCE):
            raise ValueError(f"the mixture of {probe_id[:80]} is not that of its domains and dose")
        probes.append(Probe(probe_id=probe_id, domains=domains, dose=dose, mixture_N=mixture_N))
    controls = [probe for probe in probes if not probe.domains]
    probed = [domain for probe in probes for domain in probe.domains]
    if len(controls) < _LEAST_RUNS or len(probes) - len(controls) < _LEAST_RUNS:
        raise ValueError("it has too few probes or controls")
    if len(set(probed)) < len(probed) or len({probe.probe_id for probe in probes}) < len(probes):
        raise ValueError("a probe, or a domain of one, comes twice")
    return probes
