"""Exact mixing in a bare PyTorch loop: a mixture that moves step by step, and a resume at any batch.

    python docs/examples/bare_pytorch.py --warehouse warehouse --state run.pt --batches 40
    torchrun --nproc-per-node 2 docs/examples/bare_pytorch.py …     the same samples on two ranks

A second call with the same --state resumes where the first one stopped, on any number of ranks and workers.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn

from dmix import DomainSpace, MixedDataset, MixedLoader, PlanSettings, Warehouse, read_dataset_manifest


class Bigrams(nn.Module):
    """The smallest language model: the next token from the one before."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.next = nn.Embedding(vocabulary, vocabulary)

    def forward(self, ids_BL: torch.Tensor) -> torch.Tensor:
        logits_BLV = self.next(ids_BL[:, :-1])
        return nn.functional.cross_entropy(logits_BLV.flatten(0, 1), ids_BL[:, 1:].flatten())


def mixture(space: DomainSpace, *, step: int) -> np.ndarray:
    """Your rule. This one moves from natural shares to the target field over ten steps."""
    share = min(1.0, step / 10)
    return (1 - share) * space.natural_N + share * space.target_state_N


def train(loader: MixedLoader, space: DomainSpace, *, state_file: Path, batches: int) -> None:
    """Trains until the data or `batches` end, and saves its state."""
    torch.manual_seed(0)
    model: nn.Module = Bigrams(loader.dataset.manifest.tokenizer.vocab_size)
    if state_file.exists():
        saved = torch.load(state_file, weights_only=True)
        model.load_state_dict(saved["model"])
        loader.load_state_dict(saved["loader"])
    bare = model
    if distributed.is_initialized():
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    left = batches
    while left and not loader.finished:
        if not loader.in_step:  # a resume may start in the middle of a step
            loader.begin_step(mixture(space, step=loader.state.step + 1))
        for batch in loader:
            optimizer.zero_grad()
            loss = model(batch["input_ids"])
            loss.backward()
            optimizer.step()
            left -= 1
            if left == 0:
                break
    state = loader.state_dict()  # on every rank: they compare what they consumed
    if not distributed.is_initialized() or distributed.get_rank() == 0:
        # one file, replaced at once: weights and samples never come from different moments
        torch.save({"model": bare.state_dict(), "loader": state}, state_file.with_suffix(".new"))
        state_file.with_suffix(".new").replace(state_file)
        print(json.dumps({"steps": loader.state.step, "finished": loader.finished, "chain": loader.chain}))


def main() -> None:
    """Opens the dataset, and closes it whatever happens."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--warehouse", type=Path, required=True)
    parser.add_argument("--dataset", help="id or name; default: the only dataset")
    parser.add_argument("--state", type=Path, required=True, help="file for weights and samples")
    parser.add_argument("--batches", type=int, default=100, help="maximum number of batches")
    parser.add_argument("--step-samples", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8, help="over all ranks")
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()
    if distributed.is_torchelastic_launched():
        distributed.init_process_group("gloo")
    warehouse = Warehouse.at(arguments.warehouse)
    manifest = read_dataset_manifest(warehouse, arguments.dataset)
    settings = PlanSettings(step_samples=arguments.step_samples, batch_size=arguments.batch_size)
    with MixedDataset(manifest, warehouse.stream(manifest.dataset)) as dataset:
        loader = MixedLoader(dataset, settings=settings, num_workers=arguments.workers)
        space = DomainSpace.of_dataset(manifest)
        train(loader, space, state_file=arguments.state, batches=arguments.batches)


if __name__ == "__main__":
    main()
