"""Speed and memory of the ETL, as ratios measured in one run on one machine: `make bench-etl`.

    python -m benchmarks.etl [--data DIR] [--megabytes 100] [--sizes 1 10 100 1000] [--only PATTERN]
                             [--again] [--results FOLDER]

The whole ETL reads JSON Lines, classifies with the embedded classifier, tokenises with the
embedded tokenizer, writes and commits. Beside it, in turns: datatrove, which reads the same
files, tokenises with the same tokenizer and writes the same tokens; the bare fast engine, which
encodes the same text in memory; and reading the bytes alone. Start-up is apart on all sides.

Every row goes into `benchmarks/results/etl-<machine>-<date>.json` as soon as it is known, with the
load of the machine before it; rows that are there for this commit are not measured again. On a
busy machine only the ratios of processor time mean something. Takes some 10 minutes on two cores;
needs Linux, and datatrove (`pip install -c constraints.txt -e '.[bench]'`).
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from benchmarks.etl.ours import fields_of
from benchmarks.etl.texts import Texts, files_of, size_of
from benchmarks.provenance import ROOT
from benchmarks.rows import add_row_options, measure

from dmix.etl.reading.blocks import file_blocks
from dmix.etl.shard.tasks import BATCH_BYTES
from dmix.etl.spark.tasks import grouped
from dmix.etl.text.tokens import EMBEDDED, EMBEDDED_PATH, load_tokenizer

REPEATS = 3
LARGE_MB = 20.0
"""Inputs above this size are read once from the shell."""
WHOLE_AGAIN_MB = 200.0
"""Inputs up to this size are compared some times."""
MASTERS = ("", "local[1,3]", "local[2,3]", "local[4,3]", "local-cluster[2,1,1024]")
"""No Spark; one, two and four workers of Spark; and executors that are processes of their own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("DMIX_TEST_DATA"), help="real corpora")
    parser.add_argument("--megabytes", type=float, default=100.0, help="size of the comparisons")
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 10, 100, 1000], help="MB, for the cost")
    add_row_options(parser)
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("name the folder of the real corpora with --data or DMIX_TEST_DATA")
    megabytes = arguments.megabytes
    with tempfile.TemporaryDirectory(prefix="dmix-bench-") as name:
        folder = Path(name)
        given = (Texts(arguments.data, folder), folder)
        rows = {
            "whole": partial(whole, *given, megabytes=megabytes),
            **{
                f"whole/{size:g}-mb": partial(whole, *given, megabytes=size)
                for size in arguments.sizes
                if size > megabytes
            },
            "stages": partial(stages, *given, megabytes=megabytes),
            **{f"size/{size:g}-mb": partial(alone, *given, megabytes=size) for size in arguments.sizes},
            **{
                f"shell/{f'{size:g}-mb' if size else 'two-documents'}": partial(
                    from_shell, *given, megabytes=size
                )
                for size in (0, *arguments.sizes)
            },
            **{
                f"master/{master}": partial(alone, *given, megabytes=megabytes, master=master)
                for master in MASTERS
            },
        }
        measure("etl", arguments, size={"megabytes": megabytes}, rows=rows)


def whole(texts: Texts, folder: Path, *, megabytes: float) -> dict[str, Any]:
    """All four sides in turns, on two workers where there are workers; medians of rounds, one of a gigabyte.

    Our side runs as it does where no master is named. Start-up is left out on all sides.
    """
    inputs = texts.of_size(megabytes)
    rounds = []
    for _ in range(REPEATS if megabytes <= WHOLE_AGAIN_MB else 1):
        ours = run_ours(inputs, folder, "")
        rounds.append(
            {
                "ours": ours,
                "datatrove": run_datatrove(inputs, folder, workers=2),
                "engine": bare_engine(inputs),
                "bytes": bytes_alone(inputs),
            }
        )
    tokens = {round_["ours"]["tokens"] for round_ in rounds} | {r["datatrove"]["tokens"] for r in rounds}
    if len(tokens) > 1:
        raise SystemExit(f"the sides do not agree on the number of tokens: {sorted(tokens)}")
    sides = {side: rates([r[side] for r in rounds], inputs, tokens.copy().pop()) for side in rounds[0]}
    return {
        "mb": round(size_of(inputs) / 1e6, 1),
        "repeated": size_of(inputs) > texts.distinct_bytes,
        "tokens": tokens.pop(),
        **sides,
        "start_up": rounds[-1]["ours"]["start_up"],
        "peak_mb": rounds[-1]["ours"]["peak_mb"],
        "processor_seconds_by": rounds[-1]["ours"]["processor_seconds_by"],
        "times_as_fast_as_datatrove": {
            "processor": median_ratio(rounds, "datatrove", "ours", "processor_seconds"),
            "wall": median_ratio(rounds, "datatrove", "ours", "wall_seconds"),
        },
        "processor_seconds_over_those_of": {
            "engine": median_ratio(rounds, "ours", "engine", "processor_seconds"),
            "bytes": median_ratio(rounds, "ours", "bytes", "processor_seconds"),
        },
    }


