"""Mixtures as files for trainers: dmix itself, Streaming, Megatron-LM and Axolotl."""

import json
import math
from collections.abc import Sequence

import numpy as np
import yaml

from dmix.mixing.space.domains import Vector
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest

FORMATS = ("dmix", "streaming", "megatron", "axolotl")

# Shares below this are left out: no run of a million samples would draw one of them.
_LEAST_SHARE = 1e-6


def mixture_file(
    mixture_N: Vector,
    *,
    form: str,
    warehouse: Warehouse,
    manifest: DatasetManifest,
    passes_N: Vector,
    header: Sequence[str] = (),
) -> str:
    """The text of a mixture file.

    Args:
        mixture_N: The mixture.
        form: One of `FORMATS`. `dmix` is what `--controller static:FILE` reads; `streaming` lists
            streams with their proportions; `megatron` is a file for `--data-args-path`, weights and
            prefixes to put before your own; `axolotl` lists datasets with the part of each to draw.
        warehouse: Where the shards are.
        manifest: The dataset.
        passes_N: How often the run draws each domain.
        header: Lines that stand above it as comments, where the format has comments.

    Raises:
        InputError: If there is no such format.
    """
    if form not in FORMATS:
        raise InputError(f"format {form!r} is not one of {', '.join(FORMATS)}")
    chosen = [int(i) for i in np.flatnonzero(mixture_N >= _LEAST_SHARE)]
    streams = manifest.streams
    comments = "".join(f"# {line}\n" for line in header)
    if form == "megatron":  # the file is split at white space, comments and all
        return "".join(f"{mixture_N[i]:.6f} {streams[i].path}_text_document\n" for i in chosen)
    if form == "streaming":
        place, local = warehouse.stream_url(manifest.dataset), warehouse.stream(manifest.dataset)
        listed = [
            {
                **({} if place is None else {"remote": f"{place}/{streams[i].path}"}),
                "local": f"/tmp/dmix/{manifest.dataset}/{streams[i].path}"
                if place is not None
                else str(local / streams[i].path),
                "proportion": round(float(mixture_N[i]), 6),
            }
            for i in chosen
        ]
        return comments + _dumped({"streams": listed})
    if form == "axolotl":
        found = [
            {"path": f"{streams[i].path}.jsonl", "type": "completion", "weight": weight}
            for i in chosen
            for weight in _parts(float(passes_N[i]))
        ]
        note = (
            "# Each entry is one pass through a domain. 'weight' is the share of the domain's documents "
            "to draw.\n# Use Axolotl of June 2026 or later. Replace each path with the documents of that "
            "domain.\n"
        )
        return comments + note + _dumped({"datasets": found})
    weights = {f"{streams[i].field}/{streams[i].domain}": round(float(mixture_N[i]), 6) for i in chosen}
    return comments + "".join(f"{json.dumps(name)}: {weight}\n" for name, weight in weights.items())


def _parts(passes: float) -> list[float]:
    """A number of passes as whole ones and a part: 2.3 is 1, 1, 0.3."""
    whole = math.floor(passes)
    rest = round(passes - whole, 4)
    return [1.0] * whole + ([rest] if rest > 0 else [])


def _dumped(value: dict) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text
