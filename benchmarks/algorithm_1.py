"""What Algorithm 1 costs at the paper's size, as ratios measured in one run on one machine.

    python benchmarks/algorithm_1.py [--full paper|default] [--workers 2] [--out FILE.json]

N = 52, C = 20,000. Without `--full`: processor milliseconds a step of both presets, beside a plain
numpy transcription that draws the same law and compares each candidate with each earlier path, and
from them the time that 4 x 96 paths of 80 steps would take. With `--full`: the whole set is
sampled, and wall time, processor time and peak memory are what they are.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.algorithm1 import EarlierPaths, PathProblem, sample_path
from dmix.mixing.trajectories.candidates import KAPPA_RANGE, beta_half_quantile
from dmix.mixing.trajectories.sampling import path_problem, planned_set, sample_trajectories
from dmix.mixing.trajectories.settings import PRESETS, SampleSettings
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest, StreamEntry, TokenizerFile
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY, FIELDS, slug

R = 8_000
TARGET_STEPS = 38.1
PAPER_STEPS = 4 * 96 * 80
# An average path has half of the 95 others before it.
EARLIER = 48
STEPS_TIMED = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", choices=PRESETS, help="sample the whole set of this preset")
    parser.add_argument("--workers", type=int, default=2, help="processes of the whole set")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    figures = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_before": round(os.getloadavg()[0], 2),
    }
    if arguments.full is None:
        with threadpool_limits(1):
            figures |= {preset: steps_of(preset) for preset in PRESETS}
    else:
        figures["full"] = whole_set(arguments.full, workers=arguments.workers)
    print(json.dumps(figures, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


def steps_of(preset: str) -> dict[str, Any]:
    """Medians of processor milliseconds a step, ours and the transcription's in turns."""
    manifest = paper_manifest()
    settings = paper_settings(preset)
    found = planned_set(manifest, set_name="benchmark", settings=settings)
    problem = path_problem(found, settings.resolved(found.domain_space))
    paths = [
        np.random.default_rng(p).dirichlet(np.ones(52), STEPS_TIMED + 1).astype(np.float64)
        for p in range(EARLIER)
    ]
    earlier = EarlierPaths(steps=problem.steps, domains=52)
    for path_TA in paths:
        earlier.add(path_TA)
    draw = plain_draws(preset, found.domain_space)
    buffer_AC = np.empty((52, problem.candidates), np.float32)
    ours, plain = [], []
    for path in range(3):
        seconds = processor_seconds(
            lambda path=path: sample_path(
                steps_limited(problem), top_k=100, path=path, earlier=earlier, buffer_AC=buffer_AC
            )
        )
        ours.append(1000 * seconds / STEPS_TIMED)
        rng = np.random.default_rng(path)
        plain.append(1000 * processor_seconds(lambda rng=rng: plain_step(problem, draw(rng), paths=paths)))
    mine, theirs = statistics.median(ours), statistics.median(plain)
    return {
        "ms_a_step": round(mine, 2),
        "plain_numpy_ms_a_step": round(theirs, 1),
        "ratio": round(theirs / mine, 1),
        "minutes_at_most_1_worker": round(PAPER_STEPS * mine / 60_000, 1),
        "minutes_at_most_2_workers": round(PAPER_STEPS * mine / 120_000, 1),
    }


def steps_limited(problem: PathProblem) -> PathProblem:
    """The same problem with few steps and no early stop."""
    return PathProblem(**{**vars(problem), "steps": STEPS_TIMED, "target_steps": np.inf})