def stages(texts: Texts, folder: Path, *, megabytes: float) -> dict[str, Any]:
    """Processor time of each stage, in one process without Spark, down to the bytes read."""
    inputs = texts.of_size(megabytes)
    runs = [run_in_a_folder("benchmarks.etl.stages", inputs, folder) for _ in range(REPEATS)]
    size, tokens = size_of(inputs), runs[0]["tokens"]
    found = {stage: statistics.median(run["seconds"][stage] for run in runs) for stage in runs[0]["seconds"]}
    total = sum(found.values()) - found[next(iter(found))]
    table = {
        stage: {
            "processor_seconds": round(seconds, 3),
            "mb_per_second": round(size / 1e6 / seconds, 1),
            "tokens_per_second": round(tokens / seconds),
            "share": round(seconds / total, 3),
        }
        for stage, seconds in found.items()
    }
    for stage, row in table.items():
        print(f"{stage:40} {row['mb_per_second']:10,.1f} MB/s {row['share']:6.1%}", file=sys.stderr)
    return {"mb": round(size / 1e6, 1), "processor_seconds": round(total, 2), "stages": table}


def alone(texts: Texts, folder: Path, *, megabytes: float, master: str = "") -> dict[str, Any]:
    """Our side once: time, and memory of the processes."""
    inputs = texts.of_size(megabytes)
    run = run_ours(inputs, folder, master)
    return {
        "mb": round(size_of(inputs) / 1e6, 1),
        **{name: run[name] for name in ("documents", "tokens", "processor_seconds_by", "peak_mb")},
        **rates([run], inputs, run["tokens"]),
        "start_up": run["start_up"],
    }


def from_shell(texts: Texts, folder: Path, *, megabytes: float) -> dict[str, Any]:
    """Both sides as a user starts them: one command of ours, or two, and datatrove on as many cores.

    Each is run some times in turns, and its shortest time counts; a large input is read once.
    """
    inputs = texts.of_size(megabytes)
    fields = [part for field, (path,) in fields_of(str(inputs)).items() for part in (f"--{field}", path)]
    world = min(os.cpu_count() or 1, len(files_of(inputs)))
    dmix = (sys.executable, "-c", "from dmix.cli.main import main; main()", "etl")
    rounds = []
    for _ in range(1 if megabytes > LARGE_MB else REPEATS):
        with tempfile.TemporaryDirectory(dir=folder) as root:
            classify = [*dmix, "classify", *fields, "--warehouse"]
            sides = {
                "ours": [[[*classify, f"{root}/one", "--seq-len", "16"]]],
                "ours_in_two_commands": [
                    [[*classify, f"{root}/two"]],
                    [[*dmix, "shard", "--seq-len", "16", "--warehouse", f"{root}/two"]],
                ],
                "datatrove": [[datatrove(inputs, f"{root}/out", rank, world) for rank in range(world)]],
            }
            rounds.append({side: seconds_of(steps) for side, steps in sides.items()})
    found = {
        what: {side: round(min(one[side][number] for one in rounds), 2) for side in rounds[0]}
        for number, what in enumerate(("wall_seconds", "processor_seconds"))
    }
    return {
        "documents": sum(path.read_bytes().count(b"\n") for path in files_of(inputs)),
        "mb": round(size_of(inputs) / 1e6, 4),
        **found,
        "times_as_fast_as_datatrove": {
            what.partition("_")[0]: round(seconds["datatrove"] / seconds["ours"], 2)
            for what, seconds in found.items()
        },
    }


