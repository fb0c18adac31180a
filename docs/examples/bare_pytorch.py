"""Exact mixing in a bare PyTorch loop: a mixture that moves step by step, and a resume at any batch.

    python docs/examples/bare_pytorch.py --warehouse warehouse --state run.json --batches 40
    torchrun --nproc-per-node 2 docs/examples/bare_pytorch.py …     the same samples on two ranks

Called again with the same --state, it goes on where it stopped, on any number of ranks and workers.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn

from dmix.mixing.dataset import MixedDataset
from dmix.mixing.domains import DomainSpace
from dmix.mixing.loader import MixedLoader
from dmix.mixing.plan import PlanSettings
from dmix.warehouse_schema.layout import Warehouse, publish_json
from dmix.warehouse_schema.manifests import read_dataset_manifest


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


def main() -> None:
    """Trains until the data or --batches end, and saves where it stands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--warehouse", type=Path, required=True)
    parser.add_argument("--dataset", help="id or name; may be left out when there is one")
    parser.add_argument("--state", type=Path, required=True, help="JSON file; weights go beside it")
    parser.add_argument("--batches", type=int, default=100, help="stop after so many, at the latest")
    parser.add_argument("--step-samples", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8, help="over all ranks")
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()
    if distributed.is_torchelastic_launched():
        distributed.init_process_group("gloo")
    first_rank = not distributed.is_initialized() or distributed.get_rank() == 0

    warehouse = Warehouse.at(arguments.warehouse)
    manifest = read_dataset_manifest(warehouse, arguments.dataset)
    space = DomainSpace.of_dataset(manifest)
    dataset = MixedDataset(manifest, warehouse.stream(manifest.dataset))
    settings = PlanSettings(step_samples=arguments.step_samples, batch_size=arguments.batch_size)
    loader = MixedLoader(dataset, settings=settings, num_workers=arguments.workers)

    torch.manual_seed(0)
    model: nn.Module = Bigrams(manifest.tokenizer.vocab_size)
    weights = arguments.state.with_suffix(".pt")
    if arguments.state.exists():
        model.load_state_dict(torch.load(weights, weights_only=True))
        loader.load_state_dict(json.loads(arguments.state.read_text()))
    bare = model
    if distributed.is_initialized():
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    left = arguments.batches
    while left and not loader.finished:
        if not loader.in_step:  # it is, right after resuming in the middle of one
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
    if first_rank:
        torch.save(bare.state_dict(), weights)
        publish_json(arguments.state, state)
        print(json.dumps({"steps": loader.state.step, "finished": loader.finished, "chain": loader.chain}))
    dataset.close()


if __name__ == "__main__":
    main()
