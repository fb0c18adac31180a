"""Inputs of awkward shapes on real Spark workers, whose memory has to stay within a bound.

The bound of a worker: what it takes before it reads anything (torch and the weights of the embedded
classifier, some 0.6 GB), three label files' worth of text, and nine times its longest document. The
bound of the driver allows for thousands of inputs.
"""

import functools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.soak import ROOT, SoakError, Unit

from dmix.etl.maintenance.verify import verify_warehouse
from dmix.etl.publishing.labels import CHUNK_BYTES
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import datasets, read_dataset_manifest

MASTER = "local[2,3]"
IDLE_MB = 300
DRIVER_MB = 1_200
LONG_DOCUMENT_BYTES = 200_000_000
_WORDS = [f"word{number}" for number in range(5_000)]


def bound_mb(longest_bytes: int) -> float:
    """Most memory that a worker may take."""
    return IDLE_MB + (3 * CHUNK_BYTES + 9 * longest_bytes) / 1e6


def within_bounds(
    folder: Path, *, write: Callable[[Path], int], longest_bytes: int = 10_000, column: str | None = None
) -> dict[str, Any]:
    """Classifies and shards what `write` leaves; it returns the number of documents."""
    raw, warehouse = folder / "raw", Warehouse.at(folder / "warehouse")
    (raw / "source").mkdir(parents=True)
    documents = write(raw / "source")
    facts = run(raw, warehouse, column)
    bound = bound_mb(longest_bytes)
    if facts["documents"] != documents:
        raise SoakError(f"{facts['documents']} of {documents} documents were taken")
    if facts["peak_mb"]["workers"] > bound or facts["peak_mb"]["driver"] > DRIVER_MB:
        raise SoakError(
            f"memory {facts['peak_mb']} is above {bound:.0f} for workers, {DRIVER_MB} for the driver"
        )
    problems = verify_warehouse(warehouse, dataset=None, progress=lambda line: None).problems
    if problems:
        raise SoakError(f"verify finds {len(problems)} problems, the first: {problems[0]}")
    (dataset,) = datasets(warehouse)
    streams = read_dataset_manifest(warehouse, dataset).streams
    return {
        **{name: facts[name] for name in ("documents", "tokens", "peak_mb", "processor_seconds_by")},
        "bound_mb": round(bound),
        "domains": len(streams),
        "empty_domains": sum(not stream.documents for stream in streams),
        "shards_of_largest": max(len(stream.files) - 1 for stream in streams),
    }


def run(raw: Path, warehouse: Warehouse, column: str | None) -> dict[str, Any]:
    """The whole ETL in a process of its own; what it tells."""
    command = [sys.executable, "-m", "benchmarks.etl.ours", str(raw), str(warehouse.root), MASTER]
    done = subprocess.run(
        [*command, column] if column else command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SoakError(f"the job ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def lines(count: int, topics: Callable[[int], str] = lambda _: "") -> Iterator[bytes]:
    """JSON lines of some 1,000 bytes."""
    draw = random.Random(0)
    for number in range(count):
        text = " ".join(draw.choices(_WORDS, k=120))
        yield json.dumps({"text": text, "topic": topics(number)}).encode() + b"\n"


def one_large_file(folder: Path) -> int:
    """2 GB in one file."""
    block = b"".join(lines(5_000))
    times = 2_000_000_000 // len(block) + 1
    with open(folder / "large.jsonl", "wb") as file:
        for _ in range(times):
            file.write(block)
    return 5_000 * times


def tiny_files(folder: Path) -> int:
    """20,000 files of two documents in 200 folders."""
    some = list(lines(1_000))
    for number in range(20_000):
        path = folder / f"{number % 200:03}" / f"{number:05}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(some[number % 1_000] + some[(number + 1) % 1_000])
    return 40_000


def one_large_domain(folder: Path) -> int:
    """300 MB, 99% of them in one of twenty domains."""
    block = list(lines(10_000, lambda n: "large" if n % 100 else f"small-{n // 100 % 19:02}"))
    with open(folder / "skewed.jsonl", "wb") as file:
        for _ in range(34):
            file.writelines(block)
    return 340_000


def long_document(folder: Path) -> int:
    """A document of 200 MB between ordinary ones."""
    some = list(lines(2_000))
    text = " ".join(random.Random(1).choices(_WORDS, k=20_000)) + " "
    long = text * (LONG_DOCUMENT_BYTES // len(text))
    with open(folder / "long.jsonl", "wb") as file:
        file.writelines(some[:1_000])
        file.write(json.dumps({"text": long}).encode() + b"\n")
        file.writelines(some[1_000:])
    return 2_001


def empty_domains(folder: Path) -> int:
    """20 MB of recipes: most of the 26 domains of the embedded classifier get nothing."""
    recipe = "Peel the onions, fry them in butter, add flour and milk, then bake the pie for an hour. "
    line = json.dumps({"text": recipe * 12}).encode() + b"\n"
    (folder / "recipes.jsonl").write_bytes(line * 20_000)
    return 20_000


UNITS = [
    Unit(f"etl/shape/{name}", functools.partial(within_bounds, **given))
    for name, given in {
        "2 GB in one file": {"write": one_large_file},
        "20,000 tiny files": {"write": tiny_files},
        "99% in one domain": {"write": one_large_domain, "column": "topic"},
        "a document of 200 MB": {"write": long_document, "longest_bytes": LONG_DOCUMENT_BYTES},
        "empty domains": {"write": empty_domains},
    }.items()
]
