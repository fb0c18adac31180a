"""Manifests of datasets for tests: one factory, whatever is on disk beside them."""

import hashlib
import json
import time

from dmix.mixing.trajectories.store import TrajectorySet
from dmix.warehouse_schema.files.manifests import DatasetManifest, StreamEntry, StreamFile, TokenizerFile
from dmix.warehouse_schema.taxonomy import FIELDS, Taxonomy, slug

CREATED = "2026-01-01T00:00:00+00:00"


def numbered(size):
    """A taxonomy of so many labels."""
    return Taxonomy("numbered", tuple(f"domain-{index:02d}" for index in range(size)))


def dataset_manifest(samples, *, taxonomy=None, seq_len=8, files=None, stream=None, **changes):
    """The manifest of a dataset.

    Args:
        samples: Samples per (field, domain), source first.
        taxonomy: Labels; numbered ones when left out.
        seq_len: Tokens per sample.
        files: Files of each stream, in the order of `samples`; none when left out.
        stream: Makes further values of a stream from its number of samples.
        changes: Other values of the manifest.
    """
    taxonomy = taxonomy or numbered(len(samples) // 2)
    names = [(field, label) for field in FIELDS for label in taxonomy.labels]
    streams = []
    for index, ((field, label), count) in enumerate(zip(names, map(int, samples), strict=True)):
        values = {
            "field": field,
            "domain": label,
            "path": f"{field}/{slug(label)}",
            "documents": count,
            "samples": count,
            "tokens": count * seq_len,
            "tail_tokens": 0,
            "files": tuple(files[index]) if files else (),
        }
        streams.append(StreamEntry(**values | (stream(count) if stream else {})))
    values = {
        "dataset": "counts",
        "name": "",
        "taxonomy": taxonomy,
        "tokenizer": TokenizerFile(name="none", sha256="", vocab_size=10, eot_id=0),
        "seq_len": seq_len,
        "token_dtype": "uint16",
        "seed": 0,
        "corpora": (),
        "streams": tuple(streams),
        "created_at": CREATED,
    }
    return DatasetManifest(**values | changes)


def mds_writer(folder, *, columns, size_limit):
    """An `MDSWriter` that waits milliseconds, not seconds, for its uploads, of which a folder has none."""
    from streaming import MDSWriter
    from streaming.base.format.base import writer

    writer.sleep = lambda seconds: time.sleep(seconds / 1000)
    return MDSWriter(out=str(folder), columns=columns, size_limit=size_limit)


def written_files(folder):
    """The files of a stream that `MDSWriter` wrote, as a manifest names them; none without a folder."""
    index = folder / "index.json"
    if not index.is_file():
        return ()
    shards = json.loads(index.read_text())["shards"]
    described = [(index.name, index.stat().st_size, 0)]
    described += [(s["raw_data"]["basename"], s["raw_data"]["bytes"], s["samples"]) for s in shards]
    return tuple(
        StreamFile(
            name=name,
            size_bytes=size,
            sha256=hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            samples=samples,
        )
        for name, size, samples in described
    )


def trajectory_set(space, samples, *, steps, step_samples=20, **changes):
    """Facts of a set of trajectories.

    Args:
        space: Field and label of each domain.
        samples: Samples of each domain.
        steps: M.
        step_samples: R of the set, and of a run.
        changes: Other values of the set.
    """
    values = {"set_name": "set", "dataset": "d", "preset": "default", "settings": {}}
    sizes = {"step_samples": step_samples, "run_step_samples": step_samples, "steps": steps}
    return TrajectorySet(space=space, samples=tuple(map(int, samples)), **values | sizes | changes)
