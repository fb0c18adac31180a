"""The set agent beside the paper's: fine-tuning loss, transfer to other spaces, processor time.

    python benchmarks/set_agent.py [--epochs 60] [--paths 21] [--seeds 1] [--out FILE.json]

Sets of K = 1 paths (16 steps, hierarchical draw) in spaces of 2 to 1,152 domains of log-normal
sizes. Both agents learn on the same paths of the spaces of 12 and of 52 domains; the set agent also
learns on 2, 12 and 52 at once. A third of the paths is held out. Spaces that an agent did not learn
in measure what it carries over: mean squared error of the target share of the next step, under
teacher forcing. Times are processor milliseconds of one thread.
"""

import argparse
import json
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmix.mixing.agent.agent import Agent
from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.store import load_agent
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.mixing.learning.sft import load_sft_datasets, train_sft
from dmix.mixing.offline.sft_examples import SftDataset
from dmix.mixing.trajectories.sampling import sample_trajectories
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest, StreamEntry, TokenizerFile
from dmix.warehouse_schema.taxonomy import FIELDS, Taxonomy

SPACES = (2, 6, 12, 52, 70, 1152)
# Paths and candidates a step of the widest space, where a draw costs the most.
WIDE = {"paths": 4, "candidates": 2_000}
TRAININGS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("paper", (12,)),
    ("set", (12,)),
    ("paper", (52,)),
    ("set", (52,)),
    ("set", (2, 12, 52)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--paths", type=int, default=21)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        warehouse = Warehouse.at(folder)
        for domains in SPACES:
            sample(warehouse, domains, paths=given.paths)
        rows = [
            trained(warehouse, architecture, spaces, epochs=given.epochs, seed=seed)
            for architecture, spaces in TRAININGS
            for seed in range(given.seeds)
        ]
        datasets = {domains: lesson_of(warehouse, domains) for domains in SPACES}
    untrained = SetAgent(SetAgent.config_class()).eval()
    report = {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "settings": {"epochs": given.epochs, "paths": given.paths, "seeds": given.seeds},
        "untrained": {"share_errors": errors_of(untrained, datasets)},
        "trained": rows,
        "decision_ms": {str(domains): decision_ms(untrained, datasets[domains]) for domains in SPACES},
    }
    text = json.dumps(report, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")


def sample(warehouse: Warehouse, domains: int, *, paths: int) -> None:
    """A set of K = 1 paths in a space of this many domains."""
    size = {"paths": paths, "candidates": 20_000} if domains < 1_000 else WIDE
    settings = SampleSettings(top_k=(1,), random_paths=0, steps=16, batch_size=8, **size)
    sample_trajectories(
        warehouse, manifest=manifest(domains), set_name=f"n{domains}", settings=settings, processes=1
    )


def trained(
    warehouse: Warehouse, architecture: str, spaces: tuple[int, ...], *, epochs: int, seed: int
) -> dict[str, Any]:
    """Losses, share errors and times of one training."""
    settings = SftSettings(architecture=architecture, epochs=epochs, held_out=1 / 3, seed=seed)
    first, *more = (f"n{domains}" for domains in spaces)
    started = time.process_time()
    result = train_sft(
        warehouse, set_name=first, more_sets=more, agent_name="a", settings=settings, overwrite=True
    )
    seconds = time.process_time() - started
    agent = load_agent(warehouse, "a")
    row: dict[str, Any] = {
        "architecture": architecture,
        "spaces": spaces,
        "seed": seed,
        "parameters": agent.num_parameters(),
        "epochs": len(result.train_losses),
        "best_epoch": result.best_epoch,
        "held_out_losses": result.set_losses,
        "epoch_ms": 1000 * seconds / len(result.train_losses),
    }
    if architecture == "set":
        row["share_errors"] = errors_of(agent, {n: lesson_of(warehouse, n) for n in SPACES})
    return row


def lesson_of(warehouse: Warehouse, domains: int) -> SftDataset:
    """All paths of a set as a set agent reads them."""
    (dataset,) = load_sft_datasets(
        warehouse, set_names=(f"n{domains}",), settings=SftSettings(architecture="set")
    )
    return dataset


def errors_of(agent: Agent, datasets: dict[int, SftDataset]) -> dict[str, float]:
    """Mean squared error of the target share, by number of domains."""
    return {str(domains): share_error(agent, dataset) for domains, dataset in datasets.items()}


@torch.no_grad()
def share_error(agent: Agent, dataset: SftDataset) -> float:
    active_BN = torch.from_numpy(dataset.space.active_N)[None]
    errors: list[float] = []
    for example in dataset.examples:
        found_TN = agent(torch.from_numpy(example.tokens_TX)[None], active_BN)[0].numpy()
        difference_TN = (found_TN - example.mixtures_TN)[:, dataset.space.target_N]
        errors.extend(difference_TN.sum(1) ** 2)
    return float(np.mean(errors))


def decision_ms(agent: Agent, dataset: SftDataset) -> float:
    """Processor time of one decision after the longest path."""
    tokens_TX = max((example.tokens_TX for example in dataset.examples), key=len)
    agent.next_mixture(tokens_TX, dataset.space.active_N)
    started = time.process_time()
    for _ in range(10):
        agent.next_mixture(tokens_TX, dataset.space.active_N)
    return 100 * (time.process_time() - started)


def manifest(domains: int) -> DatasetManifest:
    """A dataset of log-normal domain sizes, 5,200 samples for every 12 domains."""
    rng = np.random.default_rng(domains)
    parts = [rng.lognormal(size=domains // 2) for _ in FIELDS]
    drawn = [total * part / part.sum() for total, part in zip((3_000, 2_200), parts, strict=True)]
    counts = np.maximum(8, np.concatenate(drawn) * max(1, domains / 12)).astype(int).tolist()
    labels = tuple(f"domain-{index:03d}" for index in range(domains // 2))
    names = [(field, label) for field in FIELDS for label in labels]
    streams = tuple(
        StreamEntry(
            field=field,
            domain=label,
            path=f"{field}/{label}",
            documents=count,
            samples=count,
            tokens=count,
            tail_tokens=0,
            files=(),
        )
        for (field, label), count in zip(names, counts, strict=True)
    )
    return DatasetManifest(
        dataset=f"benchmark-{domains}",
        name="",
        taxonomy=Taxonomy("numbered", labels),
        tokenizer=TokenizerFile(name="none", sha256="", vocab_size=8192, eot_id=0),
        seq_len=1,
        token_dtype="uint16",
        seed=0,
        corpora=(),
        streams=streams,
        created_at=datetime.now(UTC).isoformat(),
    )


if __name__ == "__main__":
    main()
