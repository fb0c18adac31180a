"""The passes of the gradient estimator: gradients of objectives and of domains, and their products.

Gradients of the D objectives are kept, scaled as AdamW would; each batch of a domain then costs one
backward pass and D inner products. Memory: D + 3 times the weights. Shapes: N domains, B batches of
a domain, D objectives.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from composer.utils import get_device
from numpy.typing import NDArray
from torch import Tensor

from dmix.mixing.effects.counting import sample_rows
from dmix.mixing.effects.gradients import GradientBudget
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.encoding import EncodedItem, encode_item, load_tokenizer_file
from dmix.mixing.trajectories.objectives import Environment, read_items
from dmix.training.model.language_model import LanguageModel
from dmix.training.model.models import load_model
from dmix.training.model.precision import computes_in_bf16, on_gpu
from dmix.training.model.settings import ModelSettings, TrainingSettings, learning_rate_factor
from dmix.training.run.assembly.result import OPTIMIZER_FILE
from dmix.training.scoring.environment import batches_by_length
from dmix.warehouse_schema.errors import InputError, TrainingError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.files.weights import readable

# Tokens of one pass over items; logits of the whole vocabulary are kept for each of them.
_PASS_TOKENS = 2048


@dataclass(frozen=True, kw_only=True)
class GradientTask:
    """What gradients are taken of.

    Attributes:
        warehouse: Where the dataset is.
        manifest: The dataset.
        environment: The objectives.
        model: Path of a model file or checkpoint folder, a hub id, or settings.
        training: Says how AdamW scales gradients, and how long a pass may be.
    """

    warehouse: Warehouse
    manifest: DatasetManifest
    environment: Environment
    model: str | ModelSettings
    training: TrainingSettings


def encoded_items(task: GradientTask, *, max_length: int) -> list[list[EncodedItem]]:
    """The items of each objective as ids."""
    tokenizer = load_tokenizer_file(task.warehouse.stream(task.manifest.dataset) / "tokenizer.json")
    eot_id = task.manifest.tokenizer.eot_id
    return [
        [
            encode_item(item, tokenizer=tokenizer, eot_id=eot_id, max_length=max_length)
            for item in read_items(objective, task.environment.folder)
        ]
        for objective in task.environment.objectives
    ]


def gradient_products(
    task: GradientTask, budget: GradientBudget, *, progress: Callable[[str], None]
) -> NDArray[np.float64]:
    """<grad S_o, P grad L> of every batch of each domain, shape (N, B, D); 0 without samples.

    P comes from the optimiser's state beside the model, or from as many natural batches as a domain has.

    Raises:
        InputError: If the model has a kind of objective or of layer that gradients cannot be taken of.
        TrainingError: If a gradient is not finite.
    """
    model = get_device(None).module_to_device(load_model(task.model, task.manifest)).eval()
    model.bf16_on_cpu = computes_in_bf16(task.training) and not on_gpu()
    space = DomainSpace.of_dataset(task.manifest)
    items = encoded_items(task, max_length=model.max_length)
    scale = _scale(task, model, space, budget)
    scaled = []
    for objective, found in zip(task.environment.objectives, items, strict=True):
        score_gradient(model, found[: budget.items])
        scaled.append([p * g for p, g in zip(scale, _taken(model, objective.name), strict=True)])
        progress(f"gradient of objective {objective.name}, {len(found[: budget.items])} items")
    products_NBD = np.zeros((len(space), budget.batches, len(items)))
    active = np.flatnonzero(space.active_N)
    for done, index in enumerate(active, start=1):
        rows = _rows(task, int(index), budget)
        for batch, ids in enumerate(rows):
            loss_gradient(model, ids, microbatch=task.training.rows_at_a_time(len(ids)))
            taken = _taken(model, space.names[index][1])
            for o, vectors in enumerate(scaled):
                dots = [torch.dot(a.flatten(), b.flatten()) for a, b in zip(vectors, taken, strict=True)]
                products_NBD[index, batch, o] = float(torch.stack(dots).double().sum())
        progress(f"gradients of {done} of {len(active)} domains")
    return products_NBD


def rate_sum(samples: int, training: TrainingSettings) -> float:
    """Sum of the learning rates of all updates of a run of so many samples."""
    total = max(1, samples // training.batch_size)
    return training.peak_rate * sum(
        learning_rate_factor(batch, total=total, settings=training) for batch in range(total)
    )


def score_gradient(model: LanguageModel, items: Sequence[EncodedItem]) -> None:
    """Leaves the gradient of the mean score (Eq. 1) of some items in the weights' `grad`."""
    model.zero_grad(set_to_none=True)
    device = next(model.parameters()).device
    for batch in batches_by_length([len(item.ids) for item in items], batch_tokens=_PASS_TOKENS):
        chosen = [items[index] for index in batch]
        ids_BL = torch.zeros(len(chosen), max(len(item.ids) for item in chosen), dtype=torch.int64)
        wanted_BL = torch.zeros(ids_BL.shape)
        for row, item in enumerate(chosen):
            ids_BL[row, : len(item.ids)] = torch.tensor(item.ids)
            scored = len(item.ids) - item.answer_start
            wanted_BL[row, item.answer_start : len(item.ids)] = 1 / (scored * len(items))
        losses_BL = _token_losses(model, ids_BL.to(device))
        (-(losses_BL * wanted_BL[:, 1:].to(device)).sum()).backward()


