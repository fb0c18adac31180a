"""How fast proxies train, against the matrix-multiply limit of the machine, measured in one run.

    python -m benchmarks.farm [--seconds 2] [--out FILE.json | --results FOLDER]

One core (or the GPU, where there is one): GFLOP/s of matrix products at 2048 and at the model's own
shapes, in fp32 and bf16; tokens a second and GFLOP/s of a training step of LLaMA models with 0.37M
and 4.5M parameters beside their output layer, as shares of the fp32 limit; where the time of a step
goes; tokens a second of stacks of proxies that are trained at once, in all, and on a GPU the most
memory that they hold; and seconds of processor time that a proxy costs beside its steps. Arithmetic
of a step is 6 a parameter and token, the output layer included, and 12 * layers * width * length of
attention. Scoring reads a batch of items and takes the losses of their answers: 2 a parameter and token,
the output layer for answers alone. "with_scoring" is such a batch after every four of training.
"""

import argparse
import hashlib
import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.provenance import commit_of, machine_name
from composer.optim import DecoupledAdamW
from streaming import MDSWriter
from tests.manifests import written_files
from tokenizers import Tokenizer, models

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.objectives import Environment, Objective
from dmix.mixing.trajectories.store import Trajectory
from dmix.training.farm.proxy import ProxyTask, proxy_feedback
from dmix.training.farm.stacked.adamw import StackedAdamW
from dmix.training.model.language_model import LanguageModel
from dmix.training.model.model_stack import ModelStack
from dmix.training.model.models import load_model
from dmix.training.model.settings import ModelSettings, ProxySettings, TrainingSettings
from dmix.training.scoring.environment import BATCH_TOKENS
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import (
    DatasetManifest,
    StreamEntry,
    TokenizerFile,
    write_dataset_manifest,
)
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY, FIELDS, slug