def seconds_of(steps: list[list[list[str]]]) -> tuple[float, float]:
    """(wall, processor) seconds of commands: those of one step at the same time, steps after each other."""
    before, started = children_seconds(), time.perf_counter()
    for step in steps:
        running = [
            subprocess.Popen(
                one,
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for one in step
        ]
        for one in running:
            one.stdin.write(b"go\n")
            one.stdin.close()
        for one in running:
            said = one.stderr.read()
            if one.wait():
                raise SystemExit(f"{' '.join(one.args)} failed: {said.decode()}")
    return time.perf_counter() - started, children_seconds() - before


def children_seconds() -> float:
    """Processor time of all ended children and what they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rates(runs: list[dict[str, Any]], inputs: Path, tokens: int) -> dict[str, float]:
    """Medians of time, and what was done in it."""
    wall, processor = (
        statistics.median(run[name] for run in runs) for name in ("wall_seconds", "processor_seconds")
    )
    megabytes = size_of(inputs) / 1e6
    return {
        "wall_seconds": round(wall, 3),
        "processor_seconds": round(processor, 3),
        "mb_per_wall_second": round(megabytes / wall, 1),
        "mb_per_processor_second": round(megabytes / processor, 1),
        "tokens_per_processor_second": round(tokens / processor),
    }


def median_ratio(rounds: list[dict[str, Any]], over: str, under: str, what: str) -> float:
    return round(statistics.median(one[over][what] / one[under][what] for one in rounds), 2)


def run_ours(inputs: Path, folder: Path, master: str) -> dict[str, Any]:
    return run_in_a_folder("benchmarks.etl.ours", inputs, folder, master)


def datatrove(inputs: Path, out: str, rank: int, world: int) -> list[str]:
    """The command of one process of datatrove's side."""
    end_of_text = load_tokenizer(EMBEDDED).eot_token
    arguments = (str(inputs), out, str(rank), str(world), str(EMBEDDED_PATH), end_of_text)
    return command("benchmarks.etl.datatrove_side", *arguments)


def run_datatrove(inputs: Path, folder: Path, *, workers: int) -> dict[str, Any]:
    """datatrove in some processes that start at the same time; wall time of the last one."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        sides = [
            subprocess.Popen(
                datatrove(inputs, out, rank, workers),
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(workers)
        ]
        for side in sides:
            if side.stdout.readline() != "ready\n":
                raise SystemExit("datatrove did not start; install it with the extra 'bench'")
        for side in sides:
            side.stdin.write("go\n")
            side.stdin.flush()
        found = [json.loads(side.communicate()[0]) for side in sides]
    return {
        "wall_seconds": max(one["wall_seconds"] for one in found),
        "processor_seconds": sum(one["processor_seconds"] for one in found),
        "tokens": sum(one["tokens"] for one in found),
    }


def bare_engine(inputs: Path) -> dict[str, float]:
    """The fast engine on the texts of the inputs, which lie in memory, in batches as in the ETL."""
    tokenizer = load_tokenizer(EMBEDDED)
    tokenizer.encode(["a text"])
    wall = processor = 0.0
    for path in files_of(inputs):
        texts = [orjson.loads(line)["text"] for line in path.read_bytes().splitlines()]
        for batch in grouped(texts, size_of=len, most_bytes=BATCH_BYTES, most=len(texts)):
            started, before = time.perf_counter(), time.process_time()
            tokenizer.encode(batch)
            wall, processor = wall + time.perf_counter() - started, processor + time.process_time() - before
    return {"wall_seconds": wall, "processor_seconds": processor}


def bytes_alone(inputs: Path) -> dict[str, float]:
    """Reading the files block by block and nothing else."""
    started, before = time.perf_counter(), time.process_time()
    for path in files_of(inputs):
        for _ in file_blocks(str(path)):
            pass
    return {
        "wall_seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - before,
    }


def run_in_a_folder(module: str, inputs: Path, folder: Path, *more: str) -> dict[str, Any]:
    """What a module prints last, run by itself on a new warehouse that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as root:
        done = subprocess.run(
            command(module, str(inputs), root, *more),
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def environment() -> dict[str, str]:
    """One thread a process on every side."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


if __name__ == "__main__":
    main()