def loss_gradient(model: LanguageModel, ids_SL: Tensor, *, microbatch: int | None = None) -> None:
    """Leaves the gradient of the mean loss per token of some samples in the weights' `grad`."""
    model.zero_grad(set_to_none=True)
    device = next(model.parameters()).device
    for part_BL in ids_SL.split(microbatch or len(ids_SL)):
        loss = model({"input_ids": part_BL.to(device)})["loss"]
        (loss * (len(part_BL) / len(ids_SL))).backward()


def _token_losses(model: LanguageModel, ids_BL: Tensor) -> Tensor:
    """Cross entropy of every token but the first given those before it, nats, shape (B, L - 1)."""
    logits_BLV = model.network(**model.whole_view(ids_BL)).logits[:, :-1].float()
    return torch.nn.functional.cross_entropy(
        logits_BLV.flatten(0, 1), ids_BL[:, 1:].flatten(), reduction="none"
    ).view(len(ids_BL), -1)


def _taken(model: LanguageModel, what: str) -> list[Tensor]:
    """The gradients of all weights that learn, which the model no longer holds."""
    taken = []
    for weight in model.parameters():
        if weight.requires_grad:
            grad = torch.zeros_like(weight) if weight.grad is None else weight.grad.detach()
            if not torch.isfinite(grad).all():
                raise TrainingError(f"the gradient of {what} is not finite; try precision fp32")
            taken.append(grad)
    model.zero_grad(set_to_none=True)
    return taken


def _scale(
    task: GradientTask, model: LanguageModel, space: DomainSpace, budget: GradientBudget
) -> list[Tensor]:
    """1 / (sqrt(v) + eps) of every weight that learns."""
    epsilon = task.training.epsilon
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    file = Path(task.model, OPTIMIZER_FILE) if isinstance(task.model, str) else None
    if file is not None and file.is_file():
        with readable(file, what="the state of an optimiser", fix="remove it, or train the model again"):
            state = torch.load(file, map_location="cpu", weights_only=True)["state"]
        if len(state) != len(weights):
            raise InputError(
                f"{file} has the state of {len(state)} weights, but the model has {len(weights)}; remove it"
            )
        return [
            1 / (state[i]["exp_avg_sq"].to(weight.device).sqrt() + epsilon)
            for i, weight in enumerate(weights)
        ]
    squares = [torch.zeros_like(weight) for weight in weights]
    rng = np.random.default_rng(task.training.seed)
    for batch in range(budget.batches):
        counts_N = rng.multinomial(budget.samples, space.natural_N)
        rows = [
            _sample(task, int(index), int(counts_N[index]), part=batch, parts=budget.batches)
            for index in np.flatnonzero(counts_N)
        ]
        ids = torch.cat(rows)
        loss_gradient(model, ids, microbatch=task.training.rows_at_a_time(len(ids)))
        for square, grad in zip(squares, _taken(model, "natural mixing"), strict=True):
            square += grad**2 / budget.batches
    return [1 / (square.sqrt() + epsilon) for square in squares]


def _rows(task: GradientTask, index: int, budget: GradientBudget) -> list[Tensor]:
    """B batches of one domain, of distinct samples where it has enough of them."""
    ids_SL = _sample(task, index, budget.batches * budget.samples)
    return (
        list(ids_SL.tensor_split(budget.batches))
        if len(ids_SL) >= budget.batches
        else [ids_SL] * budget.batches
    )


def _sample(task: GradientTask, index: int, number: int, *, part: int = 0, parts: int = 1) -> Tensor:
    """Samples of a domain, evenly over its shards; part `part` of `parts` times as many."""
    stream = task.manifest.streams[index]
    rows = sample_rows(task.warehouse, task.manifest, stream, number * parts)
    mine = rows[part::parts][:number]
    return torch.from_numpy((rows[:number] if not len(mine) else mine).astype(np.int64))