VOCABULARY, LENGTH, ROWS = 8192, 256, 16
SIZES = {
    "0.37M": {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 7, "num_attention_heads": 4},
    "4.5M": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 4},
}
# Proxies of one stack; on a CPU the first two say it all.
STACKS = (1, 4, 16)
# A batch of scoring, of so many tokens an item and an answer, comes after so many batches of training.
ITEM_TOKENS, ANSWER_TOKENS, BATCHES_A_SCORE = 64, 16, 4
# Parts of a step, by the name that torch's profiler gives their operations.
PARTS = {
    "output layer and loss": ("MeanNextTokenLoss",),
    "attention": ("aten::scaled_dot_product_attention", "ScaledDotProduct"),
    "norms, products and activations of layers": ("Heads", "FeedForwardHalf"),
    "other matrix products": ("aten::linear", "MmBackward", "AddmmBackward"),
    "optimiser": ("Optimizer.step",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each measurement")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--results", type=Path, help="write farm-<machine>-<date>.json into a folder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    products = matrix_products(device, seconds=arguments.seconds)
    limit = products["2048x2048x2048"]["fp32"]
    figures = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {device.type}",
        "commit": commit_of(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_before": round(os.getloadavg()[0], 2),
        "matrix_products_gflops": products,
        "training": {
            name: training(config, device, limit=limit, seconds=arguments.seconds)
            for name, config in SIZES.items()
        },
        "stacks": {
            str(proxies): stacked(SIZES["0.37M"], device, proxies=proxies, seconds=arguments.seconds)
            for proxies in (STACKS if device.type == "cuda" else STACKS[:2])
        },
        "proxy": fixed_cost(),
    }
    print(json.dumps(figures, indent=1))
    out = arguments.out
    if arguments.results:
        out = arguments.results / f"farm-{machine_name()}-{datetime.now(UTC):%Y-%m-%d}.json"
    if out:
        out.write_text(json.dumps(figures, indent=1) + "\n")


def matrix_products(device: torch.device, *, seconds: float) -> dict[str, dict[str, float]]:
    """GFLOP/s by shape (rows x inner x columns) and precision."""
    tokens = ROWS * LENGTH
    shapes = [(2048, 2048, 2048)]
    for config in SIZES.values():
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        shapes += [(tokens, hidden, hidden), (tokens, hidden, inner), (256, hidden, VOCABULARY)]
    found = {}
    for shape in shapes:
        rates = {}
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            taken = time_of(matrix_product(shape, dtype, device), seconds=seconds / 4)
            rates[name] = round(2e-9 * math.prod(shape) / taken)
        found["x".join(map(str, shape))] = rates
    return found


def matrix_product(
    shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device
) -> Callable[[], torch.Tensor]:
    rows, inner, columns = shape
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(inner, columns, device=device).to(dtype)
    out = torch.empty(rows, columns, device=device, dtype=dtype)
    return lambda: torch.mm(left, right, out=out)


def training(config: dict[str, int], device: torch.device, *, limit: float, seconds: float) -> dict[str, Any]:
    """Speed of forward pass, backward pass and optimiser together, and the parts of that time."""
    network = load_model(model_settings(config), manifest_of([])).to(device)
    optimizer = DecoupledAdamW(network.parameters(), lr=1e-3)
    ids_BL = torch.randint(VOCABULARY, (ROWS, LENGTH), device=device)

    def step() -> None:
        optimizer.zero_grad()
        network({"input_ids": ids_BL})["loss"].backward()
        optimizer.step()

    taken = time_of(step, seconds=seconds)
    tokens = ROWS * LENGTH
    attention = 12 * config["num_hidden_layers"] * config["hidden_size"] * LENGTH
    work = 1e-9 * (6 * network.parameters_count + attention) * tokens
    gflops = work / taken
    score_taken, score_work = scoring(network, config, device, seconds=seconds)
    both = BATCHES_A_SCORE * taken + score_taken
    return {
        "parameters": network.parameters_count,
        "without_output_layer": network.parameters_count - VOCABULARY * config["hidden_size"],
        "tokens_per_second": round(tokens / taken),
        "gflops": round(gflops, 1),
        "share_of_fp32_limit": round(gflops / limit, 3),
        "scoring": {
            "tokens_per_second": round(BATCH_TOKENS / score_taken),
            "share_of_fp32_limit": round(score_work / score_taken / limit, 3),
        },
        "with_scoring": {
            "trained_tokens_per_second": round(BATCHES_A_SCORE * tokens / both),
            "share_of_fp32_limit": round((BATCHES_A_SCORE * work + score_work) / both / limit, 3),
        },
        "shares_of_time": shares_of_time(step, network),
    }


def scoring(
    network: LanguageModel, config: dict[str, int], device: torch.device, *, seconds: float
) -> tuple[float, float]:
    """Seconds and GFLOP of the losses of a batch of items."""
    items = BATCH_TOKENS // ITEM_TOKENS
    ids_BL = torch.randint(VOCABULARY, (items, ITEM_TOKENS), device=device)
    rows_T = torch.arange(items, device=device).repeat_interleave(ANSWER_TOKENS)
    positions_T = torch.arange(ITEM_TOKENS - ANSWER_TOKENS, ITEM_TOKENS, device=device).repeat(items)
    taken = time_of(lambda: network.losses_at(ids_BL, rows_T, positions_T), seconds=seconds)
    output = VOCABULARY * config["hidden_size"]
    body = 2 * (network.parameters_count - output)
    attention = 4 * config["num_hidden_layers"] * config["hidden_size"] * ITEM_TOKENS
    return taken, 1e-9 * ((body + attention) * BATCH_TOKENS + 2 * output * len(rows_T))


def stacked(config: dict[str, int], device: torch.device, *, proxies: int, seconds: float) -> dict[str, int]:
    """Tokens a second of all proxies together, each with weights and a batch of its own."""
    model = load_model(model_settings(config), manifest_of([])).to(device)
    settings = TrainingSettings(batch_size=ROWS)
    optimizer = StackedAdamW.of_copies(
        model, proxies, optimizer=DecoupledAdamW(model.parameters()), settings=settings
    )
    stack = ModelStack.of_copies(model, proxies)
    ids_PBL = torch.randint(VOCABULARY, (proxies, ROWS, LENGTH), device=device)
    peaks_P, factors_P = np.full(proxies, settings.peak_rate), np.ones(proxies)

    def step() -> None:
        stack.losses(ids_PBL).sum().backward()
        optimizer.update(stack, peaks_P=peaks_P, factors_P=factors_P)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    found = {"tokens_per_second": round(proxies * ROWS * LENGTH / time_of(step, seconds=seconds))}
    if device.type == "cuda":
        found["most_memory_mib"] = torch.cuda.max_memory_allocated() >> 20
    return found


def shares_of_time(step: Callable[[], None], network: LanguageModel) -> dict[str, float]:
    """Shares of a step's time by part, from torch's profiler; the rest is everything else."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    events = profile.events()
    outermost = [event for event in events if part_of(event.name) and not within_a_part(event)]
    total = sum(event.cpu_time_total for event in events if event.cpu_parent is None)
    shares = dict.fromkeys(PARTS, 0.0)
    for event in outermost:
        shares[part_of(event.name)] += event.cpu_time_total / total
    shares["rest"] = 1 - sum(shares.values())
    return {name: round(share, 2) for name, share in shares.items()}


def part_of(name: str) -> str:
    return next((part for part, names in PARTS.items() if any(word in name for word in names)), "")


def within_a_part(event: Any) -> bool:
    parent = event.cpu_parent
    while parent is not None:
        if part_of(parent.name):
            return True
        parent = parent.cpu_parent
    return False


def fixed_cost() -> dict[str, float]:
    """Processor seconds of a proxy in a warm process, beside those of its steps."""
    with tempfile.TemporaryDirectory(prefix="dmix-bench-") as folder:
        warehouse = Warehouse.at(folder)
        manifest, environment = write_streams(warehouse), write_items(Path(folder))
        space = DomainSpace.of_dataset(manifest)

        def proxy(steps: int) -> float:
            task = ProxyTask(
                root=warehouse.root,
                set_name="benchmark",
                dataset=manifest.dataset,
                step_samples=ROWS,
                environment=environment,
                proxy=ProxySettings(
                    config=model_settings(SIZES["0.37M"]).config,
                    training=TrainingSettings(batch_size=ROWS),
                    vary=0.0,
                ),
                base=None,
            )
            mixtures_TN = np.tile(space.natural_N, (steps + 1, 1))
            path = Trajectory(trajectory_id=f"t{steps}", kind="static", top_k=None, mixtures_TN=mixtures_TN)
            started = time.process_time()
            proxy_feedback(task, path)
            return time.process_time() - started

        proxy(1)
        short, long = (statistics.median(proxy(steps) for _ in range(3)) for steps in (1, 5))
    step = (long - short) / 4
    # A run of one step scores twice.
    return {
        "seconds_a_step_of_one_batch_and_its_scores": round(step, 2),
        "seconds_beside_steps": round(short - step, 2),
    }


def write_streams(warehouse: Warehouse) -> DatasetManifest:
    """Random tokens in 52 streams of eight samples."""
    entries = []
    rng = np.random.default_rng(0)
    folder = warehouse.stream("benchmark")
    for field in FIELDS:
        for label in DEFAULT_TAXONOMY.labels:
            path = f"{field}/{slug(label)}"
            columns = {"tokens": f"ndarray:uint16:{LENGTH}"}
            with MDSWriter(out=str(folder / path), columns=columns) as writer:
                for _ in range(8):
                    writer.write({"tokens": rng.integers(1, VOCABULARY, LENGTH).astype(np.uint16)})
            entries.append(
                StreamEntry(
                    field=field,
                    domain=label,
                    path=path,
                    documents=8,
                    samples=8,
                    tokens=8 * LENGTH,
                    tail_tokens=0,
                    files=written_files(folder / path),
                )
            )
    words = {f"w{index}": index for index in range(VOCABULARY)}
    Tokenizer(models.WordLevel(vocab=words, unk_token="w0")).save(str(folder / "tokenizer.json"))
    manifest = manifest_of(entries, tokenizer=folder / "tokenizer.json")
    write_dataset_manifest(warehouse, manifest)
    return manifest


def write_items(folder: Path) -> Environment:
    """Two objectives of 100 short items."""
    for name in ("general", "target"):
        lines = [json.dumps({"id": str(i), "question": "w1", "answer": "w2"}) for i in range(100)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return Environment(
        folder=str(folder),
        objectives=tuple(
            Objective(name=name, role=name, kind="qa", path=f"{name}.jsonl") for name in ("general", "target")
        ),
    )


def model_settings(config: dict[str, int]) -> ModelSettings:
    return ModelSettings(architecture="llama", config={**config, "tie_word_embeddings": True})


def manifest_of(entries: list[StreamEntry], *, tokenizer: Path | None = None) -> DatasetManifest:
    digest = hashlib.sha256(b"" if tokenizer is None else tokenizer.read_bytes()).hexdigest()
    return DatasetManifest(
        dataset="benchmark",
        name="",
        taxonomy=DEFAULT_TAXONOMY,
        tokenizer=TokenizerFile(name="words", sha256=digest, vocab_size=VOCABULARY, eot_id=0),
        seq_len=LENGTH,
        token_dtype="uint16",
        seed=0,
        corpora=(),
        streams=tuple(entries),
        created_at=datetime.now(UTC).isoformat(),
    )


def time_of(call: Callable[[], Any], *, seconds: float) -> float:
    """Least time of a call: processor time, or on a GPU wall time until it is idle."""
    call()
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    least, until = float("inf"), clock() + seconds
    while clock() < until:
        started = clock()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        least = min(least, clock() - started)
    return least


if __name__ == "__main__":
    main()