def plain_draws(preset: str, space: DomainSpace) -> Callable[[np.random.Generator], NDArray[np.float64]]:
    """20,000 candidates of a preset's law, by numpy's own distributions, shape (C, N)."""

    def uniform(rng: np.random.Generator) -> NDArray[np.float64]:
        return rng.dirichlet(np.ones(52), 20_000)

    def hierarchical(rng: np.random.Generator) -> NDArray[np.float64]:
        share = beta_half_quantile(rng.random(20_000))
        parts = []
        for state_N, weight in ((space.start_N, 1 - share), (space.target_state_N, share)):
            natural = state_N[state_N > 0]
            kappa = np.exp(rng.uniform(*np.log(KAPPA_RANGE), 20_000))
            gammas = rng.standard_gamma(kappa[:, None] * natural * len(natural))
            parts.append(weight[:, None] * gammas / gammas.sum(1, keepdims=True))
        return np.concatenate(parts, axis=1)

    return uniform if preset == "paper" else hierarchical


def plain_step(
    problem: PathProblem, candidates_CA: NDArray[np.float64], *, paths: list[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The score of the listing, one divergence after the other; returns the best candidate."""
    candidates_CA = np.maximum(candidates_CA, 1e-8)
    candidates_CA /= candidates_CA.sum(1, keepdims=True)

    def divergence(mixture_A: NDArray[np.float64]) -> NDArray[np.float64]:
        positive = mixture_A > 0
        ratio = np.log(mixture_A[positive] / candidates_CA[:, positive])
        return (mixture_A[positive] * ratio).sum(1)

    score_C = problem.alpha * divergence(problem.start_A) + 0.5 * problem.beta * divergence(problem.target_A)
    score_C -= problem.gamma * np.mean([divergence(path_TA[1]) for path_TA in paths], axis=0)
    best: NDArray[np.float64] = candidates_CA[score_C.argmin()]
    return best


def whole_set(preset: str, *, workers: int) -> dict[str, Any]:
    """Samples 4 x 96 paths of at most 80 steps (and the random paths of `default`)."""
    with tempfile.TemporaryDirectory(prefix="dmix-bench-") as folder:
        warehouse = Warehouse.at(folder)
        started = time.perf_counter()
        found = sample_trajectories(
            warehouse,
            manifest=paper_manifest(),
            set_name="full",
            settings=paper_settings(preset),
            processes=workers,
        )
        wall = time.perf_counter() - started
        files = len(list(warehouse.trajectories(found.set_name).glob("*.parquet")))
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "preset": preset,
        "workers": workers,
        "trajectories": files,
        "wall_seconds": round(wall, 1),
        "processor_seconds": round(own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime, 1),
        "peak_mb_of_the_largest_process": round(max(own.ru_maxrss, children.ru_maxrss) / 1024),
    }


def paper_settings(preset: str) -> SampleSettings:
    return SampleSettings(
        preset=preset, paths=96, steps=80, samples_per_step=R, run_samples_per_step=R, batch_size=32
    )


def paper_manifest() -> DatasetManifest:
    """52 active domains of very unequal size, with |T| / R = 38.1 and as much source again."""
    rng = np.random.default_rng(0)
    shares = np.concatenate([rng.dirichlet(np.full(26, 0.7)) for _ in FIELDS])
    counts = np.maximum(1, shares * TARGET_STEPS * R).astype(int).tolist()
    names = [(field, label) for field in FIELDS for label in DEFAULT_TAXONOMY.labels]
    streams = tuple(
        StreamEntry(
            field=field,
            domain=label,
            path=f"{field}/{slug(label)}",
            documents=count,
            samples=count,
            tokens=count,
            tail_tokens=0,
            files=(),
        )
        for (field, label), count in zip(names, counts, strict=True)
    )
    return DatasetManifest(
        dataset="benchmark",
        name="",
        taxonomy=DEFAULT_TAXONOMY,
        tokenizer=TokenizerFile(name="none", sha256="", vocab_size=8192, eot_id=0),
        seq_len=1,
        token_dtype="uint16",
        seed=0,
        corpora=(),
        streams=streams,
        created_at=datetime.now(UTC).isoformat(),
    )


def processor_seconds(call: Callable[[], Any]) -> float:
    """Time of this process's own work, so that other work on the machine counts little."""
    started = time.process_time()
    call()
    return time.process_time() - started


if __name__ == "__main__":
    main()
